// The convolution for few output channels: vectors lie over the pixels, sums over channels x vectors, and each weight
// is broadcast. The input is copied into one plane for each channel, and all rows of a plane are one long row: between
// two rows of pixels lie just so many zeros that a window which leaves the one never meets the other. What is computed
// for the places between the output rows is dropped.
#include "kernels/conv2d_paths.h"
#include "simd/activation.h"
#include "simd/lanes.h"
#include "simd/weave.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int kMaxChannels = 8;
constexpr int kSums = kVectorBytes == 64 ? 24 : 12;  // accumulators; the vectors of the input need registers too
constexpr int most_vectors(int o) { return kSums / o < 8 ? kSums / o : 8; }
constexpr int64_t kBandBytes = 128 * 1024;  // of the planes of input and output, in L2

// Taps of a window: number i lies at offsets[i] of the first channel's plane, the other channels `plane` further each.
struct Taps {
  const int64_t* offsets;
  int64_t count, c, plane;
};

// y[o][k] = sum over taps and channels of x * weight[tap][c][o], rows of the weight `width` apart; then the bias.
using PlaneTile = void (*)(const Taps& taps, const float* x, const float* weight, int64_t width, float* y,
                           int64_t y_plane, const float* bias);
template <int O, int K>
void plane_tile(const Taps& taps, const float* x, const float* weight, int64_t width, float* y, int64_t y_plane,
                const float* bias) {
  constexpr int L = lanes<float>;
  Vec<float> sums[O][K] = {};
  for (int64_t i = 0; i < taps.count; i++) {
    const float* at = x + taps.offsets[i];
    for (int64_t c = taps.c; c > 0; c--, at += taps.plane, weight += width) {
      Vec<float> pixels[K];
      PYNN_UNROLL
      for (int k = 0; k < K; k++) pixels[k] = load(at + k * L);
      PYNN_UNROLL
      for (int o = 0; o < O; o++) {
        const Vec<float> factor = broadcast(weight[o]);
        PYNN_UNROLL
        for (int k = 0; k < K; k++) sums[o][k] = fma(pixels[k], factor, sums[o][k]);
      }
    }
  }
  PYNN_UNROLL
  for (int o = 0; o < O; o++) {
    if (bias) {  // without one nothing is added: -0 + 0 would be +0
      PYNN_UNROLL
      for (int k = 0; k < K; k++) sums[o][k] = sums[o][k] + broadcast(bias[o]);
    }
    PYNN_UNROLL
    for (int k = 0; k < K; k++) store(y + o * y_plane + k * L, sums[o][k]);
  }
}

// y[j * y_step + o] = activation(x[o * plane + j]) for `count` pixels; up to a vector of x behind them is read.
using Interleave = void (*)(const float* x, int64_t plane, int64_t count, float* y, int64_t y_step);
template <int O, Activation activation>
void interleave(const float* x, int64_t plane, int64_t count, float* y, int64_t y_step) {
  constexpr int64_t L = lanes<float>;
  for (int64_t i = 0; i < count; i += L, x += L, y += L * y_step) {
    Vec<float> rows[O], pixels[O];
    PYNN_UNROLL
    for (int o = 0; o < O; o++) rows[o] = in_register<float>(load(x + o * plane));
    weave<float>(rows, pixels);
    const int64_t n = min_of(L, count - i);
    if (y_step == O) {
      PYNN_UNROLL
      for (int o = 0; o < O; o++)
        if (o * L < n * O) store_some(y + o * L, activate<activation, float>(pixels[o]), int(min_of(L, n * O - o * L)));
    } else {
      alignas(kVectorBytes) float block[O * L];
      PYNN_UNROLL
      for (int o = 0; o < O; o++) store(block + o * L, activate<activation, float>(pixels[o]));
      for (int64_t p = 0; p < n; p++) __builtin_memcpy(y + p * y_step, block + p * O, O * sizeof(float));
    }
  }
}

struct Functions {
  PlaneTile tiles[kMaxChannels + 1][9];
  Interleave interleave[kActivations][kMaxChannels + 1];
};
template <int O, int K>
constexpr void fill_tiles(Functions& table) {
  table.tiles[O][K] = plane_tile<O, K>;
  if constexpr (K > 1) fill_tiles<O, K - 1>(table);
}
template <int O, int A>
constexpr void fill_interleave(Functions& table) {
  table.interleave[A][O] = interleave<O, Activation(A)>;
  if constexpr (A > 0) fill_interleave<O, A - 1>(table);
}
template <int O = kMaxChannels>
constexpr void fill_table(Functions& table) {
  fill_tiles<O, most_vectors(O)>(table);
  fill_interleave<O, kActivations - 1>(table);
  if constexpr (O > 1) fill_table<O - 1>(table);
}
constexpr Functions all_functions() {
  Functions table = {};
  fill_table(table);
  return table;
}
constexpr Functions functions = all_functions();

struct Range {
  int64_t begin, end;
};

// The planes. Where the windows move by more than a pixel, the rows and columns that one tap meets are a plane of their
// own (a phase): tap (t, u) reads phase (t * dilation_h % stride_h, u * dilation_w % stride_w).
struct Layout {
  const Correlation<float>& s;
  int64_t columns;  // that the windows of a row see in a phase
  int64_t pitch;    // between rows, of input and output alike
  int64_t reach;    // rows below the first one of a window, in a phase
  int vectors;      // of a tile

  explicit Layout(const Correlation<float>& s) : s(s) {
    columns = s.ow + (s.kw - 1) * s.dilation_w / s.stride_w;
    reach = (s.kh - 1) * s.dilation_h / s.stride_h;
    const int64_t zeros = max_of(0, s.left) / s.stride_w, used = ceil_div(max_of(0, s.left + s.w), s.stride_w);
    pitch = max_of(s.ow, max_of(min_of(columns, used), columns - zeros));
    vectors = 1;
    for (int k = 2; k <= most_vectors(int(s.o)); k++)
      if (cost(k) < cost(vectors)) vectors = k;
  }
  // Rows of taps that meet a row of the input in some of the output rows [first, last]: mostly all, without a division.
  Range taps(int64_t first, int64_t last) const {
    Range rows = {0, s.kh};
    const int64_t above = s.top - last * s.stride_h, below = s.h + s.top - first * s.stride_h;
    if (above > 0) rows.begin = min_of(s.kh, ceil_div(above, s.dilation_h));
    if (below <= (s.kh - 1) * s.dilation_h)
      rows.end = max_of(rows.begin, below > 0 ? (below - 1) / s.dilation_h + 1 : 0);
    return rows;
  }
  // Half cycles of all tiles of an image: two multiply-adds a cycle that take four. A load of pixels mostly crosses a
  // cache line, which takes 3.5 cycles for a vector of 64 bytes (measured).
  double cost(int k) const {
    constexpr int64_t kFew = 32, kLoad = kVectorBytes == 64 ? 7 : 3;
    const auto step = [&](int64_t k) { return double(s.kw * s.c * (2 + max_of(8, max_of(s.o, kLoad) * k))); };
    const int64_t end = (s.oh - 1) * pitch + s.ow, all = ceil_div(end, lanes<float>);
    if (all > kFew) return double(all) / k * double(s.kh) * step(k);
    double sum = 0;
    for (int64_t v = 0; v < all; v += k) {
      const int64_t n = min_of(k, all - v);
      const Range rows = taps(v * lanes<float> / pitch, (min_of(end, (v + n) * lanes<float>) - 1) / pitch);
      sum += double(rows.end - rows.begin) * step(n);
    }
    return sum;
  }
  // Of the copies in and out (measured).
  double copy_cost() const {
    const int64_t blocks = s.stride_w * ceil_div(ceil_div(s.w, s.stride_w), lanes<float>);  // of the pixels of a row
    const bool dense = s.stride_w == 1 && s.c <= 4;
    const int64_t in = blocks * (dense ? 12 * s.c : 10 * lanes<float> * ceil_div(s.c, lanes<float>));
    const int64_t out = ceil_div(s.ow, lanes<float>) * 4 * lanes<float>;
    return double(min_of(s.h, s.oh * s.stride_h + s.kh) * in + s.oh * out);
  }
  int64_t phases() const { return s.stride_h * s.stride_w; }
  int64_t plane(int64_t rows) const { return (rows + reach) * pitch + columns + vectors * lanes<float>; }
  int64_t out_plane(int64_t rows) const { return rows * pitch + (vectors + 1) * lanes<float>; }
  int64_t band_rows() const {
    const int64_t row = (phases() * s.c + s.o) * pitch * int64_t(sizeof(float));
    return max_of(1, min_of(s.oh, max_of(3 * reach, kBandBytes / row - reach)));  // a quarter is read twice at most
  }
};

// to[q * plane + j] = x[j * C + q]: few channels, whose number the compiler knows.
template <int C>
void split_dense(const float* __restrict x, int64_t count, float* __restrict to, int64_t plane) {
  for (int64_t j = 0; j < count; j++) {
    PYNN_UNROLL
    for (int q = 0; q < C; q++) to[q * plane + j] = x[j * C + q];
  }
}

// to[q * plane + j] = x[j * step + q] for c channels of `count` pixels.
void split_channels(const float* x, int64_t step, int64_t count, int64_t c, float* to, int64_t plane) {
  constexpr int L = lanes<float>;
  if (c == 1 && step == 1) {
    __builtin_memcpy(to, x, size_t(count) * sizeof(float));
  } else if (c == 2 && step == 2) {
    split_dense<2>(x, count, to, plane);
  } else if (c == 3 && step == 3) {
    split_dense<3>(x, count, to, plane);
  } else if (c == 4 && step == 4) {
    split_dense<4>(x, count, to, plane);
  } else if (c < 3) {
    for (int64_t q = 0; q < c; q++)
      for (int64_t j = 0; j < count; j++) to[q * plane + j] = x[j * step + q];
  } else {
    for (int64_t j = 0; j < count; j += L)
      for (int64_t q = 0; q < c; q += L) {
        const int rows = int(min_of(L, count - j)), n = int(min_of(L, c - q));
        Vec<float> block[L];
        load_transposed<float>(block, x + j * step + q, step, rows, n);
        PYNN_UNROLL
        for (int i = 0; i < L; i++)
          if (i < n) store(to + (q + i) * plane + j, block[i], rows);
      }
  }
}

// The planes that the output rows [begin, end) of an image see. There are already zeros left and right of the pixels,
// and above and below where `zeros`.
void fill_planes(const Layout& layout, int64_t plane, int64_t image, int64_t begin, int64_t end, bool zeros,
                 float* planes) {
  const Correlation<float>& s = layout.s;
  for (int64_t down = 0; down < s.stride_h; down++)
    for (int64_t right = 0; right < s.stride_w; right++, planes += s.c * plane) {
      const int64_t from = max_of(0, ceil_div(s.left - right, s.stride_w));
      const int64_t count = min_of(layout.columns, ceil_div(max_of(0, s.left + s.w - right), s.stride_w)) - from;
      if (count <= 0) continue;
      for (int64_t i = begin; i < end + layout.reach; i++) {
        const int64_t row = i * s.stride_h + down - s.top;
        float* to = planes + (i - begin) * layout.pitch + from;
        if (row >= 0 && row < s.h)
          split_channels(s.x + ((image * s.h + row) * s.w + from * s.stride_w + right - s.left) * s.channels,
                         s.stride_w * s.channels, count, s.c, to, plane);
        else if (!zeros)
          for (int64_t q = 0; q < s.c; q++) __builtin_memset(to + q * plane, 0, size_t(count) * sizeof(float));
      }
    }
}

}  // namespace

bool planes_pay(const Correlation<float>& s) {
  if (s.groups != 1 || s.o > kMaxChannels || s.terms() == 0 || s.oh <= 0 || s.ow <= 0) return false;
  const int64_t tile = balanced(s.ow, kTileRows<float>), pixels = s.oh * s.ow;
  // Where a row of taps is no run of memory, each tap is one: about 48 for its loops and the sums' way to memory.
  const int64_t runs = s.dilation_w > 1 && s.kw > 1 ? 48 * s.kh * s.kw : 0;
  const double direct =
      double(pixels * (runs + s.terms() * max_of(8, tile * ceil_div(s.o, lanes<float>)))) / double(tile);
  const Layout layout(s);
  return layout.cost(layout.vectors) + layout.copy_cost() < direct;
}

Status correlate_planes(const Correlation<float>& s) {
  constexpr int L = lanes<float>;
  const Layout layout(s);
  const int64_t band = layout.band_rows(), plane = layout.plane(band), out_plane = layout.out_plane(band);
  const int64_t width = ceil_div(s.o, L) * L;  // of the packed weights
  auto* const offsets = static_cast<int64_t*>(scratch(Scratch::pack_a, size_t(s.kh * s.kw) * sizeof(int64_t)));
  if (!offsets) return Status::out_of_memory;
  for (int64_t t = 0; t < s.kh; t++)
    for (int64_t u = 0; u < s.kw; u++) {
      const int64_t down = t * s.dilation_h, right = u * s.dilation_w;
      offsets[t * s.kw + u] = (down % s.stride_h * s.stride_w + right % s.stride_w) * s.c * plane +
                              down / s.stride_h * layout.pitch + right / s.stride_w;
    }
  int failed = 0;
  const double row_cost = 0.15 * (layout.cost(layout.vectors) + layout.copy_cost()) / double(s.oh);
  parallel_ranges(s.n * s.oh, 1, row_cost, [&](int64_t row, int64_t end) {
    const int64_t size = layout.phases() * s.c * plane;
    float *planes = scratch_of<float>(Scratch::row, size), *out = scratch_of<float>(Scratch::partial, s.o * out_plane);
    if (!planes || !out) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    __builtin_memset(planes, 0, size_t(size) * sizeof(float));
    int64_t begin = 0, before = 0;  // the rows that the planes held last
    while (row < end) {
      const int64_t image = row / s.oh, i = row % s.oh, rows = min_of(min_of(s.oh - i, end - row), band);
      fill_planes(layout, plane, image, i, i + rows, i == begin && rows == before, planes);
      begin = i, before = rows;
      float* y = s.y + image * s.image_step + i * s.row_step;
      const int64_t places = (rows - 1) * layout.pitch + s.ow, all = ceil_div(places, L);
      int64_t done = 0;  // rows of the output
      // Those whose vectors are all before `complete`.
      const auto interleave_rows = [&](int64_t complete) PYNN_LAMBDA {
        for (; done < rows && done * layout.pitch + ceil_div(s.ow, L) * L <= complete; done++)
          functions.interleave[int(s.activation)][s.o](out + done * layout.pitch, out_plane, s.ow,
                                                       y + done * s.row_step, s.column_step);
      };
      for (int64_t v = 0, first = 0, last = 0; v < all; v += layout.vectors) {
        const int64_t n = min_of(layout.vectors, all - v), at = v * L;
        while ((first + 1) * layout.pitch <= at) first++;  // output rows that the tile touches
        while ((last + 1) * layout.pitch < min_of(places, at + n * L)) last++;
        const Range taps = layout.taps(i + first, i + last);
        functions.tiles[s.o][n]({offsets + taps.begin * s.kw, (taps.end - taps.begin) * s.kw, s.c, plane}, planes + at,
                                s.packed + taps.begin * s.kw * s.c * width, width, out + at, out_plane, s.bias);
        // A tile later, since what was just stored is slow to load from another place.
        interleave_rows(at);
      }
      interleave_rows(INT64_MAX);
      row += rows;
    }
  });
  return failed ? Status::out_of_memory : Status::ok;
}

}  // namespace pynn::PYNN_ISA
