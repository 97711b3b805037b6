// The ways to compute a convolution. conv2d.cpp chooses, by the shape of the layer alone.
#pragma once
#include "kernels/gemm_paths.h"
#include "ops/conv2d.h"

namespace pynn::PYNN_ISA {

// A cross-correlation on the register tiles of gemm, without im2col: the patch of a pixel is a run of kw * c neighbours
// for each row of the kernel, and the patches of neighbouring pixels are stride_w * channels apart.
template <class T>
struct Correlation {
  const T* x;  // images (n, h, w, channels), dense; the first window begins `top` rows and `left` columns before them
  int64_t n, h, w, channels, top, left;
  int64_t groups, c, o;  // channels of a group
  int64_t kh, kw;        // taps; none at all gives f(bias)
  int64_t stride_h, stride_w, dilation_h, dilation_w;
  const T* packed;  // of each group its panels of (kh, kw, c) rows
  T* y;             // (n, oh, ow) pixels of groups * o elements, so many elements apart
  int64_t oh, ow, image_step, row_step, column_step;
  const T* bias;  // null or groups * o
  Activation activation;

  int64_t terms() const { return kh * kw * c; }
  int64_t group_size() const { return ceil_div(o, kTileColumns<T>) * kTileColumns<T> * terms(); }
};
template <class T>
Status correlate(const Correlation<T>& s);

// The same sums with vectors over the pixels instead of the channels, for one group of few output channels.
bool planes_pay(const Correlation<float>& s);
Status correlate_planes(const Correlation<float>& s);

// The activation of a finished row; its pixels lie `s.column_step` apart.
template <class T>
void finish_row(const Correlation<T>& s, T* y) {
  const int64_t channels = s.groups * s.o;
  if (s.column_step == channels)
    activate_tile(1, s.ow * channels, y, 0, s.activation);
  else
    activate_tile(s.ow, channels, y, s.column_step, s.activation);
}

// A layer of 3 x 3 or 5 x 5 taps, stride 1 and one group by Winograd's algorithm, float32; the error is about twice
// that of a direct sum, and a NaN spreads over its tile of 4 x 4 or 2 x 2 pixels.
struct Winograd {
  int64_t taps;    // 3 or 5
  const float* x;  // (n, h, w, c); the first window begins `top` rows and `left` columns before
  int64_t n, h, w, c, top, left;
  const float* weight;  // (o, taps, taps, c), or where `turned` (c, taps, taps, o) with the taps in reverse
  bool turned;
  float* y;  // (n, oh, ow, o)
  int64_t oh, ow, o;
  const float* bias;  // null or o
  Activation activation;
};
Status winograd(const Winograd& s);
bool winograd_pays(int64_t taps, int64_t c, int64_t o, int64_t oh, int64_t ow);

// The same along the rows alone; a NaN spreads over its tile of 4 or 2 pixels of a row.
Status winograd_rows(const Winograd& s);
bool winograd_rows_pay(int64_t taps, int64_t c, int64_t o, int64_t oh, int64_t ow);

// The gradient of the input of few channels, whose rows of taps fill vectors.
bool columns_pay(const ConvShape& s);
Status data_columns(const Conv2dData& p);
bool columns_winograd_pay(const ConvShape& s);
Status data_columns_winograd(const Conv2dData& p);

template <class T>
Status weight_gradient(const Conv2dWeight& p);
Status weight_gradient_planes(const Conv2dWeight& p);
bool weight_planes_pay(const ConvShape& s);

Status weight_gradient_winograd(const Conv2dWeight& p);
bool weight_winograd_pays(const ConvShape& s);

template <class T>
Status weight_gradient_packed(const Conv2dWeight& p);
bool weight_packed_pays(const ConvShape& s);

// Pixels of dy that are summed in one chain: whole images, rows of one, or a piece of a row.
struct WeightBlocks {
  static constexpr int64_t kTerms = 512;
  int64_t images, rows, columns, rows_count, columns_count, count;
  explicit WeightBlocks(const ConvShape& s) {
    columns = balanced(s.ow, kTerms);
    columns_count = ceil_div(s.ow, columns);
    rows = columns_count > 1 ? 1 : balanced(s.oh, max_of(1, kTerms / s.ow));
    rows_count = ceil_div(s.oh, rows);
    images = rows_count * columns_count > 1 ? 1 : max_of(1, kTerms / (s.oh * s.ow));
    count = ceil_div(s.n, images) * rows_count * columns_count;
  }
};

template <class T>
PYNN_INLINE void add_to(T* a, const T* b, int64_t n) {  // n is a multiple of the lanes
  for (int64_t i = 0; i < n; i += lanes<T>) store(a + i, load(a + i) + load(b + i));
}

// sums[0 .. size - 1] = the pairwise tree over block(number, sums) of [first, last), not empty: the sums of a power of
// two of blocks wait until a partner of their size comes. `sums` has room for tree_levels(last - first) of them.
PYNN_INLINE int64_t tree_levels(int64_t blocks) {
  int64_t levels = 1;
  while (blocks >> levels) levels++;
  return levels + 1;
}
template <class T, class Block>
PYNN_INLINE void sum_tree(int64_t first, int64_t last, int64_t size, T* sums, const Block& block) {
  int64_t top = 0;
  for (int64_t number = first; number < last; number++) {
    block(number, sums + top++ * size);
    for (int64_t done = number - first + 1; done % 2 == 0; done /= 2, top--)
      add_to(sums + (top - 2) * size, sums + (top - 1) * size, size);
  }
  for (; top > 1; top--) add_to(sums + (top - 2) * size, sums + (top - 1) * size, size);
}

// The tree over all blocks, at least one, on the team; null when memory is out. sum(first, last) gives a part of it, in
// any scratch memory but pack_a, or null.
template <class T, class Sum>
T* parallel_sum_tree(int64_t blocks, int64_t size, double cost, const Sum& sum) {
  const int64_t threads = plan_threads(cost);
  int64_t each = 1;  // blocks of a task: a power of two of them is a part of the tree
  while (ceil_div(blocks, each) > (threads == 1 ? 1 : 4 * threads)) each *= 2;
  const int64_t tasks = ceil_div(blocks, each);
  T* const sums = scratch_of<T>(Scratch::pack_a, tasks * size);
  if (!sums) return nullptr;
  int failed = 0;
  parallel_tasks(tasks, cost, [&](int64_t task) {
    const T* const part = sum(task * each, min_of(blocks, (task + 1) * each));
    if (!part) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    __builtin_memcpy(sums + task * size, part, size_t(size) * sizeof(T));
  });
  if (failed) return nullptr;
  parallel_ranges(size, 64, 0.2 * double(tasks), [&](int64_t begin, int64_t end) {
    for (int64_t width = 1; width < tasks; width *= 2)
      for (int64_t i = 0; i + width < tasks; i += 2 * width)
        add_to(sums + i * size + begin, sums + (i + width) * size + begin, end - begin);
  });
  return sums;
}

// Nanoseconds of all multiply-adds on one core.
template <class T>
PYNN_INLINE double conv_cost(const ConvShape& s) {
  return fma_cost<T>(double(s.n * s.oh * s.ow) * double(s.groups * s.o * s.kh * s.kw * s.c));
}

// Whether every pixel is a product of its own: one matrix product does it all.
PYNN_INLINE bool pointwise(const ConvShape& s) {
  return s.kh == 1 && s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && s.groups == 1 && s.top == 0 && s.left == 0 &&
         s.oh == s.h && s.ow == s.w;
}

PYNN_INLINE bool winograd_applies(const ConvShape& s) {
  return s.dtype == DType::float32 && (s.kh == 3 || s.kh == 5) && s.kw == s.kh && s.stride_h == 1 && s.stride_w == 1 &&
         s.dilation_h == 1 && s.dilation_w == 1 && s.groups == 1;
}

// The output pixels that share a vector of dy where there are few channels: `pixels` neighbours act as one pixel with
// pixels * o channels, whose taps reach over all their windows and are zero outside the own one. 1 where that does not
// pay. `rows` neighbours of these make a tile; fewer than 8 sums wait for each other (4 cycles an fma, two at a time).
PYNN_INLINE int64_t shared_pixels(int64_t o, int64_t kw, int64_t stride, int64_t ow, int64_t vector, int64_t rows) {
  const auto cost = [&](int64_t pixels) {
    const int64_t vectors = ceil_div(pixels * o, vector), tile = balanced(ceil_div(ow, pixels), rows);
    return double((kw + (pixels - 1) * stride) * max_of(8, tile * vectors)) / double(pixels * tile);
  };
  int64_t best = 1;
  double least = 0.9 * cost(1);
  for (int64_t pixels = 2; pixels <= ow && pixels * o <= 2 * vector; pixels++)
    if (cost(pixels) < least) least = cost(best = pixels);
  return best;
}

}  // namespace pynn::PYNN_ISA
