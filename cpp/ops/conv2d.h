// Two-dimensional cross-correlation of channels-last arrays, and the gradient of its weight. Both read an input that is
// already as large as the windows need (the caller adds the border). The gradient of the input is the forward kernel on
// a spread and padded gradient with the flipped weight.
//
// Shapes, all dense: x (n, h, w, groups * c), weight (groups * o, kh, kw, c), y and dy (n, oh, ow, groups * o).
#pragma once
#include "ops/activation.h"
#include "runtime/launch.h"

namespace pynn {

struct ConvShape {
  DType dtype;  // float32 or float64
  int64_t n, h, w, c, o, groups;
  int64_t kh, kw, oh, ow;  // all positive but n
  int64_t stride_h, stride_w, dilation_h, dilation_w;
};

// y = f(conv(x, weight) + bias). An element of y is one chain of fma() over kh, kw, c in this order that starts from
// zero; bias (null, or groups * o elements), then activation, come last. No tile or thread count changes a bit.
struct Conv2d {
  static constexpr const char* name = "conv2d";
  static constexpr bool arithmetic = true;
  ConvShape shape;
  Activation activation;
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

// dw (groups, kh, kw, c, o) = the gradient of the weight. An element is the sum over the pixels of dy in blocks of at
// most 512 terms, each one chain, added in a pairwise tree: the same bits at any thread count.
struct Conv2dWeight {
  static constexpr const char* name = "conv2d_weight";
  static constexpr bool arithmetic = true;
  ConvShape shape;
  const void *x, *dy;
  void* dw;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(dy, Access::read);
    f(dw, Access::write);
  }
};

struct Conv2dKernels {
  Kernel<Conv2d> forward;
  Kernel<Conv2dWeight> weight;
};

}  // namespace pynn
