// Weaves rows into one: a, b, c become a[0], b[0], c[0], a[1], b[1], c[1], ...; and takes them apart again.
#pragma once
#include "simd/transpose.h"

namespace pynn::PYNN_ISA {

// Where lane e of result v comes from when row `next` joins the rows before it; n and above are lanes of `next`.
template <bool Apart, int Rows, int v, int next>
constexpr int woven_lane(int n, int e) {
  const int i = Apart ? e * Rows + v : v * n + e;
  const int row = Apart ? i / n : i % Rows, at = Apart ? i % n : i / Rows;
  return row == next ? n + at : (next == 1 ? at : e);
}

#define PYNN_WOVEN(e) woven_lane<Apart, Rows, v, next>(n, e)
#define PYNN_WOVEN_2(e) PYNN_WOVEN(e), PYNN_WOVEN(e + 1)
#define PYNN_WOVEN_4(e) PYNN_WOVEN_2(e), PYNN_WOVEN_2(e + 2)
#define PYNN_WOVEN_8(e) PYNN_WOVEN_4(e), PYNN_WOVEN_4(e + 4)
template <bool Apart, int Rows, int v, int next, class V>
PYNN_INLINE V woven(const V (&rows)[Rows], V before) {
  constexpr int n = sizeof(V) / sizeof(before[0]);
  if constexpr (next == Rows) {
    return before;
  } else {
    V joined;
    if constexpr (n == 2) joined = __builtin_shufflevector(before, rows[next], PYNN_WOVEN_2(0));
    if constexpr (n == 4) joined = __builtin_shufflevector(before, rows[next], PYNN_WOVEN_4(0));
    if constexpr (n == 8) joined = __builtin_shufflevector(before, rows[next], PYNN_WOVEN_8(0));
    if constexpr (n == 16) joined = __builtin_shufflevector(before, rows[next], PYNN_WOVEN_8(0), PYNN_WOVEN_8(8));
    return woven<Apart, Rows, v, next + 1>(rows, joined);
  }
}
#undef PYNN_WOVEN_8
#undef PYNN_WOVEN_4
#undef PYNN_WOVEN_2
#undef PYNN_WOVEN

template <bool Apart, int Rows, int v = 0, class V>
PYNN_INLINE void weave_all(const V (&rows)[Rows], V (&out)[Rows]) {
  if constexpr (v < Rows) {
    out[v] = woven<Apart, Rows, v, 1>(rows, rows[0]);
    weave_all<Apart, Rows, v + 1>(rows, out);
  }
}

// Lane e of out[v] is element i / Rows of row i % Rows, i = v * lanes + e.
template <class T, int Rows>
PYNN_INLINE void weave(const Vec<T> (&rows)[Rows], Vec<T> (&out)[Rows]) {
  if constexpr (sizeof(T) == 4 && Rows % 2 == 0) {
    // Pairs of rows first: 18 shuffles for six rows instead of 30.
    constexpr int kHalf = Rows / 2;
    Vec<double> lower[kHalf], upper[kHalf], first[kHalf], second[kHalf];
    PYNN_UNROLL
    for (int i = 0; i < kHalf; i++) {
      lower[i] = (Vec<double>)zip_lower(rows[2 * i], rows[2 * i + 1]);
      upper[i] = (Vec<double>)zip_upper(rows[2 * i], rows[2 * i + 1]);
    }
    weave_all<false>(lower, first);
    weave_all<false>(upper, second);
    PYNN_UNROLL
    for (int i = 0; i < kHalf; i++) {
      out[i] = (Vec<T>)first[i];
      out[kHalf + i] = (Vec<T>)second[i];
    }
  } else {
    weave_all<false>(rows, out);
  }
}

// The other way: lane e of rows[q] is element e * Rows + q of the vectors `woven`.
template <class T, int Rows>
PYNN_INLINE void unweave(const Vec<T> (&woven)[Rows], Vec<T> (&rows)[Rows]) {
  if constexpr (sizeof(T) == 4 && Rows % 2 == 0) {
    constexpr int kHalf = Rows / 2;
    Vec<double> first[kHalf], second[kHalf], lower[kHalf], upper[kHalf];
    PYNN_UNROLL
    for (int i = 0; i < kHalf; i++) {
      first[i] = (Vec<double>)woven[i];
      second[i] = (Vec<double>)woven[kHalf + i];
    }
    weave_all<true>(first, lower);
    weave_all<true>(second, upper);
    PYNN_UNROLL
    for (int i = 0; i < kHalf; i++) {
      const Vec<T> halves[2] = {(Vec<T>)lower[i], (Vec<T>)upper[i]};
      Vec<T> pair[2];
      weave_all<true>(halves, pair);
      rows[2 * i] = pair[0];
      rows[2 * i + 1] = pair[1];
    }
  } else {
    weave_all<true>(woven, rows);
  }
}

}  // namespace pynn::PYNN_ISA
