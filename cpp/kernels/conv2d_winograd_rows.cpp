// Winograd's algorithm along the rows alone, for layers of one vector of output channels. In both axes the transforms
// would take as long as the products; so a product has the taps of a column, which share the loads of a pixel.
#include "kernels/conv2d_row_tile.h"
#include "kernels/conv2d_winograd.h"
#include "kernels/gemm_pack.h"
#include "simd/activation.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t L = lanes<float>;
constexpr int64_t kTransformedBytes = 256 * 1024;  // of input rows, in L2

template <int taps>
struct Plan {
  static constexpr int kOutputs = kTileOutputs<taps>;
  const Winograd& s;
  int64_t width = ceil_div(s.o, L) * L, terms = taps * s.c;
  RowInputs<taps> inputs = {s.h, s.w, s.c, s.c, s.left, tiles_across(taps, s.ow)};
  // Output rows of a band, and of a tile.
  int64_t band = min_of(s.oh, kTransformedBytes / (kPoints * inputs.row_size() * int64_t(sizeof(float))) - (taps - 1));
  int64_t rows = balanced(band, most_row_pixels(taps, 1));
  int64_t input_slice = (band + taps - 1) * inputs.row_size() + L, weight_slice = terms * width;
};

// Tile number `tile` of `rows` output rows that begin at y.
template <int taps, Activation activation>
PYNN_INLINE void multiply_column(const Plan<taps>& plan, const float* u, const float* weights, int64_t tile,
                                 int64_t rows, float* y) {
  const Winograd& s = plan.s;
  const int64_t pixels = min_of(Plan<taps>::kOutputs, s.ow - tile * Plan<taps>::kOutputs);
  const RowTerms terms = {1, s.c, plan.inputs.row_size(), 0, s.c * plan.width, plan.width};
  const RowTile product = row_tile_of(taps, 1, 1, rows);
  alignas(64) float products[kPoints][most_row_pixels(taps, 1) * L];
  for (int64_t v = 0; v < s.o; v += L) {
    for (int p = 0; p < kPoints; p++)
      product(terms, u + p * plan.input_slice + tile * s.c, weights + p * plan.weight_slice + v, products[p], L, int(L),
              nullptr);
    const int n = int(min_of(L, s.o - v));
    const Vec<float> bias = s.bias ? load(s.bias + v, n) : Vec<float>{};
    float* pixel = y + tile * Plan<taps>::kOutputs * s.o + v;
    for (int64_t i = 0; i < rows; i++, pixel += s.ow * s.o) {
      Vec<float> d[kPoints];
      PYNN_UNROLL
      for (int p = 0; p < kPoints; p++) d[p] = load(products[p] + i * L);
      transform_output<taps>(d);
      PYNN_UNROLL
      for (int j = 0; j < Plan<taps>::kOutputs; j++)
        if (j < pixels) store(pixel + j * s.o, activate<activation, float>(s.bias ? d[j] + bias : d[j]), n);
    }
  }
}

template <int taps>
Status correlate_rows(const Winograd& s) {
  const Plan<taps> plan{s};
  const int64_t weights_size = kPoints * plan.weight_slice, panel_size = taps * plan.weight_slice;
  float* const weights = scratch_of<float>(Scratch::pack_b, weights_size + panel_size + L);
  if (!weights) return Status::out_of_memory;
  float* const panel = weights + weights_size;
  if (s.turned) {
    for (int64_t c = 0, step = taps * taps * s.o; c < s.c; c++)
      for (int64_t t = 0; t < taps * taps; t++)
        for (int64_t v = 0; v < s.o; v += L)
          store(panel + (t * s.c + c) * plan.width + v,
                load(s.weight + c * step + (taps * taps - 1 - t) * s.o + v, int(min_of(L, s.o - v))));
  } else {
    pack_panels(panel, s.weight, plan.terms * taps, true, s.o, plan.terms * taps);
  }
  for (int64_t t = 0, row = s.c * plan.width; t < taps; t++)  // (kh, kw, c, width) -> (point, kh, c, width)
    transform_weights<taps>(panel + t * taps * row, row, row, weights + t * row, plan.weight_slice);
  const double cost = fma_cost<float>(double(kPoints * plan.inputs.across) * double(plan.weight_slice));
  int failed = 0;
  parallel_ranges(s.n * s.oh, 1, cost, [&](int64_t row, int64_t end) {
    float* const u = scratch_of<float>(Scratch::pack_a, kPoints * plan.input_slice);
    float* const split = scratch_of<float>(Scratch::row, plan.inputs.split_size(plan.band + taps - 1));
    if (!u || !split) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    while (row < end) {
      const int64_t image = row / s.oh, i = row % s.oh, count = min_of(min_of(s.oh - i, end - row), plan.band);
      plan.inputs.transform(s.x + image * s.h * s.w * s.c, s.x + s.n * s.h * s.w * s.c, i - s.top,
                            i + count + taps - 1 - s.top, split, u, plan.input_slice);
      float* const y = s.y + row * s.ow * s.o;
      with_activation(s.activation, [&](auto kind) {
        for (int64_t r = 0; r < count; r += plan.rows)
          for (int64_t t = 0; t < plan.inputs.across; t++)
            multiply_column<taps, decltype(kind)::value>(plan, u + r * plan.inputs.row_size(), weights, t,
                                                         min_of(plan.rows, count - r), y + r * s.ow * s.o);
      });
      row += count;
    }
  });
  return failed ? Status::out_of_memory : Status::ok;
}

}  // namespace

// Bands of at least 8 rows: the taps - 1 rows between two of them are transformed twice.
bool winograd_rows_pay(int64_t taps, int64_t c, int64_t o, int64_t oh, int64_t ow) {
  const int64_t row_bytes = tiles_across(taps, ow) * c * kPoints * int64_t(sizeof(float));
  return taps * c >= 24 && o > 8 && o <= 16 && winograd_tiles_fit(taps, oh, ow) &&
         row_bytes * (8 + taps - 1) <= kTransformedBytes;
}

Status winograd_rows(const Winograd& s) { return s.taps == 3 ? correlate_rows<3>(s) : correlate_rows<5>(s); }

}  // namespace pynn::PYNN_ISA
