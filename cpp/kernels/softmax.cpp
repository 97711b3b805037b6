// Softmax and log-softmax over rows, forward and backward from the output.
#include "ops/softmax.h"

#include "simd/softmax.h"

namespace pynn::PYNN_ISA {
namespace {

// Nanoseconds on one core at AVX-512: a row of any length, an element of it.
constexpr double kRowCost = 10, kForwardCost = 0.5, kBackwardCost = 0.25;

// Rows that go through each pass together: the latency of one row's maximum, sum and logarithm then hides behind the
// other rows (128 x 100: 9.6 instead of 12 us). They stay in L1.
constexpr int kGroup = kLanes;
template <class T>
PYNN_INLINE int64_t group_rows(int64_t classes) {
  return max_of(int64_t(1), min_of(int64_t(kGroup), 16384 / int64_t(sizeof(T)) / classes));
}

// The maxima and the sums of exp(x - max) of at most kGroup rows; the terms go to y unless it is null.
template <class T>
void normalizers(const T* x, int rows, int64_t classes, T* y, T* max, T* sum) {
  for (int r = 0; r < rows; r++) max[r] = row_max(x + r * classes, classes);
  for (int r = 0; r < rows; r++)
    sum[r] = row_exponentials(x + r * classes, classes, max[r], y ? y + r * classes : nullptr);
}

template <class T>
void softmax_rows(const T* x, int64_t rows, int64_t classes, T* y) {
  if (classes <= kLanes) {
    for (int64_t i = 0; i < rows; i++) softmax_row(x + i * classes, classes, y + i * classes);
    return;
  }
  const int64_t group = group_rows<T>(classes);
  for (; rows > 0; rows -= group, x += group * classes, y += group * classes) {
    T max[kGroup], sum[kGroup];
    const int count = int(min_of(group, rows));
    normalizers(x, count, classes, y, max, sum);
    for (int r = 0; r < count; r++) {
      const Vec<T> scale = broadcast(T(1) / sum[r]);
      T* row = y + r * classes;
      map_range<T>(
          0, classes, [=](Vec<T> v) PYNN_LAMBDA { return v * scale; }, row, row);
    }
  }
}

// At most 16 rows of at most 16 classes: one vector takes the logarithms of their sums. In between, rows wait in
// whole vectors: a masked load of y would stall on the masked store of the row before it.
template <class T>
void short_log_softmax(const T* x, int rows, int64_t classes, T* y) {
  alignas(kVectorBytes) T shifted[kLanes * kLanes], sum[kLanes];
  for (int r = 0; r < rows; r++) {
    const ShortRow<T> row(x + r * classes, int(classes));
    store_lanes(shifted + r * kLanes, row.shifted);
    sum[r] = row.sum;
  }
  store_lanes(sum, map_lanes([](Vec<T> v) PYNN_LAMBDA { return log(v); }, load_lanes(sum, rows)));
  for (int r = 0; r < rows; r++) {
    const Vec<T> log_sum = broadcast(sum[r]);
    auto result = [=](Vec<T> v) PYNN_LAMBDA { return v - log_sum; };
    store_lanes(y + r * classes, map_lanes(result, load_lanes(shifted + r * kLanes)), int(classes));
  }
}

template <class T>
void log_softmax_rows(const T* x, int64_t rows, int64_t classes, T* y) {
  if (classes <= kLanes) {
    for (int64_t i = 0; i < rows; i += kLanes)
      short_log_softmax(x + i * classes, int(min_of(kLanes, rows - i)), classes, y + i * classes);
    return;
  }
  const int64_t group = group_rows<T>(classes);
  for (; rows > 0; rows -= group, x += group * classes, y += group * classes) {
    alignas(kVectorBytes) T max[kGroup], sum[kGroup];
    const int count = int(min_of(group, rows));
    normalizers<T>(x, count, classes, nullptr, max, sum);
    store_lanes(sum, map_lanes([](Vec<T> v) PYNN_LAMBDA { return log(v); }, load_lanes(sum, count)));
    for (int r = 0; r < count; r++) {
      const Vec<T> m = broadcast(max[r]), log_sum = broadcast(sum[r]);
      map_range<T>(
          0, classes, [=](Vec<T> v) PYNN_LAMBDA { return v - m - log_sum; }, y + r * classes, x + r * classes);
    }
  }
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
    const T* from = x + begin * classes;
    T* to = y + begin * classes;
    if (logarithm)
      log_softmax_rows(from, end - begin, classes, to);
    else
      softmax_rows(from, end - begin, classes, to);
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
