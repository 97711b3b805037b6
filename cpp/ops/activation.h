// Element-wise activations. n contiguous elements of `dtype` (float32 or float64); y may be x, and dx may be dy.
#pragma once
#include "runtime/launch.h"

namespace pynn {

enum class Activation : uint8_t { none, sigmoid, tanh, relu };
constexpr int kActivations = 4;

// y = f(x)
struct ActivationForward {
  static constexpr const char* name = "activation";
  static constexpr bool arithmetic = true;
  Activation kind;
  DType dtype;
  int64_t n;
  const void* x;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(y, Access::write);
  }
};

// dx = dy * f'(x), from the output y = f(x): y(1-y), 1-y^2, y > 0
struct ActivationBackward {
  static constexpr const char* name = "activation_backward";
  static constexpr bool arithmetic = true;
  Activation kind;
  DType dtype;
  int64_t n;
  const void *dy, *y;
  void* dx;
  template <class F>
  void pointers(F&& f) {
    f(dy, Access::read);
    f(y, Access::read);
    f(dx, Access::write);
  }
};

struct ActivationKernels {
  Kernel<ActivationForward> forward;
  Kernel<ActivationBackward> backward;
};

}  // namespace pynn
