// Softmax and log-softmax over rows, forward and backward from the output.
#include "ops/softmax.h"

#include "simd/softmax.h"

namespace pynn::PYNN_ISA {
namespace {

// Nanoseconds on one core at AVX-512: a row of any length, an element of it.
constexpr double kRowCost = 10, kForwardCost = 0.5, kBackwardCost = 0.25;

template <class T>
void log_softmax_row(const T* x, int64_t classes, T* y) {
  if (classes <= kLanes) {
    store_lanes(y, ShortRow<T>(x, int(classes)).log_softmax(), int(classes));
    return;
  }
  const Normalizer<T> n = softmax_row<T>(x, classes, nullptr);
  const Vec<T> max = broadcast(n.max), log_sum = broadcast(n.log_sum);
  map_range<T>(
      0, classes, [=](Vec<T> v) PYNN_LAMBDA { return v - max - log_sum; }, y, x);
}

template <class T>
void softmax_gradient(const T* dy, const T* y, int64_t classes, T* dx) {
  auto product = [](Vec<T> g, Vec<T> v) PYNN_LAMBDA { return g * v; };
  const Vec<T> sum = broadcast(sum_range<T>(0, classes, [=](int64_t i, int n) PYNN_LAMBDA {
    return map_lanes(product, load_lanes(dy + i, n), load_lanes(y + i, n));
  }));
  map_range<T>(
      0, classes, [=](Vec<T> g, Vec<T> v) PYNN_LAMBDA { return v * (g - sum); }, dx, dy, y);
}

template <class T>
void log_softmax_gradient(const T* dy, const T* y, int64_t classes, T* dx) {
  const Vec<T> sum =
      broadcast(sum_range<T>(0, classes, [=](int64_t i, int n) PYNN_LAMBDA { return load_lanes(dy + i, n); }));
  map_range<T>(
      0, classes, [=](Vec<T> g, Vec<T> v) PYNN_LAMBDA { return g - exp(v) * sum; }, dx, dy, y);
}

template <class T>
Status forward_typed(const SoftmaxForward& p) {
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  const int64_t classes = p.classes;
  const bool logarithm = p.kind == SoftmaxKind::log_softmax;
  parallel_ranges(p.rows, 1, kRowCost + kForwardCost * double(classes), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin * classes; i < end * classes; i += classes) {
      if (logarithm)
        log_softmax_row(x + i, classes, y + i);
      else
        softmax_row(x + i, classes, y + i);
    }
  });
  return Status::ok;
}

template <class T>
Status backward_typed(const SoftmaxBackward& p) {
  const T *dy = static_cast<const T*>(p.dy), *y = static_cast<const T*>(p.y);
  T* dx = static_cast<T*>(p.dx);
  const int64_t classes = p.classes;
  const bool logarithm = p.kind == SoftmaxKind::log_softmax;
  parallel_ranges(p.rows, 1, kRowCost + kBackwardCost * double(classes), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin * classes; i < end * classes; i += classes) {
      if (logarithm)
        log_softmax_gradient(dy + i, y + i, classes, dx + i);
      else
        softmax_gradient(dy + i, y + i, classes, dx + i);
    }
  });
  return Status::ok;
}

Status forward(const SoftmaxForward& p) {
  return p.dtype == DType::float64 ? forward_typed<double>(p) : forward_typed<float>(p);
}
Status backward(const SoftmaxBackward& p) {
  return p.dtype == DType::float64 ? backward_typed<double>(p) : backward_typed<float>(p);
}

}  // namespace

extern const SoftmaxKernels softmax_kernels;
const SoftmaxKernels softmax_kernels = {forward, backward};

}  // namespace pynn::PYNN_ISA
