// The gradient of the input where a row of taps with its channels fills one or two vectors: a pixel of dy sends that
// many elements, its column, to each row of dx. All that its rows of taps send to one row are summed in registers; the
// columns of neighbours, c elements apart, are then added to the row. No lane waits for the pixels between two windows,
// and dy is read where it lies.
#include "kernels/conv2d_columns.h"

namespace pynn::PYNN_ISA {
namespace {

// Elements of a column, with zeros to whole vectors of every instruction set.
int64_t column_width(const ConvShape& s) { return ceil_div(s.kw * s.c, kLanes) * kLanes; }

// packed (kh, o, width): the taps of a column in order, their rows from the last to the first.
void pack_columns(const ConvShape& s, const float* weight, float* packed) {
  const int64_t size = s.kw * s.c, width = column_width(s);
  __builtin_memset(packed, 0, size_t(s.kh * s.o * width) * sizeof(float));
  for (int64_t t = s.kh - 1; t >= 0; t--)
    for (int64_t o = 0; o < s.o; o++, packed += width)
      __builtin_memcpy(packed, weight + (o * s.kh + t) * size, size_t(size) * sizeof(float));
}

// row[j * c + i] += columns[j * width + i] for i < size: `sums` are those that go on beyond a pixel. Lanes behind
// `size` are left out, for a NaN times zero is one.
using AddColumns = void (*)(const float* columns, int64_t count, int64_t size, int64_t c, float* sums, float* row);
template <int Vectors>
void add_columns(const float* columns, int64_t count, int64_t size, int64_t c, float* sums, float* row) {
  constexpr int L = lanes<float>;
  Vec<float> sum[Vectors];
  PYNN_UNROLL
  for (int k = 0; k < Vectors; k++) sum[k] = load(sums + k * L);
  for (int64_t j = 0; j < count; j++, columns += Vectors * L, row += c) {
    PYNN_UNROLL
    for (int k = 0; k < Vectors; k++) {
      const auto inside = lane_numbers<float>() < float(size - k * L);
      sum[k] = sum[k] + (inside ? load(columns + k * L) : Vec<float>{});
    }
    store_channels(row, sum);
    shift(sum, c);
  }
  PYNN_UNROLL
  for (int k = 0; k < Vectors; k++) {
    store(sums + k * L, sum[k]);
    store(row + k * L, sum[k]);  // what no pixel follows
  }
}
constexpr AddColumns add_functions[3] = {nullptr, add_columns<kBlockVectors>, add_columns<2 * kBlockVectors>};

// Elements of a column in memory, and how many columns pass through the registers at once.
struct Layout {
  const ConvShape& s;
  const float* packed;
  int64_t width = column_width(s), tile = balanced(s.ow, kTileRows<float>);
};

// The row of dx that sees rows [first, last) of taps, numbered from the last one on, `dy` being the first row of them.
void sum_row(const Layout& layout, int64_t first, int64_t last, const float* dy, float* row) {
  constexpr int64_t W = kTileColumns<float>;
  const ConvShape& s = layout.s;
  const int64_t width = layout.width, tile = layout.tile;
  alignas(kVectorBytes) float columns[kTileRows<float> * 2 * kLanes], sums[2 * kLanes] = {};
  const Runs runs = {s.o, last - first, s.dilation_h * s.ow * s.o - s.o, 0};
  for (int64_t j = 0; j < s.ow; j += tile) {
    const int64_t count = min_of(tile, s.ow - j);
    for (int64_t v = 0; v < width; v += W) {
      const int64_t n = min_of(W, width - v);
      tiles(0.0f).by_rows[count][n / lanes<float>](runs, dy + j * s.o, s.o, layout.packed + first * s.o * width + v,
                                                   width, columns + v, width, int(n), Output::store, nullptr);
    }
    add_functions[width / kLanes](columns, count, s.kw * s.c, s.c, sums, row + j * s.c);
  }
}

}  // namespace

// Measured beside the planes and the tiles over channels. The same for every instruction set: it decides on the bits.
bool columns_pay(const ConvShape& s) {
  if (s.dtype != DType::float32 || s.groups > 1 || s.stride_h > 1 || s.stride_w > 1 || s.dilation_w > 1) return false;
  const int64_t size = s.kw * s.c;
  if (s.c > kMostColumnChannels || s.kw < 2 || size > 2 * kLanes || s.left < 0) return false;
  return 5 * size >= 4 * column_width(s) && s.kh * s.o >= 2 * kLanes && s.ow >= 8 && s.h > 0;
}

Status data_columns(const Conv2dData& p) {
  const ConvShape& s = p.shape;
  const float *all = static_cast<const float*>(p.dy), *bias = static_cast<const float*>(p.bias);
  float* const packed = scratch_of<float>(Scratch::pack_b, s.kh * s.o * column_width(s));
  if (!packed) return Status::out_of_memory;
  pack_columns(s, static_cast<const float*>(p.weight), packed);
  const Layout layout{s, packed};
  const int64_t size = max_of(s.ow + s.kw - 1, s.left + s.w) * s.c + layout.width;
  // Without a border a row is made where it belongs: what is written behind its end comes before the next row.
  const bool in_place = s.left == 0 && s.w == s.ow + s.kw - 1 && s.w * s.c >= layout.width;
  const double cost = fma_cost<float>(double(s.ow * s.kh * s.o * layout.width));
  int failed = 0;
  parallel_ranges(s.n * s.h, 1, cost, [&](int64_t begin, int64_t end) {
    float* const row = scratch_of<float>(Scratch::row, size);
    if (!row) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    __builtin_memset(row, 0, size_t(size) * sizeof(float));
    int64_t image = begin / s.h, i = begin % s.h;
    for (int64_t r = begin; r < end; r++, i++) {
      if (i == s.h) i = 0, image++;
      // Row `above` of dy meets the last row of taps; those before lie outside.
      const int64_t above = i + s.top - (s.kh - 1) * s.dilation_h;
      int64_t first = 0;
      while (first < s.kh && above + first * s.dilation_h < 0) first++;
      int64_t last = first;
      while (last < s.kh && above + last * s.dilation_h < s.oh) last++;
      float* const dx = static_cast<float*>(p.dx) + r * s.w * s.c;
      float* const to = in_place && r + 1 < end ? dx : row;
      sum_row(layout, first, last, all + (image * s.oh + above + first * s.dilation_h) * s.ow * s.o, to);
      if (to == row) __builtin_memcpy(dx, row + s.left * s.c, size_t(s.w * s.c) * sizeof(float));
      finish_pixels(dx, s.w, s.c, bias, p.activation);
    }
  });
  return failed ? Status::out_of_memory : Status::ok;
}

}  // namespace pynn::PYNN_ISA
