// Strided copy with conversion: permute, broadcast, contiguous, dtype casts, fill.
#pragma once
#include "runtime/launch.h"

namespace pynn {

// y[i] = x[i] for every index i of shape; strides in elements, any sign, zero to broadcast x. Operands do not overlap.
// float to integer truncates; anything to boolean is x != 0.
struct Copy {
  static constexpr const char* name = "copy";
  static constexpr bool arithmetic = false;
  DType x_type, y_type;
  int dims;
  int64_t shape[kMaxDims], x_strides[kMaxDims], y_strides[kMaxDims];
  const void* x;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(y, Access::write);
  }
};

// y[i] = value, n contiguous elements; `value` holds the element's bytes
struct Fill {
  static constexpr const char* name = "fill";
  static constexpr bool arithmetic = false;
  DType dtype;
  int64_t n;
  uint64_t value;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(y, Access::write);
  }
};

struct CopyKernels {
  Kernel<Copy> copy;
  Kernel<Fill> fill;
};

}  // namespace pynn
