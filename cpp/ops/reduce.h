// Sums and extrema over one axis, to which the binding reduces the general case:
//
//   y[o, j] = f over i of x[o, i, j]     o < outer, i < count, j < inner
//
// x has any strides along o and i; along j, or along i where inner is 1, its elements are neighbours. y is contiguous.
#pragma once
#include "runtime/launch.h"

namespace pynn {

struct ReduceSpace {
  int64_t outer, count, inner;
  int64_t outer_stride, stride;  // of x along o and i, in elements
};

// float32, float64 or int64. `mean` (floats only) divides by count. Rows (inner = 1): 16 lanes over blocks of 512
// terms; columns: chains of 32 terms. Block sums meet in a pairwise tree.
struct ReduceSum {
  static constexpr const char* name = "sum";
  static constexpr bool arithmetic = true;
  DType dtype;
  bool mean;
  ReduceSpace space;
  const void* x;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(y, Access::write);
  }
};

// The largest or smallest value, count >= 1; NaN counts as either. index[o, j] is the first place of the value. y or
// index may be null. float32, float64, int64 or int32.
struct ReduceExtremum {
  static constexpr const char* name = "extremum";
  static constexpr bool arithmetic = false;
  DType dtype;
  bool smallest;
  ReduceSpace space;
  const void* x;
  void* y;
  int64_t* index;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(y, Access::write);
    f(index, Access::write);
  }
};

// dx[o, index[o, j], j] = dy[o, j] and zero elsewhere; all contiguous, float32 or float64. Every index is checked.
struct ReduceScatter {
  static constexpr const char* name = "extremum_backward";
  static constexpr bool arithmetic = false;
  DType dtype;
  int64_t outer, count, inner;
  const void* dy;
  const int64_t* index;
  void* dx;
  template <class F>
  void pointers(F&& f) {
    f(dy, Access::read);
    f(index, Access::read);
    f(dx, Access::write);
  }
};

struct ReduceKernels {
  Kernel<ReduceSum> sum;
  Kernel<ReduceExtremum> extremum;
  Kernel<ReduceScatter> scatter;
};

// Nanoseconds a term on one core at AVX-512.
constexpr double kReduceCost = 0.06;

}  // namespace pynn
