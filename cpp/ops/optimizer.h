// One step of an optimiser over many parameters at once. All operands of a parameter share its memory order, so a
// parameter is n consecutive elements. Formulas: PyTorch's SGD, Adam and AdamW (Kingma and Ba 2015, Loshchilov and
// Hutter 2019). Elementwise, so the bits depend on nothing but the values. A weight_decay of 0 leaves its term out, so
// that an infinite value stays infinite.
#pragma once
#include "runtime/launch.h"

namespace pynn {

constexpr int kMaxTensors = 16;  // a launch; longer lists take several

struct SgdParameter {
  int64_t n;
  void* value;
  const void* grad;
  void* momentum;  // null without momentum
};

// g = ±grad + weight_decay * value; with momentum: m = first ? g : momentum * m + (1 - dampening) * g, then
// g = nesterov ? g + momentum * m : m; value -= lr * g
struct Sgd {
  static constexpr const char* name = "sgd";
  static constexpr bool arithmetic = true;
  DType dtype;
  bool nesterov, maximize, first;
  int count;
  double momentum, dampening, weight_decay;
  const double* lr;  // one element, so that a recorded step follows a schedule
  SgdParameter parameters[kMaxTensors];
  template <class F>
  void pointers(F&& f) {
    f(lr, Access::read);
    for (int i = 0; i < count; i++) {
      f(parameters[i].value, Access::write);
      f(parameters[i].grad, Access::read);
      f(parameters[i].momentum, Access::write);
    }
  }
};

// step[0] += 1; step[1] = 1 - beta1^step[0]; step[2] = sqrt(1 - beta2^step[0])
struct AdamAdvance {
  static constexpr const char* name = "adam_advance";
  static constexpr bool arithmetic = false;
  double beta1, beta2;
  double* step;
  template <class F>
  void pointers(F&& f) {
    f(step, Access::write);
  }
};

struct AdamParameter {
  int64_t n;
  void* value;
  const void* grad;
  void *mean, *square;
};

// g = ±grad (+ weight_decay * value, or decoupled: value -= lr * weight_decay * value);
// m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g²; value -= lr / step[1] * m / (sqrt(v) / step[2] + eps)
struct Adam {
  static constexpr const char* name = "adam";
  static constexpr bool arithmetic = true;
  DType dtype;
  bool decoupled, maximize;
  int count;
  double beta1, beta2, eps, weight_decay;
  const double *lr, *step;
  AdamParameter parameters[kMaxTensors];
  template <class F>
  void pointers(F&& f) {
    f(lr, Access::read);
    f(step, Access::read);
    for (int i = 0; i < count; i++) {
      f(parameters[i].value, Access::write);
      f(parameters[i].grad, Access::read);
      f(parameters[i].mean, Access::write);
      f(parameters[i].square, Access::write);
    }
  }
};

struct OptimizerKernels {
  Kernel<Sgd> sgd;
  Kernel<AdamAdvance> adam_advance;
  Kernel<Adam> adam;
};

}  // namespace pynn
