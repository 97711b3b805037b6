// The activation functions on a vector, shared by the activation kernels and by the epilogues of gemm.
#pragma once
#include "ops/activation.h"
#include "simd/math.h"

namespace pynn::PYNN_ISA {

// `x <= 0 ? 0 : x` keeps NaN, which max(x, 0) would lose, and makes -0 zero.
template <class T>
PYNN_INLINE Vec<T> relu(Vec<T> x) {
  return x <= T(0) ? Vec<T>{} : x;
}

template <Activation kind, class T>
PYNN_INLINE Vec<T> activate(Vec<T> x) {
  if constexpr (kind == Activation::sigmoid) return sigmoid<T>(x);
  if constexpr (kind == Activation::tanh) return tanh(x);
  if constexpr (kind == Activation::relu) return relu<T>(x);
  return x;
}

// dy * f'(x) from y = f(x). relu: `y <= 0 ? 0 : dy`, so that a NaN output passes the gradient on.
template <Activation kind, class T>
PYNN_INLINE Vec<T> activation_gradient(Vec<T> dy, Vec<T> y) {
  if constexpr (kind == Activation::sigmoid) return dy * (y * (T(1) - y));
  if constexpr (kind == Activation::tanh) return dy * (T(1) - y * y);
  if constexpr (kind == Activation::relu) return y <= T(0) ? Vec<T>{} : dy;
  return dy;
}

template <Activation kind>
struct ActivationConstant {
  static constexpr Activation value = kind;
};

// f(ActivationConstant<kind>{})
template <class F>
PYNN_INLINE auto with_activation(Activation kind, const F& f) {
  switch (kind) {
    case Activation::none: return f(ActivationConstant<Activation::none>{});
    case Activation::sigmoid: return f(ActivationConstant<Activation::sigmoid>{});
    case Activation::tanh: return f(ActivationConstant<Activation::tanh>{});
    case Activation::relu: return f(ActivationConstant<Activation::relu>{});
  }
  __builtin_unreachable();
}

}  // namespace pynn::PYNN_ISA
