// The gradient of the weight where there are few channels, with vectors over pixels. Channel by channel, a piece of dy
// and of the input between zeros is copied into a plane; both kinds of planes have rows of one pitch and zeros behind
// those of dy, so that the gradient of a tap is one sum over dy[f] * x[f + offset of the tap], no rows any more.
#include "kernels/conv2d_paths.h"
#include "simd/lanes.h"
#include "simd/transpose.h"
#include "simd/weave.h"

namespace pynn::PYNN_ISA {
namespace {

// The largest tile: rows (output channels) x columns (taps of an input channel).
#if defined(__AVX512F__)
constexpr int kTileOutputs = 6, kTileTaps = 4;
#elif defined(__AVX2__)
constexpr int kTileOutputs = 4, kTileTaps = 3;
#else
constexpr int kTileOutputs = 3, kTileTaps = 3;
#endif
// The same for every instruction set: they decide on the bits.
constexpr int64_t kBlockSteps = 128;            // most terms of a lane in a block
constexpr int64_t kPlaneBytes = 24 * 1024;      // of dy in a piece, in L1 beside a plane of x
constexpr int64_t kInputBytes = 1024 * 1024;    // of x in a piece, in L2
constexpr int64_t kLargestWidth = 64 * kLanes;  // of a piece

// A piece: rows of dy in an image, or a part of a row.
struct Planes {
  const ConvShape& s;
  int64_t columns, columns_count, rows, rows_count, pitch, taps, x_rows, dy_size, x_size;
  bool with_bias;        // its gradient is that of one more tap, whose plane of x is ones
  int64_t each, blocks;  // pieces in a block, the last one may have fewer

  explicit Planes(const ConvShape& shape, bool with_bias = false) : s(shape), with_bias(with_bias) {
    columns = balanced(s.ow, kLargestWidth);
    columns_count = ceil_div(s.ow, columns);
    pitch = columns + (s.kw - 1) * s.dilation_w;
    const int64_t most = min_of(kBlockSteps * kLanes, kPlaneBytes / int64_t(sizeof(float)) / s.o) / pitch;
    rows = columns_count > 1 ? 1 : balanced(s.oh, max_of(1, most));
    rows_count = ceil_div(s.oh, rows);
    taps = s.c * s.kh * s.kw;
    x_rows = rows + (s.kh - 1) * s.dilation_h;
    dy_size = (ceil_div(rows * pitch, kLanes) + 2) * kLanes;
    x_size = (ceil_div(x_rows * pitch, kLanes) + 2) * kLanes;
    each = max_of(1, kBlockSteps / steps(rows));
    blocks = ceil_div(s.n * rows_count * columns_count, each);
  }
  int64_t steps(int64_t r) const { return ceil_div((r - 1) * pitch + columns, kLanes); }
  int64_t sum_count() const { return taps + with_bias; }  // for each output channel
  int64_t sum_size() const { return sum_count() * s.o * kLanes; }
};

// to[q * size + i] = channel q of pixel i, with zeros up to a whole vector. No byte from `end` on is read. Some numbers
// of channels are constants: the addresses of a vector's pixels then need no registers.
template <int kChannels>
void pack_pixels(const float* x, int64_t pixels, int64_t some_channels, const float* end, float* to, int64_t size) {
  constexpr int64_t L = lanes<float>;
  const int64_t channels = kChannels ? kChannels : some_channels;
  if constexpr (kVectorBytes == 64 && kChannels == 6) {
    if (pixels >= L) {
      for (int64_t i = 0; i < pixels; i += L) {
        const int64_t at = min_of(i, pixels - L);  // the last vector goes over some pixels again
        Vec<float> woven[kChannels], planes[kChannels];
        PYNN_UNROLL
        for (int q = 0; q < kChannels; q++) woven[q] = in_register<float>(load(x + at * kChannels + q * L));
        unweave<float>(woven, planes);
        PYNN_UNROLL
        for (int q = 0; q < kChannels; q++) store(to + q * size + at, planes[q]);
      }
      return;
    }
  }
  for (int64_t i = 0; i < pixels; i += L, x += L * channels, to += L) {
    const int count = int(min_of(L, pixels - i));
    if (kChannels == 1) {
      store(to, load(x, count));
      continue;
    }
    if (end - x < L * channels + 4) {
      for (int64_t q = 0; q < channels; q++)
        for (int64_t j = 0; j < L; j++) to[q * size + j] = j < count ? x[j * channels + q] : 0;
      continue;
    }
    PYNN_UNROLL
    for (int64_t q = 0; q < channels; q += 4) {
      Vec<float> columns[4];
      load_columns(columns, x + q, channels);
      PYNN_UNROLL
      for (int k = 0; k < 4; k++)
        if (q + k < channels)
          store(to + (q + k) * size, count == L                             ? columns[k]
                                     : lane_numbers<float>() < float(count) ? columns[k]
                                                                            : Vec<float>{});
    }
  }
}

void pack_row(const float* x, int64_t pixels, int64_t channels, const float* end, float* to, int64_t size) {
  const auto pack = channels == 1    ? pack_pixels<1>
                    : channels == 2  ? pack_pixels<2>
                    : channels == 3  ? pack_pixels<3>
                    : channels == 4  ? pack_pixels<4>
                    : channels == 6  ? pack_pixels<6>
                    : channels == 8  ? pack_pixels<8>
                    : channels == 16 ? pack_pixels<16>
                                     : pack_pixels<0>;
  pack(x, pixels, channels, end, to, size);
}

// What behind the last row of a plane is read, too.
void end_planes(float* planes, int64_t count, int64_t size, int64_t used) {
  for (int64_t q = 0; q < count; q++) store_lanes(planes + q * size + used, broadcast_lanes(0.0f));
}

// The planes of piece `number`, whose scratch memory holds zeros where no pixel comes; gives back its rows.
int64_t pack_piece(const Planes& g, const Conv2dWeight& p, int64_t number, float* dy_planes, float* x_planes) {
  const ConvShape& s = g.s;
  const float *x = static_cast<const float*>(p.x), *dy = static_cast<const float*>(p.dy);
  const float *x_end = x + s.n * s.h * s.w * s.c, *dy_end = dy + s.n * s.oh * s.ow * s.o;
  const int64_t column = number % g.columns_count * g.columns, columns = min_of(g.columns, s.ow - column);
  const int64_t row = number / g.columns_count % g.rows_count * g.rows, rows = min_of(g.rows, s.oh - row);
  const int64_t image = number / g.columns_count / g.rows_count;
  for (int64_t i = 0; i < rows; i++)
    pack_row(dy + ((image * s.oh + row + i) * s.ow + column) * s.o, columns, s.o, dy_end, dy_planes + i * g.pitch,
             g.dy_size);
  end_planes(dy_planes, s.o, g.dy_size, (rows - 1) * g.pitch + columns);

  const int64_t left = s.left - column, first = max_of(0, left), last = min_of(g.pitch, s.w + left);
  const int64_t x_rows = rows + (s.kh - 1) * s.dilation_h;
  for (int64_t i = 0; i < x_rows; i++) {
    const int64_t from = row + i - s.top;
    float* to = x_planes + i * g.pitch;
    if (from < 0 || from >= s.h || first >= last || g.columns_count > 1)
      for (int64_t q = 0; q < s.c; q++) __builtin_memset(to + q * g.x_size, 0, size_t(g.pitch) * sizeof(float));
    if (from >= 0 && from < s.h && first < last)
      pack_row(x + ((image * s.h + from) * s.w + first - left) * s.c, last - first, s.c, x_end, to + first, g.x_size);
  }
  end_planes(x_planes, s.c, g.x_size, x_rows * g.pitch);
  return rows;
}

// sums[t][o] (+)= the products of the planes of dy from `dy` on with x[t], 16 lanes each over so many steps.
using PlaneTile = void (*)(const float* dy, int64_t dy_size, const float* const* x, int64_t steps, float* sums,
                           int64_t sum_step, bool goes_on);

template <int Outputs, int Taps>
void plane_tile(const float* dy, int64_t dy_size, const float* const* x, int64_t steps, float* sums, int64_t sum_step,
                bool goes_on) {
  // Narrower vectors pass once for each part of the 16 lanes.
  for (int part = 0; part < kLanes; part += lanes<float>) {
    Vec<float> total[Taps][Outputs] = {};
    const float* at[Taps];
    PYNN_UNROLL
    for (int t = 0; t < Taps; t++) {
      at[t] = x[t] + part;
      if (!goes_on) continue;
      PYNN_UNROLL
      for (int o = 0; o < Outputs; o++) total[t][o] = load(sums + t * sum_step + o * kLanes + part);
    }
    for (int64_t f = 0; f < steps * kLanes; f += kLanes) {
      Vec<float> shifted[Taps];
      PYNN_UNROLL
      for (int t = 0; t < Taps; t++) shifted[t] = load(at[t] + f);
      PYNN_UNROLL
      for (int o = 0; o < Outputs; o++) {
        const Vec<float> gradient = load(dy + o * dy_size + part + f);
        PYNN_UNROLL
        for (int t = 0; t < Taps; t++) total[t][o] = fma(gradient, shifted[t], total[t][o]);
      }
    }
    PYNN_UNROLL
    for (int t = 0; t < Taps; t++) {
      PYNN_UNROLL
      for (int o = 0; o < Outputs; o++) store(sums + t * sum_step + o * kLanes + part, total[t][o]);
    }
  }
}

struct PlaneTiles {
  PlaneTile of[kTileOutputs + 1][kTileTaps + 1];
};
template <int Outputs, int Taps>
constexpr void fill(PlaneTiles& table) {
  table.of[Outputs][Taps] = plane_tile<Outputs, Taps>;
  if constexpr (Taps > 1)
    fill<Outputs, Taps - 1>(table);
  else if constexpr (Outputs > 1)
    fill<Outputs - 1, kTileTaps>(table);
}
constexpr PlaneTiles all_tiles() {
  PlaneTiles table = {};
  fill<kTileOutputs, kTileTaps>(table);
  return table;
}
constexpr PlaneTiles plane_tiles = all_tiles();

// sums (c, kh, kw, o, 16 lanes) of block `number`, and those of the bias behind them.
void sum_block(const Planes& g, const Conv2dWeight& p, int64_t number, float* dy_planes, float* x_planes,
               const float* ones, float* sums) {
  const ConvShape& s = g.s;
  const int64_t first = number * g.each, last = min_of(first + g.each, s.n * g.rows_count * g.columns_count);
  const int64_t outputs = balanced(s.o, kTileOutputs), taps = balanced(g.sum_count(), kTileTaps);
  for (int64_t piece = first; piece < last; piece++) {
    const int64_t steps = g.steps(pack_piece(g, p, piece, dy_planes, x_planes));
    const float *plane = x_planes, *row = plane, *at = plane;  // where the next tap's channel, row and self begin
    int64_t row_number = 0, column = 0;
    for (int64_t tap = 0; tap < g.sum_count(); tap += taps) {
      const int64_t count = min_of(taps, g.sum_count() - tap);
      const float* x[kTileTaps];
      for (int64_t t = 0; t < count; t++, at += s.dilation_w) {
        if (tap + t == g.taps) {
          x[t] = ones;
          continue;
        }
        if (column == s.kw) column = 0, row_number++, at = row += s.dilation_h * g.pitch;
        if (row_number == s.kh) row_number = 0, at = row = plane += g.x_size;
        x[t] = at, column++;
      }
      for (int64_t o = 0; o < s.o; o += outputs)
        plane_tiles.of[min_of(outputs, s.o - o)][count](dy_planes + o * g.dy_size, g.dy_size, x, steps,
                                                        sums + (tap * s.o + o) * kLanes, s.o * kLanes, piece > first);
    }
  }
}

// The sum of blocks [first, last), in scratch memory; null when that is out.
float* sum_blocks(const Planes& g, const Conv2dWeight& p, int64_t first, int64_t last) {
  const int64_t size = g.sum_size(), dy_size = g.s.o * g.dy_size, x_size = g.s.c * g.x_size;
  float* const dy_planes = scratch_of<float>(Scratch::pack_b, dy_size + g.dy_size);
  float* const x_planes = scratch_of<float>(Scratch::row, x_size);
  float* const stack = scratch_of<float>(Scratch::partial, tree_levels(last - first) * size);
  if (!dy_planes || !x_planes || !stack) return nullptr;
  __builtin_memset(dy_planes, 0, size_t(dy_size) * sizeof(float));
  __builtin_memset(x_planes, 0, size_t(x_size) * sizeof(float));
  float* const ones = dy_planes + dy_size;
  if (g.with_bias)
    for (int64_t i = 0; i < g.dy_size; i += kLanes) store_lanes(ones + i, broadcast_lanes(1.0f));
  sum_tree(first, last, size, stack,
           [&](int64_t number, float* sums) { sum_block(g, p, number, dy_planes, x_planes, ones, sums); });
  return stack;
}

}  // namespace

// Measured beside tiles of output channels, 1 to 64 input channels, 1x1 to 9x9 taps: 1.0 to 3.2 times as fast up to 6
// output channels, 0.8 to 1.1 times with 7 and 8. A sum over few pixels does not pay for its 16 lanes.
bool weight_planes_pay(const ConvShape& s) {
  if (s.dtype != DType::float32 || s.groups > 1 || s.stride_h > 1 || s.stride_w > 1) return false;
  if (s.o > 6 || s.oh * s.ow < 64) return false;
  const Planes g(s);
  return double(s.c) * double(g.x_rows) * double(g.pitch) * sizeof(float) <= double(kInputBytes);
}

Status weight_gradient_planes(const Conv2dWeight& p) {
  const ConvShape& s = p.shape;
  const Planes g(s, p.db);
  const int64_t size = g.sum_size();
  float *const dw = static_cast<float*>(p.dw), *const db = static_cast<float*>(p.db);
  if (!g.blocks) {
    __builtin_memset(dw, 0, size_t(g.taps * s.o) * sizeof(float));
    if (db) __builtin_memset(db, 0, size_t(s.o) * sizeof(float));
    return Status::ok;
  }
  const float* const sums = parallel_sum_tree<float>(
      g.blocks, size, conv_cost<float>(s), [&](int64_t first, int64_t last) { return sum_blocks(g, p, first, last); });
  if (!sums) return Status::out_of_memory;
  for (int64_t tap = 0; tap < g.taps; tap++)
    for (int64_t o = 0; o < s.o; o++)
      dw[(tap % (s.kh * s.kw) * s.c + tap / (s.kh * s.kw)) * s.o + o] =
          fold_sum(load_lanes(sums + (tap * s.o + o) * kLanes));
  for (int64_t o = 0; db && o < s.o; o++) db[o] = fold_sum(load_lanes(sums + (g.taps * s.o + o) * kLanes));
  return Status::ok;
}

}  // namespace pynn::PYNN_ISA
