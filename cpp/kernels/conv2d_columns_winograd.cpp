// The gradient of the input of few channels by Winograd's algorithm along the rows. A tile of dy sends a column of (row
// of taps, channel) elements to each of the 6 pixels of dx that it reaches; the products of its 6 points give them, one
// matrix product over the channels of dy for each. Neighbours are added in registers, rows in a column's lanes: row t
// of taps of one row of dy lies where row t - 1 of the next one does.
#include "kernels/conv2d_columns.h"
#include "kernels/conv2d_winograd.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t L = lanes<float>;

template <int taps>
struct Plan {
  static constexpr int kOutputs = kTileOutputs<taps>;
  const ConvShape& s;
  int64_t size = taps * s.c, width = ceil_div(size, kLanes) * kLanes;  // of a column
  int64_t o = ceil_div(s.o, L) * L;
  int64_t across = tiles_across(taps, s.ow), pixels = across * kOutputs + taps - 1;  // that the tiles of a row reach
  int64_t tiles = balanced(s.oh * across, kTileRows<float>);                         // at a time
  int64_t row_size() const { return pixels * s.c + kMostColumnChannels; }
};

// packed (point, o, width); `taps_of` has room for (taps, width) elements.
template <int taps>
void pack_weights(const Plan<taps>& plan, const float* weight, float* taps_of, float* packed) {
  const ConvShape& s = plan.s;
  __builtin_memset(taps_of, 0, size_t(taps * plan.width) * sizeof(float));
  for (int64_t o = 0; o < s.o; o++, packed += plan.width) {
    for (int64_t row = 0; row < taps; row++)
      for (int64_t j = 0; j < taps; j++, weight += s.c)
        for (int64_t c = 0; c < s.c; c++) taps_of[j * plan.width + row * s.c + c] = weight[c];
    transform_weights<taps>(taps_of, plan.width, plan.width, packed, s.o * plan.width);
  }
}

// products (point, tile, width) of tiles [begin, end) of an image of dy; v has room for (point, tile, o) elements.
template <int taps>
void multiply_tiles(const Plan<taps>& plan, const float* packed, const float* dy, int64_t begin, int64_t end, float* v,
                    float* products) {
  constexpr int64_t W = kTileColumns<float>;
  constexpr int kOutputs = kTileOutputs<taps>;
  const ConvShape& s = plan.s;
  const int64_t count = end - begin, slice = plan.tiles * plan.o, width = plan.width;
  int64_t row = begin / plan.across, column = begin % plan.across * kOutputs;
  for (int64_t t = 0; t < count; t++) {
    const float* pixel = dy + (row * s.ow + column) * s.o;
    for (int64_t i = 0; i < s.o; i += L) {
      Vec<float> d[kOutputs];
      transform_tile<taps>(pixel + i, s.o, s.ow - column, int(min_of(L, s.o - i)), v + t * plan.o + i, slice, d);
    }
    column += kOutputs;
    if (column >= s.ow) column = 0, row++;
  }
  for (int p = 0; p < kPoints; p++)
    for (int64_t j = 0; j < width; j += W) {
      const int64_t n = min_of(W, width - j);
      tiles(0.0f).by_rows[count][n / L]({s.o}, v + p * slice, plan.o, packed + p * s.o * width + j, width,
                                        products + p * plan.tiles * width + j, width, int(n), Output::store, nullptr);
    }
}

// The columns of a row's pixels, those of the rows before in their lanes, and the row of dx that is complete.
template <int Vectors>
PYNN_INLINE void add_column(Vec<float> (&column)[Vectors], int64_t size, int64_t c, float* sums, float* pixel) {
  Vec<float> sum[Vectors];
  PYNN_UNROLL
  for (int k = 0; k < Vectors; k++) sum[k] = load(sums + k * L);
  shift(sum, c);
  PYNN_UNROLL
  for (int k = 0; k < Vectors; k++) {
    const auto inside = lane_numbers<float>() < float(size - k * L);  // elsewhere a NaN times zero may be
    sum[k] = sum[k] + (inside ? column[k] : Vec<float>{});
    store(sums + k * L, sum[k]);
  }
  store_channels(pixel, sum);
}

// Adds tiles [begin, end) of a row to `sums` (pixel, width); `carried` are the columns of pixels that go on.
template <int taps, int Vectors>
void add_tiles(const Plan<taps>& plan, const float* products, int64_t begin, int64_t end, float* carried, float* sums,
               float* row) {
  constexpr int kOutputs = kTileOutputs<taps>, kCarried = taps - 1;
  const int64_t c = plan.s.c, size = plan.size, slice = plan.tiles * plan.width;
  Vec<float> carry[kCarried][Vectors];
  PYNN_UNROLL
  for (int j = 0; j < kCarried; j++) {
    PYNN_UNROLL
    for (int k = 0; k < Vectors; k++) carry[j][k] = begin ? load(carried + (j * Vectors + k) * L) : Vec<float>{};
  }
  sums += begin * kOutputs * plan.width;
  row += begin * kOutputs * c;
  for (int64_t t = begin; t < end; t++, products += plan.width) {
    Vec<float> columns[kPoints][Vectors];
    PYNN_UNROLL
    for (int k = 0; k < Vectors; k++) {
      Vec<float> d[kPoints];
      PYNN_UNROLL
      for (int p = 0; p < kPoints; p++) d[p] = load(products + p * slice + k * L);
      transform_back(d);
      PYNN_UNROLL
      for (int p = 0; p < kPoints; p++) columns[p][k] = p < kCarried ? carry[p][k] + d[p] : d[p];
    }
    PYNN_UNROLL
    for (int j = 0; j < kOutputs; j++, sums += plan.width, row += c) add_column(columns[j], size, c, sums, row);
    PYNN_UNROLL
    for (int j = 0; j < kCarried; j++) {
      PYNN_UNROLL
      for (int k = 0; k < Vectors; k++) carry[j][k] = columns[kOutputs + j][k];
    }
  }
  if (end == plan.across) {
    PYNN_UNROLL
    for (int j = 0; j < kCarried; j++, sums += plan.width, row += c) add_column(carry[j], size, c, sums, row);
  } else {
    PYNN_UNROLL
    for (int j = 0; j < kCarried; j++) {
      PYNN_UNROLL
      for (int k = 0; k < Vectors; k++) store(carried + (j * Vectors + k) * L, carry[j][k]);
    }
  }
}

// Rows [first, last) of dx of one image, numbered with the padding.
template <int taps, int Vectors>
void sum_rows(const Plan<taps>& plan, const Conv2dData& p, const float* packed, const float* dy, int64_t first,
              int64_t last, float* scratch, float* padded, float* dx) {
  const ConvShape& s = plan.s;
  float *const sums = scratch, *const v = sums + plan.pixels * plan.width;
  float* const products = v + kPoints * plan.tiles * plan.o;
  alignas(kVectorBytes) float carried[(taps - 1) * Vectors * L];
  __builtin_memset(sums, 0, size_t(plan.pixels * plan.width) * sizeof(float));
  const int64_t begin = max_of(0, first - (taps - 1)), end = min_of(s.oh, last) * plan.across;
  int64_t tile = begin * plan.across, multiplied = tile, chunk = tile;
  // Without a border a row is made where it belongs: what is written behind its end comes before the next row.
  const bool in_place = s.left == 0 && s.w == plan.pixels;
  for (int64_t y = begin; y < last; y++) {
    float* const to = dx + (y - first) * s.w * s.c;
    float* const row = in_place && y >= first && y + 1 < last ? to : padded;
    if (y < s.oh) {
      for (int64_t t = 0; t < plan.across;) {
        if (tile == multiplied) {
          chunk = tile;
          multiplied = min_of(end, tile + plan.tiles);
          multiply_tiles(plan, packed, dy, tile, multiplied, v, products);
        }
        const int64_t count = min_of(plan.across - t, multiplied - tile);
        add_tiles<taps, Vectors>(plan, products + (tile - chunk) * plan.width, t, t + count, carried, sums, row);
        t += count;
        tile += count;
      }
    } else {
      Vec<float> none[Vectors] = {};
      for (int64_t x = 0; x < plan.pixels; x++) add_column(none, plan.size, s.c, sums + x * plan.width, row + x * s.c);
    }
    if (y < first) continue;
    if (row != to) __builtin_memcpy(to, row + s.left * s.c, size_t(s.w * s.c) * sizeof(float));
    finish_pixels(to, s.w, s.c, static_cast<const float*>(p.bias), p.activation);
  }
}

template <int taps, int Vectors>
Status data_of(const Conv2dData& p) {
  const ConvShape& s = p.shape;
  const Plan<taps> plan{s};
  const int64_t packed_size = kPoints * s.o * plan.width;
  float* const packed = scratch_of<float>(Scratch::pack_b, packed_size + taps * plan.width);
  if (!packed) return Status::out_of_memory;
  pack_weights(plan, static_cast<const float*>(p.weight), packed + packed_size, packed);
  const double cost = fma_cost<float>(double(kPoints * plan.across * s.o * plan.width));
  int failed = 0;
  parallel_ranges(s.n * s.h, 1, cost, [&](int64_t begin, int64_t end) {
    const int64_t size = plan.pixels * plan.width + kPoints * plan.tiles * (plan.o + plan.width);
    float* const scratch = scratch_of<float>(Scratch::partial, size);
    float* const row = scratch_of<float>(Scratch::row, plan.row_size());
    if (!scratch || !row) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    __builtin_memset(row, 0, size_t(plan.row_size()) * sizeof(float));
    while (begin < end) {
      const int64_t image = begin / s.h, i = begin % s.h, count = min_of(s.h - i, end - begin);
      sum_rows<taps, Vectors>(plan, p, packed, static_cast<const float*>(p.dy) + image * s.oh * s.ow * s.o, i + s.top,
                              i + s.top + count, scratch, row, static_cast<float*>(p.dx) + begin * s.w * s.c);
      begin += count;
    }
  });
  return failed ? Status::out_of_memory : Status::ok;
}

template <int taps>
Status data_by_taps(const Conv2dData& p) {
  return taps * p.shape.c <= kLanes ? data_of<taps, kBlockVectors>(p) : data_of<taps, 2 * kBlockVectors>(p);
}

}  // namespace

// Without pixels of dx beyond all windows. Fewer than 16 terms a product do not pay for the sums' way to memory.
bool columns_winograd_pay(const ConvShape& s) {
  return winograd_applies(s) && columns_pay(s) && s.o >= 16 && s.top >= 0 && s.left + s.w <= s.ow + s.kw - 1 &&
         winograd_tiles_fit(s.kw, s.oh, s.ow);
}

Status data_columns_winograd(const Conv2dData& p) { return p.shape.kw == 3 ? data_by_taps<3>(p) : data_by_taps<5>(p); }

}  // namespace pynn::PYNN_ISA
