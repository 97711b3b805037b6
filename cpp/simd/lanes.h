// Reductions with the same bits on every machine: 16 partial results whatever the width of a vector, over blocks of
// at most 512 terms, whose sums meet in a pairwise tree. The shape of everything depends on the number of terms only.
#pragma once
#include "simd/vec.h"

namespace pynn::PYNN_ISA {

constexpr int kLanes = 16;
constexpr int64_t kBlockTerms = 512;  // longest chain 32 additions; one long chain of 10^7 x 0.1f is off by 0.6 %

template <class T>
struct Lanes {
  static constexpr int vectors = kLanes / lanes<T>;
  Vec<T> v[vectors];
};

template <class T>
PYNN_INLINE Lanes<T> broadcast_lanes(T x) {
  Lanes<T> y;
  PYNN_UNROLL
  for (int k = 0; k < y.vectors; k++) y.v[k] = broadcast(x);
  return y;
}

// y[i] = f(x[i]...), vector by vector
template <class T, class F, class... X>
PYNN_INLINE Lanes<T> map_lanes(const F& f, const Lanes<T>& x, const X&... more) {
  Lanes<T> y;
  PYNN_UNROLL
  for (int k = 0; k < y.vectors; k++) y.v[k] = f(x.v[k], more.v[k]...);
  return y;
}

// 0, 1, 2, ...
template <class T>
PYNN_INLINE Vec<T> lane_numbers() {
  Vec<T> v{};
  PYNN_UNROLL
  for (int i = 0; i < lanes<T>; i++) v[i] = T(i);
  return v;
}

// p[0 .. n-1] with 1 <= n <= 16; the other lanes are `other`. A constant n = 16 is plain loads.
template <class T>
PYNN_INLINE Lanes<T> load_lanes(const T* p, int n = kLanes, T other = T(0)) {
  Lanes<T> y;
  PYNN_UNROLL
  for (int k = 0; k < y.vectors; k++) {
    const int here = n - k * lanes<T>;
    if (here >= lanes<T>) {
      y.v[k] = load(p + k * lanes<T>);
    } else if (here <= 0) {
      y.v[k] = broadcast(other);
    } else {
      y.v[k] = load(p + k * lanes<T>, here);
      if (other != T(0)) y.v[k] = lane_numbers<T>() < T(here) ? y.v[k] : broadcast(other);
    }
  }
  return y;
}

// The first n, 1 <= n <= 16.
template <class T>
PYNN_INLINE void store_lanes(T* p, const Lanes<T>& x, int n = kLanes) {
  PYNN_UNROLL
  for (int k = 0; k < x.vectors; k++) {
    const int here = n - k * lanes<T>;
    if (here >= lanes<T>)
      store(p + k * lanes<T>, x.v[k]);
    else if (here > 0)
      store(p + k * lanes<T>, x.v[k], here);
  }
}

// Zero after the first n.
template <class T>
PYNN_INLINE Lanes<T> first_lanes(Lanes<T> x, int n) {
  PYNN_UNROLL
  for (int k = 0; k < x.vectors; k++) {
    const int here = n - k * lanes<T>;
    if (here < lanes<T>) x.v[k] = lane_numbers<T>() < T(here) ? x.v[k] : Vec<T>{};
  }
  return x;
}

template <class T>
PYNN_INLINE Lanes<T> operator+(const Lanes<T>& a, const Lanes<T>& b) {
  return map_lanes([](Vec<T> x, Vec<T> y) PYNN_LAMBDA { return x + y; }, a, b);
}

// Where either is NaN, NaN. For scalars and vectors.
struct MaxOrNan {
  template <class V>
  PYNN_INLINE V operator()(V a, V b) const {
    return ((a > b) | (a != a)) ? a : b;
  }
};
struct MinOrNan {
  template <class V>
  PYNN_INLINE V operator()(V a, V b) const {
    return ((a < b) | (a != a)) ? a : b;
  }
};
struct Plus {
  template <class V>
  PYNN_INLINE V operator()(V a, V b) const {
    return a + b;
  }
};

template <class T, int n>
struct NarrowType {
  typedef T type __attribute__((vector_size(n * sizeof(T))));
};
template <class T, int n>
using Narrow = typename NarrowType<T, n>::type;

// f over the first half of v and the second: lane i meets lane i + n/2, down to one.
template <class T, int n, class F>
PYNN_INLINE T fold_vector(Narrow<T, n> v, const F& f) {
  if constexpr (n == 2) {
    return f(T(v[0]), T(v[1]));
  } else {
    Narrow<T, n / 2> low, high;
    if constexpr (n == 16) {
      low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
      high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    } else if constexpr (n == 8) {
      low = __builtin_shufflevector(v, v, 0, 1, 2, 3);
      high = __builtin_shufflevector(v, v, 4, 5, 6, 7);
    } else {
      low = __builtin_shufflevector(v, v, 0, 1);
      high = __builtin_shufflevector(v, v, 2, 3);
    }
    return fold_vector<T, n / 2>(f(low, high), f);
  }
}

// The 16 lanes as one: 16 -> 8 -> 4 -> 2 -> 1, lane i with lane i + 8, then i + 4, ...
template <class T, class F>
PYNN_INLINE T fold(Lanes<T> x, const F& f) {
  PYNN_UNROLL
  for (int half = x.vectors / 2; half; half /= 2) {
    PYNN_UNROLL
    for (int k = 0; k < half; k++) x.v[k] = f(x.v[k], x.v[k + half]);
  }
  return fold_vector<T, lanes<T>>(x.v[0], f);
}
template <class T>
PYNN_INLINE T fold_sum(const Lanes<T>& x) {
  return fold(x, Plus{});
}
template <class T>
PYNN_INLINE T fold_max(const Lanes<T>& x) {
  return fold(x, MaxOrNan{});
}

// Sums a stream of partial sums as a pairwise tree: level[k] holds the sum of 2^k of them where bit k of the count is
// set. Aligned runs of 2^k partial sums may be summed elsewhere and added as one: the bits are the same.
template <class T>
struct PairwiseSum {
  T level[48];
  uint64_t count = 0;

  PYNN_INLINE void add(T partial) {
    int k = 0;
    for (uint64_t carry = count++; carry & 1; carry >>= 1) partial = level[k++] + partial;
    level[k] = partial;
  }
  PYNN_INLINE T total() const {
    T sum{};
    bool first = true;
    for (int k = 0; count >> k; k++)
      if (count >> k & 1) {
        sum = first ? level[k] : level[k] + sum;
        first = false;
      }
    return sum;
  }
};

// The sum over [begin, end), at most one block, in 16 lanes. term(i, n) gives the terms i .. i+n-1 as Lanes<T>, the
// others zero; n is 16 but at the end. Compiled once, since terms are long: a softmax's is an exponential a vector.
template <class T, class Term>
[[gnu::noinline]] T sum_block(int64_t begin, int64_t end, const Term& term) {
  Lanes<T> sum = broadcast_lanes(T(0));
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) sum = sum + term(i, kLanes);
  if (i < end) sum = sum + term(i, int(end - i));
  return fold_sum(sum);
}

// The same over any range; some blocks at a time, so that four to eight chains of additions are in flight.
template <class T, class Term>
PYNN_INLINE T sum_range(int64_t begin, int64_t end, const Term& term) {
  if (end - begin <= kBlockTerms) return sum_block<T>(begin, end, term);
  constexpr int kChains = Lanes<T>::vectors < 8 ? Lanes<T>::vectors < 4 ? 4 : 2 : 1;
  PairwiseSum<T> tree;
  int64_t i = begin;
  for (; kChains > 1 && i + kChains * kBlockTerms <= end; i += kChains * kBlockTerms) {
    Lanes<T> sum[kChains];
    PYNN_UNROLL
    for (int c = 0; c < kChains; c++) sum[c] = broadcast_lanes(T(0));
    for (int64_t j = i; j < i + kBlockTerms; j += kLanes) {
      PYNN_UNROLL
      for (int c = 0; c < kChains; c++) sum[c] = sum[c] + term(j + c * kBlockTerms, kLanes);
    }
    PYNN_UNROLL
    for (int c = 0; c < kChains; c++) tree.add(fold_sum(sum[c]));
  }
  for (; i < end; i += kBlockTerms) tree.add(sum_block<T>(i, i + kBlockTerms < end ? i + kBlockTerms : end, term));
  return tree.total();
}

}  // namespace pynn::PYNN_ISA
