// Losses that are a sum over elements, forward and backward in one pass each; and the table of all losses.
#include "kernels/loss.h"

#include "simd/math.h"
#include "simd/parallel_sum.h"

namespace pynn::PYNN_ISA {
namespace {

// The loss of a vector of elements and its derivative by x. pos_weight is 1 where there is none.
template <ElementLoss kind, class T>
struct Element;

template <class T>
struct Element<ElementLoss::squared, T> {
  static constexpr double cost = 0.1;  // ns an element on one core at AVX-512
  PYNN_INLINE static Vec<T> loss(Vec<T> x, Vec<T> t, Vec<T>) { return (x - t) * (x - t); }
  PYNN_INLINE static Vec<T> derivative(Vec<T> x, Vec<T> t, Vec<T>) { return T(2) * (x - t); }
};

template <class T>
struct Element<ElementLoss::half_squared, T> {
  static constexpr double cost = 0.1;
  PYNN_INLINE static Vec<T> loss(Vec<T> x, Vec<T> t, Vec<T>) { return T(0.5) * (x - t) * (x - t); }
  PYNN_INLINE static Vec<T> derivative(Vec<T> x, Vec<T> t, Vec<T>) { return x - t; }
};

template <class T>
struct Element<ElementLoss::absolute, T> {
  static constexpr double cost = 0.1;
  PYNN_INLINE static Vec<T> loss(Vec<T> x, Vec<T> t, Vec<T>) { return abs(x - t); }
  PYNN_INLINE static Vec<T> derivative(Vec<T> x, Vec<T> t, Vec<T>) {
    const Vec<T> d = x - t, one = broadcast(T(1));
    return d > T(0) ? one : d < T(0) ? -one : d;  // 0 at 0, NaN at NaN
  }
};

template <class T>
struct Element<ElementLoss::binary, T> {
  static constexpr double cost = 0.8;
  PYNN_INLINE static Vec<T> clamp(Vec<T> v) { return v < T(-100) ? broadcast(T(-100)) : v; }
  PYNN_INLINE static Vec<T> loss(Vec<T> x, Vec<T> t, Vec<T>) {
    return (t - T(1)) * clamp(log1p(-x)) - t * clamp(log(x));
  }
  PYNN_INLINE static Vec<T> derivative(Vec<T> x, Vec<T> t, Vec<T>) {
    const Vec<T> variance = (T(1) - x) * x, least = broadcast(T(1e-12));
    return (x - t) / (variance < least ? least : variance);
  }
};

template <class T>
struct Element<ElementLoss::binary_with_logits, T> {
  static constexpr double cost = 0.8;
  PYNN_INLINE static Vec<T> loss(Vec<T> x, Vec<T> t, Vec<T> pos_weight) {
    // (1-t) x + (1 + (pos_weight-1) t) max(-x, 0), without the cancellation below zero
    const Vec<T> linear = x < T(0) ? -(pos_weight * t) * x : (T(1) - t) * x;
    return fma(fma(pos_weight - T(1), t, broadcast(T(1))), log1p(exp(-abs(x))), linear);
  }
  PYNN_INLINE static Vec<T> derivative(Vec<T> x, Vec<T> t, Vec<T> pos_weight) {
    const Vec<T> positive = pos_weight * t;
    return fma(positive + (T(1) - t), sigmoid<T>(x), -positive);
  }
};

template <class T>
struct Operands {
  const T *x, *target, *weight, *pos_weight;

  template <class P>
  PYNN_INLINE explicit Operands(const P& p)
      : x(static_cast<const T*>(p.x)),
        target(static_cast<const T*>(p.target)),
        weight(static_cast<const T*>(p.weight)),
        pos_weight(static_cast<const T*>(p.pos_weight)) {}
};

template <class T>
PYNN_INLINE Vec<T> load_or_one(const T* p, int64_t i, int n) {
  return p ? load_some(p + i, n) : broadcast(T(1));
}

// f = loss or derivative, of n elements from i on, times their weights.
template <ElementLoss kind, class T, class F>
PYNN_INLINE Vec<T> weighted(const Operands<T>& o, int64_t i, int n, const F& f) {
  const Vec<T> x = load_some(o.x + i, n), t = load_some(o.target + i, n);
  if constexpr (kind == ElementLoss::binary || kind == ElementLoss::binary_with_logits) {
    const Vec<T> y = f(x, t, load_or_one(o.pos_weight, i, n));
    return o.weight ? y * load_some(o.weight + i, n) : y;
  }
  return f(x, t, Vec<T>{});
}
template <ElementLoss kind, class T>
PYNN_INLINE Vec<T> loss_at(const Operands<T>& o, int64_t i, int n) {
  return weighted<kind>(o, i, n, Element<kind, T>::loss);
}
template <ElementLoss kind, class T>
PYNN_INLINE Vec<T> derivative_at(const Operands<T>& o, int64_t i, int n) {
  return weighted<kind>(o, i, n, Element<kind, T>::derivative);
}

// n terms of the sum as lanes; the others, which are no elements, are zero.
template <ElementLoss kind, class T>
PYNN_INLINE Lanes<T> loss_terms(const Operands<T>& o, int64_t i, int n) {
  Lanes<T> y;
  PYNN_UNROLL
  for (int k = 0; k < y.vectors; k++) {
    const int64_t at = i + k * lanes<T>;
    const int here = n - k * lanes<T>;
    if (here >= lanes<T>)
      y.v[k] = loss_at<kind>(o, at, lanes<T>);
    else if (here > 0)
      y.v[k] = lane_numbers<T>() < T(here) ? loss_at<kind>(o, at, here) : Vec<T>{};
    else
      y.v[k] = Vec<T>{};
  }
  return y;
}

// body(i, n): n elements from i on, a whole vector of them but at the end of a range; each range from there backwards,
// since what the forward pass has read last is still in the cache (a loss of 1 MB: 1.4 times as fast on one thread).
template <class T, class Body>
PYNN_INLINE void parallel_vectors(int64_t n, double ns_per_item, const Body& body) {
  constexpr int64_t L = lanes<T>;
  parallel_ranges(n, 1024, ns_per_item, [=](int64_t begin, int64_t end) {
    int64_t i = begin + (end - begin) / L * L;
    if (i < end) body(i, int(end - i));
    for (i -= L; i >= begin; i -= L) body(i, int(L));
  });
}

template <ElementLoss kind, class T>
Status forward_as(const ElementLossForward& p) {
  const Operands<T> o(p);
  T* loss = static_cast<T*>(p.loss);
  constexpr double cost = Element<kind, T>::cost;
  if (!p.reduce) {
    parallel_vectors<T>(p.n, cost,
                        [=](int64_t i, int n) PYNN_LAMBDA { store_some(loss + i, loss_at<kind>(o, i, n), n); });
    return Status::ok;
  }
  T sum = T(0);
  const Status status = parallel_sum<T>(
      p.n, cost, [=](int64_t i, int n) PYNN_LAMBDA { return loss_terms<kind>(o, i, n); }, &sum);
  *loss = sum / T(p.divisor);
  return status;
}

template <ElementLoss kind, class T>
Status backward_as(const ElementLossBackward& p) {
  const Operands<T> o(p);
  const T* grad = static_cast<const T*>(p.grad);
  T* dx = static_cast<T*>(p.dx);
  constexpr double cost = Element<kind, T>::cost;
  if (p.reduce) {
    const Vec<T> g = broadcast(*grad / T(p.divisor));
    parallel_vectors<T>(p.n, cost,
                        [=](int64_t i, int n) PYNN_LAMBDA { store_some(dx + i, g * derivative_at<kind>(o, i, n), n); });
  } else {
    parallel_vectors<T>(p.n, cost, [=](int64_t i, int n) PYNN_LAMBDA {
      store_some(dx + i, load_some(grad + i, n) * derivative_at<kind>(o, i, n), n);
    });
  }
  return Status::ok;
}

template <class T>
Status forward_typed(const ElementLossForward& p) {
  switch (p.kind) {
    case ElementLoss::squared: return forward_as<ElementLoss::squared, T>(p);
    case ElementLoss::absolute: return forward_as<ElementLoss::absolute, T>(p);
    case ElementLoss::half_squared: return forward_as<ElementLoss::half_squared, T>(p);
    case ElementLoss::binary: return forward_as<ElementLoss::binary, T>(p);
    case ElementLoss::binary_with_logits: return forward_as<ElementLoss::binary_with_logits, T>(p);
  }
  __builtin_unreachable();
}

template <class T>
Status backward_typed(const ElementLossBackward& p) {
  switch (p.kind) {
    case ElementLoss::squared: return backward_as<ElementLoss::squared, T>(p);
    case ElementLoss::absolute: return backward_as<ElementLoss::absolute, T>(p);
    case ElementLoss::half_squared: return backward_as<ElementLoss::half_squared, T>(p);
    case ElementLoss::binary: return backward_as<ElementLoss::binary, T>(p);
    case ElementLoss::binary_with_logits: return backward_as<ElementLoss::binary_with_logits, T>(p);
  }
  __builtin_unreachable();
}

Status element_forward(const ElementLossForward& p) {
  return p.dtype == DType::float64 ? forward_typed<double>(p) : forward_typed<float>(p);
}
Status element_backward(const ElementLossBackward& p) {
  return p.dtype == DType::float64 ? backward_typed<double>(p) : backward_typed<float>(p);
}

}  // namespace

extern const LossKernels loss_kernels;
const LossKernels loss_kernels = {cross_entropy_forward, cross_entropy_backward, nll_forward,
                                  nll_backward,          element_forward,        element_backward};

}  // namespace pynn::PYNN_ISA
