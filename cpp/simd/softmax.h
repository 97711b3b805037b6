// Softmax of one row, shared by the softmax and the cross-entropy kernels. The bits depend on the row only.
#pragma once
#include "simd/lanes.h"
#include "simd/math.h"
#include "simd/parallel.h"

namespace pynn::PYNN_ISA {

// A NaN may get lost here: the sum of the exponentials then still is NaN, and with it all that is divided by it.
struct Max {
  template <class V>
  PYNN_INLINE V operator()(V a, V b) const {
    return a > b ? a : b;
  }
};

// A row of at most 16 classes stays in registers.
template <class T>
struct ShortRow {
  T max, sum;
  Lanes<T> shifted, exponential;  // x - max, exp(x - max); 0 after the last class

  PYNN_INLINE ShortRow(const T* x, int classes) {
    const Lanes<T> row = load_lanes(x, classes, T(-__builtin_inf()));
    max = fold(row, Max{});
    const Vec<T> m = broadcast(max);
    shifted = map_lanes([=](Vec<T> v) PYNN_LAMBDA { return v - m; }, row);
    exponential = map_lanes([](Vec<T> v) PYNN_LAMBDA { return exp(v); }, shifted);
    sum = fold_sum(exponential);
  }
  PYNN_INLINE Lanes<T> softmax() const {
    const Vec<T> scale = broadcast(T(1) / sum);
    return map_lanes([=](Vec<T> v) PYNN_LAMBDA { return v * scale; }, exponential);
  }
};

// Four chains: one would wait for the latency of each maximum.
template <class T>
PYNN_INLINE T row_max(const T* x, int64_t classes) {
  constexpr int kChains = 4;
  const T lowest = T(-__builtin_inf());
  Lanes<T> max[kChains];
  for (int c = 0; c < kChains; c++) max[c] = broadcast_lanes(lowest);
  auto meet = [](const Lanes<T>& a, const Lanes<T>& b) PYNN_LAMBDA { return map_lanes(Max{}, a, b); };
  int64_t i = 0;
  for (; i + kChains * kLanes <= classes; i += kChains * kLanes) {
    PYNN_UNROLL
    for (int c = 0; c < kChains; c++) max[c] = meet(max[c], load_lanes(x + i + c * kLanes));
  }
  for (; i + kLanes <= classes; i += kLanes) max[0] = meet(max[0], load_lanes(x + i));
  if (i < classes) max[1] = meet(max[1], load_lanes(x + i, int(classes - i), lowest));
  return fold(meet(meet(max[0], max[1]), meet(max[2], max[3])), Max{});
}

// The sum of exp(x - max); the terms go to y unless it is null.
template <class T>
PYNN_INLINE T row_exponentials(const T* x, int64_t classes, T max, T* y) {
  const Vec<T> m = broadcast(max);
  return sum_range<T>(0, classes, [=](int64_t i, int n) PYNN_LAMBDA {
    const Lanes<T> e =
        map_lanes([=](Vec<T> v) PYNN_LAMBDA { return exp(v - m); }, load_lanes(x + i, n, T(-__builtin_inf())));
    if (y) store_lanes(y + i, e, n);
    return e;
  });
}

template <class T>
struct Normalizer {
  T max, sum;  // softmax(x) = exp(x - max) / sum
};

// Writes softmax(x) to y unless that is null.
template <class T>
PYNN_INLINE Normalizer<T> softmax_row(const T* x, int64_t classes, T* y) {
  if (classes <= kLanes) {
    const ShortRow<T> row(x, int(classes));
    if (y) store_lanes(y, row.softmax(), int(classes));
    return {row.max, row.sum};
  }
  const T max = row_max(x, classes);
  const T sum = row_exponentials(x, classes, max, y);
  if (y) {
    const Vec<T> scale = broadcast(T(1) / sum);
    map_range<T>(
        0, classes, [=](Vec<T> v) PYNN_LAMBDA { return v * scale; }, y, y);
  }
  return {max, sum};
}

}  // namespace pynn::PYNN_ISA
