// Rows of an array by index: the batch of a data loader.
#pragma once
#include "runtime/launch.h"

namespace pynn {

// y[i] = x[index[i]], i in [0, n): rows of `row_bytes` each, x_stride bytes apart in x, dense in y. A negative index
// counts from the end; one out of range gives Status::index_out_of_range before anything is written.
struct GatherRows {
  static constexpr const char* name = "gather_rows";
  static constexpr bool arithmetic = false;
  int64_t n, x_rows, x_stride, row_bytes;
  const void* x;
  const int64_t* index;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(index, Access::read);
    f(y, Access::write);
  }
};

constexpr int kGatherLanes = 16;

// The same with float32 rows y[i][c][k] = x[index[i]][c][k] * scale[c] + shift[c], c in [0, channels), k in [0, inner).
// Where inner is 1 and channels is not, scale and shift hold kGatherLanes periods of `channels` values, so that every
// vector finds its own.
struct GatherNormalized {
  static constexpr const char* name = "gather_normalized";
  static constexpr bool arithmetic = true;
  DType x_type;
  int64_t n, x_rows, x_stride;  // x_stride in elements
  int64_t channels, inner, outer;
  const void* x;
  const int64_t* index;
  const float *scale, *shift;
  float* y;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(index, Access::read);
    f(scale, Access::read);
    f(shift, Access::read);
    f(y, Access::write);
  }
};

struct GatherKernels {
  Kernel<GatherRows> rows;
  Kernel<GatherNormalized> normalized;
};

}  // namespace pynn
