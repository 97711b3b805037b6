// The gradient of the weight by Winograd's algorithm along the rows: the products of transformed tiles of x and dy are
// summed, 6 for every row of taps, and the sums transformed once.
#include "kernels/conv2d_weight_tile.h"
#include "kernels/conv2d_winograd.h"
#include "simd/lanes.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t L = lanes<float>;
constexpr int64_t kTransformedBytes = 512 * 1024;  // of x and dy, in L2
constexpr int64_t kMostSums = 170 * 1024;          // 680 KB, in L2 beside them
constexpr int64_t kMostTiles = 256;  // terms of a block: 1.8 times the error of a direct sum, 512 2.4 times
constexpr int64_t kBlocks = 8, kLeastTiles = 96;  // a multiple of so many for the threads, where they have that many

// What is summed in one chain, whose terms are tiles: some images, or rows of one.
struct Blocks {
  int64_t images = 1, rows, rows_count, count;
  explicit Blocks(const ConvShape& s) {
    const int64_t across = tiles_across(s.kw, s.ow), each = across * s.oh;
    int64_t most_rows = max_of(1, kMostTiles / across);
    if (s.n < kBlocks)
      most_rows = min_of(most_rows, max_of(ceil_div(kLeastTiles, across), ceil_div(s.n * s.oh, kBlocks)));
    rows = balanced(s.oh, most_rows);
    rows_count = ceil_div(s.oh, rows);
    if (rows_count == 1) {
      const int64_t most = max_of(1, kMostTiles / each), wanted = ceil_div(ceil_div(s.n, most), kBlocks) * kBlocks;
      images = min_of(most, max_of(ceil_div(kLeastTiles, each), ceil_div(s.n, wanted)));
    }
    count = ceil_div(s.n, images) * rows_count;
  }
};

// The most input channels whose sums are within kMostSums.
int64_t most_channels(const ConvShape& s) { return kMostSums / (kPoints * s.kh * ceil_div(s.o, kLanes) * kLanes); }

// The rows of dy that are transformed together, with those of c channels of x.
int64_t rows_at_once(const ConvShape& s, int64_t c) {
  const int64_t across = tiles_across(s.kw, s.ow), width = ceil_div(s.o, kLanes) * kLanes;
  const int64_t row_bytes = kPoints * across * (c + width) * int64_t(sizeof(float));
  return kTransformedBytes / row_bytes - (s.kh - 1);
}

// The gradients of c input channels, all of them where the sums are not too many. dy is transformed again for each part
// of them, which takes 1 to 6 % of the products.
template <int taps>
struct Plan {
  static constexpr int kOutputs = kTileOutputs<taps>;
  const ConvShape& s;
  int64_t c;
  const Blocks blocks{s};
  int64_t width = ceil_div(s.o, L) * L, across = tiles_across(taps, s.ow);
  RowInputs<taps> inputs = {s.h, s.w, s.c, c, s.left, across};
  int64_t rows = min_of(blocks.rows, rows_at_once(s, c));  // of dy
  // Whole vectors: a store of dy that crosses cache lines takes twice as long.
  int64_t x_slice = (ceil_div((rows + taps - 1) * inputs.row_size(), L) + 1) * L, dy_slice = rows * across * width;
  bool shares_loads = s.o <= 16 && c < 32;                                   // the taps of a column those of a pixel
  int64_t channels = balanced(c, most_weight_channels(taps));                // of such a tile
  int64_t sum_slice = taps * c * width, size = kPoints * sum_slice + width;  // behind them the sum of dy
};

// v[point * slice + (row * across + tile) * width + o] = A dy of the pixels of a tile of a row; the sums of tiles are
// added up to those of rows, and these to total[o].
template <int taps>
void transform_gradients(const Plan<taps>& plan, const float* dy, int64_t rows, float* v, float* total) {
  constexpr int kOutputs = kTileOutputs<taps>;
  const int64_t o = plan.s.o, ow = plan.s.ow, width = plan.width, slice = plan.dy_slice;
  for (int64_t i = 0; i < o; i += L, dy += L, v += L) {
    const int n = int(min_of(L, o - i));
    const float* row = dy;
    float* to = v;
    Vec<float> sum = load(total + i);
    for (int64_t r = 0; r < rows; r++, row += ow * o) {
      Vec<float> row_sum = {};
      for (int64_t column = 0; column < ow; column += kOutputs, to += width) {
        Vec<float> d[kOutputs];
        transform_tile<taps>(row + column * o, o, ow - column, n, to, slice, d);
        if constexpr (kOutputs == 4) d[0] = d[0] + d[2], d[1] = d[1] + d[3];
        row_sum = row_sum + (d[0] + d[1]);
      }
      sum = sum + row_sum;
    }
    store(total + i, sum);
  }
}

// sum (kh, c, width) (+)= the products of one point over `rows` rows of dy.
template <int taps>
PYNN_INLINE void add_products(const Plan<taps>& plan, const float* u, const float* v, int64_t rows, float* sum,
                              bool goes_on) {
  constexpr int64_t W = kTileColumns<float>;
  const int64_t c = plan.c, width = plan.width, row_size = plan.inputs.row_size();
  if (plan.shares_loads) {
    // The tile's rows are the columns here, and its neighbouring pixels lie below each other.
    const WeightTerms terms = {plan.across, rows, row_size, c, plan.across * width, width};
    for (int64_t q = 0; q < c; q += plan.channels)
      for (int64_t i = 0; i < width; i += L)
        weight_tile_table<taps>.of[min_of(plan.channels, c - q)](terms, u + q, v + i, L, sum + q * width + i, c * width,
                                                                 width, goes_on);
    return;
  }
  const Runs tiles_of_rows = {rows * plan.across};
  const int64_t height = balanced(c, kTileRows<float>);
  for (int64_t t = 0; t < taps; t++, u += row_size, sum += c * width)
    for (int64_t i = 0; i < width; i += W) {
      const int64_t columns = min_of(W, width - i);
      for (int64_t q = 0; q < c; q += height)
        tiles(0.0f).by_columns[min_of(height, c - q)][columns / L](tiles_of_rows, u + q, c, v + i, width,
                                                                   sum + q * width + i, width, int(columns),
                                                                   output_of(goes_on), nullptr);
    }
}

// sums (point, kh, c, width) of one block, and (width) of dy behind them.
template <int taps>
void sum_block(const Plan<taps>& plan, const float* x, const float* x_end, const float* dy, int64_t number,
               float* scratch, float* split, float* sums) {
  const ConvShape& s = plan.s;
  const Blocks& b = plan.blocks;
  const int64_t first = number % b.rows_count * b.rows, last = min_of(s.oh, first + b.rows);
  const int64_t begin = number / b.rows_count * b.images, end = min_of(s.n, begin + b.images);
  float *const u = scratch, *const v = scratch + kPoints * plan.x_slice;
  float* const total = sums + kPoints * plan.sum_slice;
  __builtin_memset(total, 0, size_t(plan.width) * sizeof(float));
  for (int64_t image = begin; image < end; image++)
    for (int64_t row = first; row < last; row += plan.rows) {
      const int64_t count = min_of(plan.rows, last - row), top = row - s.top;
      plan.inputs.transform(x + image * s.h * s.w * s.c, x_end, top, top + count + taps - 1, split, u, plan.x_slice);
      transform_gradients(plan, dy + (image * s.oh + row) * s.ow * s.o, count, v, total);
      for (int p = 0; p < kPoints; p++)
        add_products(plan, u + p * plan.x_slice, v + p * plan.dy_slice, count, sums + p * plan.sum_slice,
                     image > begin || row > first);
    }
}

// The gradients of `c` input channels from `first` on.
template <int taps>
Status gradient_of_channels(const Conv2dWeight& p, int64_t first, int64_t c) {
  const ConvShape& s = p.shape;
  const Plan<taps> plan{s, c};
  const float *const x = static_cast<const float*>(p.x), *const x_end = x + s.n * s.h * s.w * s.c,
                     *const dy = static_cast<const float*>(p.dy);
  const auto sum = [&](int64_t begin, int64_t end) -> const float* {
    float* const stack = scratch_of<float>(Scratch::partial, tree_levels(end - begin) * plan.size);
    float* const transformed = scratch_of<float>(Scratch::pack_b, kPoints * (plan.x_slice + plan.dy_slice));
    float* const split = scratch_of<float>(Scratch::row, plan.inputs.split_size(plan.rows + taps - 1));
    if (!stack || !transformed || !split) return nullptr;
    sum_tree(begin, end, plan.size, stack, [&](int64_t number, float* sums) {
      sum_block(plan, x + first, x_end, dy, number, transformed, split, sums);
    });
    return stack;
  };
  const double cost = conv_cost<float>(s) * double(c) / double(s.c) * kPoints / (taps * kTileOutputs<taps>);
  const float* const sums = parallel_sum_tree<float>(plan.blocks.count, plan.size, cost, sum);
  if (!sums) return Status::out_of_memory;
  float *const dw = static_cast<float*>(p.dw) + first * s.o, *const db = static_cast<float*>(p.db);
  for (int64_t i = 0; db && i < s.o; i += L)
    store(db + i, load(sums + kPoints * plan.sum_slice + i), int(min_of(L, s.o - i)));
  for (int64_t t = 0; t < taps; t++)
    for (int64_t q = 0; q < c; q++)
      for (int64_t i = 0; i < s.o; i += L) {
        Vec<float> m[kPoints], g[taps];
        PYNN_UNROLL
        for (int k = 0; k < kPoints; k++) m[k] = load(sums + k * plan.sum_slice + (t * c + q) * plan.width + i);
        transform_sums<taps>(m, g);
        PYNN_UNROLL
        for (int j = 0; j < taps; j++) store(dw + ((t * taps + j) * s.c + q) * s.o + i, g[j], int(min_of(L, s.o - i)));
      }
  return Status::ok;
}

template <int taps>
Status gradient_in_parts(const Conv2dWeight& p) {
  const int64_t c = p.shape.c, each = balanced(c, most_channels(p.shape));
  Status status = Status::ok;
  for (int64_t first = 0; first < c && status == Status::ok; first += each)
    status = gradient_of_channels<taps>(p, first, min_of(each, c - first));
  return status;
}

}  // namespace

// The kh - 1 rows of x between two blocks, or passes of one, are transformed twice: these have as many rows at least.
bool weight_winograd_pays(const ConvShape& s) {
  if (!winograd_applies(s) || s.kh * s.c < 24 || s.o <= 8 || s.n == 0 || !winograd_tiles_fit(s.kw, s.oh, s.ow))
    return false;
  const int64_t most = most_channels(s);
  if (most < min_of(s.c, 32)) return false;
  const Blocks b(s);
  return 2 * b.count >= kBlocks && min_of(b.rows, rows_at_once(s, balanced(s.c, most))) >= s.kh - 1;
}

Status weight_gradient_winograd(const Conv2dWeight& p) {
  return p.shape.kh == 3 ? gradient_in_parts<3>(p) : gradient_in_parts<5>(p);
}

}  // namespace pynn::PYNN_ISA
