// Two-dimensional cross-correlation of channels-last arrays with zeros around them, the gradient of its input (which is
// also the forward pass of the transposed convolution) and the gradient of its weight.
//
// Shapes, all dense: x and dx (n, h, w, groups * c), weight (groups * o, kh, kw, c), y and dy (n, oh, ow, groups * o).
// Tap (t, u) of the window of y[i][j] lies at row i * stride_h - top + t * dilation_h and column j * stride_w - left +
// u * dilation_w of x; where that is outside, it counts as zero.
#pragma once
#include "ops/activation.h"
#include "runtime/launch.h"

namespace pynn {

struct ConvShape {
  DType dtype;  // float32 or float64
  int64_t n, h, w, c, o, groups;
  int64_t kh, kw, oh, ow;
  int64_t stride_h, stride_w, dilation_h, dilation_w;
  int64_t top, left;
};

// y = f(conv(x, weight) + bias). An element of y is one chain of fma() over kh, kw, c in this order that starts from
// zero; bias (null, or groups * o elements), then activation, come last. With 9 to 16 output channels of one group in
// float32, 3 or 5 taps in a row, a stride of 1 or 2 along it and no dilation the order is kh, c, kw. Where `strict` is
// false and the layer large enough, Winograd's algorithm takes the place of the chain, in both axes or along the rows.
// No tile, thread count or batch split changes a bit.
struct Conv2d {
  static constexpr const char* name = "conv2d";
  static constexpr bool arithmetic = true;
  ConvShape shape;
  Activation activation;
  bool strict;  // no way that lets a NaN or an infinity reach an output whose window does not hold it
  const void *x, *weight, *bias;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(weight, Access::read);
    f(bias, Access::read);
    f(y, Access::write);
  }
};

// dx = f(the gradient of x + bias), a chain over kh, kw from the last tap to the first, then o, or Winograd's algorithm
// as above; bias is null, or has groups * c elements. The order is kh, o, kw for 9 to 16 input channels of one group in
// float32, where the taps of a row that meet an element are 3 or 5 and meet neighbours in dy. Few input channels in
// float32, whose rows of taps fill vectors: a chain over kh, then o, for each tap of a row; these are added from the
// last to the first; or Winograd's algorithm for each row of taps, these added from the last to the first.
struct Conv2dData {
  static constexpr const char* name = "conv2d_data";
  static constexpr bool arithmetic = true;
  ConvShape shape;
  Activation activation;
  bool strict;
  const void *dy, *weight, *bias;
  void* dx;
  template <class F>
  void pointers(F&& f) {
    f(dy, Access::read);
    f(weight, Access::read);
    f(bias, Access::read);
    f(dx, Access::write);
  }
};

// dw (groups, kh, kw, c, o) = the gradient of the weight. An element is the sum over the pixels of dy in blocks of at
// most 512 terms, each one chain, added in a pairwise tree: the same bits at any thread count. Few output channels in
// float32: 16 lanes, pixels taking turns, over blocks of at most 128 terms a lane; blocks, then lanes, are added in
// such a tree, and a NaN or an infinity of x may reach every tap of its channel; with fewer than 32 input channels one
// of dy beside the border may reach the taps that lie outside there. Where `strict` is false, the images have enough
// tiles and the channels are not too many: Winograd's algorithm along the rows, with terms that are products of
// transformed tiles, at most 256 in a block; a NaN or an infinity may reach the taps of its row. Where sums_bias says
// so, db (null, or o elements) is the gradient of the bias, the sum of dy in the same order; in Winograd's algorithm
// over tiles, then rows, then blocks.
struct Conv2dWeight {
  static constexpr const char* name = "conv2d_weight";
  static constexpr bool arithmetic = true;
  ConvShape shape;
  bool strict;
  const void *x, *dy;
  void *dw, *db;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(dy, Access::read);
    f(dw, Access::write);
    f(db, Access::write);
  }
};

struct Conv2dKernels {
  Kernel<Conv2d> forward;
  Kernel<Conv2dData> data;
  Kernel<Conv2dWeight> weight;
  bool (*sums_bias)(const ConvShape& s, bool strict);  // whether `weight` takes a db
};

}  // namespace pynn
