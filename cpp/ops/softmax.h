// Softmax and its logarithm over the rows of a matrix: rows x classes contiguous elements of `dtype` (float32 or
// float64). A row with a NaN or a +inf, or with nothing but -inf, gives NaN.
#pragma once
#include "runtime/launch.h"

namespace pynn {

enum class SoftmaxKind : uint8_t { softmax, log_softmax };

// y = exp(x - max) / sum(exp(x - max)), or its logarithm
struct SoftmaxForward {
  static constexpr const char* name = "softmax";
  static constexpr bool arithmetic = true;
  SoftmaxKind kind;
  DType dtype;
  int64_t rows, classes;
  const void* x;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(y, Access::write);
  }
};

// From the output y. softmax: dx = y (dy - sum(dy y)); log_softmax: dx = dy - exp(y) sum(dy)
struct SoftmaxBackward {
  static constexpr const char* name = "softmax_backward";
  static constexpr bool arithmetic = true;
  SoftmaxKind kind;
  DType dtype;
  int64_t rows, classes;
  const void *dy, *y;
  void* dx;
  template <class F>
  void pointers(F&& f) {
    f(dy, Access::read);
    f(y, Access::read);
    f(dx, Access::write);
  }
};

struct SoftmaxKernels {
  Kernel<SoftmaxForward> forward;
  Kernel<SoftmaxBackward> backward;
};

}  // namespace pynn
