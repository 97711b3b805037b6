// Dropout (Srivastava et al. 2014), inverted: what is kept is scaled, so that evaluation changes nothing.
//
// Element i is dropped where uniform number i of the stream (ops/random.h, 24 bits) is below p; the mask keeps which.
#pragma once
#include "ops/random.h"

namespace pynn {

// mask[i] = 1 where element i is kept, else 0; y[i] = x[i] * (mask[i] ? scale : 0). n contiguous elements.
struct Dropout {
  static constexpr const char* name = "dropout";
  static constexpr bool arithmetic = true;
  DType dtype;  // float32 or float64
  int64_t n;
  double p, scale;
  const void* x;
  int64_t* state;
  uint8_t* mask;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(state, Access::write);
    f(mask, Access::write);
    f(y, Access::write);
  }
};

// dx[i] = dy[i] * (mask[i] ? scale : 0), which may be dy itself
struct DropoutBackward {
  static constexpr const char* name = "dropout_backward";
  static constexpr bool arithmetic = true;
  DType dtype;
  int64_t n;
  double scale;
  const void* dy;
  const uint8_t* mask;
  void* dx;
  template <class F>
  void pointers(F&& f) {
    f(dy, Access::read);
    f(mask, Access::read);
    f(dx, Access::write);
  }
};

struct DropoutKernels {
  Kernel<Dropout> forward;
  Kernel<DropoutBackward> backward;
};

}  // namespace pynn
