// The gradient of the weight by Winograd's algorithm along the rows, for layers of one vector of output channels: the
// products of transformed tiles of x and dy are summed, 6 for every row of taps, and the sums transformed once.
#include "kernels/conv2d_weight_tile.h"
#include "kernels/conv2d_winograd.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t L = lanes<float>;
constexpr int64_t kTransformedBytes = 256 * 1024;  // of x and dy, in L2

// The terms of a sum are tiles.
WeightBlocks blocks_of(const ConvShape& s) {
  ConvShape tiles = s;
  tiles.ow = ceil_div(s.ow, kPoints - s.kw + 1);
  return WeightBlocks(tiles);
}

template <int taps>
struct Plan {
  static constexpr int kOutputs = kTileOutputs<taps>;
  const ConvShape& s;
  const WeightBlocks blocks = blocks_of(s);
  int64_t width = ceil_div(s.o, L) * L, across = ceil_div(s.ow, kOutputs);
  RowInputs<taps> inputs = {s.h, s.w, s.c, s.left, across};
  int64_t row_bytes = kPoints * across * (s.c + width) * int64_t(sizeof(float));
  int64_t rows = max_of(1, min_of(blocks.rows, kTransformedBytes / row_bytes - (taps - 1)));  // of dy, at a time
  // Whole vectors: a store of dy that crosses cache lines takes twice as long.
  int64_t x_slice = (ceil_div((rows + taps - 1) * inputs.row_size(), L) + 1) * L, dy_slice = rows * across * width;
  int64_t channels = balanced(s.c, most_weight_channels(taps));                // of a tile
  int64_t sum_slice = taps * s.c * width, size = kPoints * sum_slice + width;  // behind them the sum of dy
};

// v[point * slice + (row * across + tile) * width + o] = A dy of the pixels of a tile of a row; their sums over a tile
// are added to total[o], one after the other.
template <int taps>
void transform_gradients(const Plan<taps>& plan, const float* dy, int64_t rows, float* v, float* total) {
  constexpr int kOutputs = kTileOutputs<taps>;
  const int64_t o = plan.s.o, ow = plan.s.ow, width = plan.width, slice = plan.dy_slice;
  for (int64_t i = 0; i < o; i += L, dy += L, v += L) {
    const int n = int(min_of(L, o - i));
    const float* row = dy;
    float* to = v;
    Vec<float> sum = load(total + i);
    for (int64_t r = 0; r < rows; r++, row += ow * o)
      for (int64_t column = 0; column < ow; column += kOutputs, to += width) {
        Vec<float> d[kOutputs], out[kPoints];
        PYNN_UNROLL
        for (int j = 0; j < kOutputs; j++) d[j] = load(row + (column + j) * o, column + j < ow ? n : 0);
        transform_gradient<taps>(d, out);
        PYNN_UNROLL
        for (int p = 0; p < kPoints; p++) store(to + p * slice, out[p]);
        if constexpr (kOutputs == 4) d[0] = d[0] + d[2], d[1] = d[1] + d[3];
        sum = sum + (d[0] + d[1]);
      }
    store(total + i, sum);
  }
}

// sums (point, kh, c, width) of one block, and (width) of dy behind them.
template <int taps>
void sum_block(const Plan<taps>& plan, const float* x, const float* dy, int64_t number, float* scratch, float* split,
               float* sums) {
  const ConvShape& s = plan.s;
  const WeightBlocks& b = plan.blocks;
  const int64_t first = number % b.rows_count * b.rows, last = min_of(s.oh, first + b.rows);
  const int64_t begin = number / b.rows_count * b.images, end = min_of(s.n, begin + b.images);
  float *const u = scratch, *const v = scratch + kPoints * plan.x_slice;
  const int64_t row_size = plan.inputs.row_size(), width = plan.width;
  float* const total = sums + kPoints * plan.sum_slice;
  __builtin_memset(total, 0, size_t(width) * sizeof(float));
  for (int64_t image = begin; image < end; image++)
    for (int64_t row = first; row < last; row += plan.rows) {
      const int64_t count = min_of(plan.rows, last - row), top = row - s.top;
      plan.inputs.transform(x + image * s.h * s.w * s.c, x + s.n * s.h * s.w * s.c, top, top + count + taps - 1, split,
                            u, plan.x_slice);
      transform_gradients(plan, dy + (image * s.oh + row) * s.ow * s.o, count, v, total);
      const WeightTerms terms = {plan.across, count, row_size, s.c, plan.across * width, width};
      for (int p = 0; p < kPoints; p++)
        for (int64_t c = 0; c < s.c; c += plan.channels)
          for (int64_t i = 0; i < width; i += L)
            weight_tile_table<taps>.of[min_of(plan.channels, s.c - c)](
                terms, u + p * plan.x_slice + c, v + p * plan.dy_slice + i, L,
                sums + p * plan.sum_slice + c * width + i, s.c * width, width, image > begin || row > first);
    }
}

template <int taps>
Status weight_gradient_rows(const Conv2dWeight& p) {
  const ConvShape& s = p.shape;
  const Plan<taps> plan{s};
  const float *const x = static_cast<const float*>(p.x), *const dy = static_cast<const float*>(p.dy);
  const auto sum = [&](int64_t begin, int64_t end) -> const float* {
    float* const stack = scratch_of<float>(Scratch::partial, tree_levels(end - begin) * plan.size);
    float* const transformed = scratch_of<float>(Scratch::pack_b, kPoints * (plan.x_slice + plan.dy_slice));
    float* const split = scratch_of<float>(Scratch::row, plan.inputs.split_size(plan.rows + taps - 1));
    if (!stack || !transformed || !split) return nullptr;
    sum_tree(begin, end, plan.size, stack,
             [&](int64_t number, float* sums) { sum_block(plan, x, dy, number, transformed, split, sums); });
    return stack;
  };
  const double cost = conv_cost<float>(s) * kPoints / (taps * kTileOutputs<taps>);
  const float* const sums = parallel_sum_tree<float>(plan.blocks.count, plan.size, cost, sum);
  if (!sums) return Status::out_of_memory;
  float *const dw = static_cast<float*>(p.dw), *const db = static_cast<float*>(p.db);
  for (int64_t i = 0; db && i < s.o; i += L)
    store(db + i, load(sums + kPoints * plan.sum_slice + i), int(min_of(L, s.o - i)));
  for (int64_t t = 0; t < taps; t++)
    for (int64_t c = 0; c < s.c; c++)
      for (int64_t i = 0; i < s.o; i += L) {
        Vec<float> m[kPoints], g[taps];
        PYNN_UNROLL
        for (int k = 0; k < kPoints; k++) m[k] = load(sums + k * plan.sum_slice + (t * s.c + c) * plan.width + i);
        transform_sums<taps>(m, g);
        PYNN_UNROLL
        for (int j = 0; j < taps; j++) store(dw + ((t * taps + j) * s.c + c) * s.o + i, g[j], int(min_of(L, s.o - i)));
      }
  return Status::ok;
}

}  // namespace

bool weight_winograd_pays(const ConvShape& s) {
  return winograd_applies(s) && winograd_rows_pay(s.kh, s.c, s.o, s.ow) && s.c < 32 && s.n > 0 &&
         blocks_of(s).columns_count == 1;
}

Status weight_gradient_winograd(const Conv2dWeight& p) {
  return p.shape.kh == 3 ? weight_gradient_rows<3>(p) : weight_gradient_rows<5>(p);
}

}  // namespace pynn::PYNN_ISA
