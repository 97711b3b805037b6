// What the machine can do at most: the roofs that benchmarks compare kernels with. No op of tensors.
#pragma once
#include "runtime/launch.h"

namespace pynn {

// `rounds` fused multiply-adds in each of 12 independent vector registers, on every one of `threads` tasks.
struct PeakFma {
  static constexpr const char* name = "peak_fma";
  static constexpr bool arithmetic = true;
  int64_t rounds, threads;
  float factor;  // the compiler must not know it
  float* out;    // one float a task
  template <class F>
  void pointers(F&& f) {
    f(out, Access::write);
  }
};

// y[i] = x[i], n contiguous floats
struct PeakCopy {
  static constexpr const char* name = "peak_copy";
  static constexpr bool arithmetic = false;
  int64_t n;
  const float* x;
  float* y;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(y, Access::write);
  }
};

struct PeakKernels {
  Kernel<PeakFma> fma;
  Kernel<PeakCopy> copy;
  int64_t flops_per_round;  // of one task of PeakFma
};

}  // namespace pynn
