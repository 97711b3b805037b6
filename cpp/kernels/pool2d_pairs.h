// Windows two columns wide and two apart, of few channels: a vector holds several pixels, which permutations of its
// lanes bring to and from their windows.
#pragma once
#include "kernels/pool2d_window.h"
#include "simd/permute.h"

namespace pynn::PYNN_ISA {

template <class T>
PYNN_INLINE bool has_pairs(const PoolShape& s) {
  const PoolAxis& columns = s.columns;
  return kPermutes<T> && 2 * s.c <= lanes<T> && columns.kernel == 2 && is_tiled(columns);
}

// Where the elements of windows lie: in two vectors of the input, for the pixels whose channels fill one of the output.
template <class T>
struct Pairs {
  int64_t step;          // elements of these pixels
  VecInt<T> element[2];  // of both lanes' windows: their left and right elements

  PYNN_INLINE explicit Pairs(int64_t c) : step(lanes<T> / c * c) {
    using Int = typename IntOf<T>::type;
    alignas(kVectorBytes) Int left[lanes<T>] = {};
    Int place = 0, channel = 0;
    for (int64_t i = 0; i < step; i++) {
      left[i] = place++;
      if (++channel == c) channel = 0, place += Int(c);
    }
    element[0] = load(left);
    element[1] = element[0] + broadcast(Int(c));
  }
};

// n elements of an output row from `at` on, which belong to the first `first` and `second` elements of two vectors of
// the input that begin at 2 * at.
struct PairSpan {
  int64_t at;
  int n, first, second;
};

// body(span) for the vectors of an output row. All three are lanes, as constants, but near the end.
template <class T, class Body>
PYNN_INLINE void for_pairs(const PoolShape& s, const Pairs<T>& pairs, const Body& body) {
  constexpr int L = lanes<T>;
  const int64_t size = s.columns.out * s.c;
  int64_t at = 0;
  for (; at + L <= size; at += pairs.step) body(PairSpan{at, L, L, L});
  for (; at < size; at += pairs.step) {
    const int64_t left = size - at;
    body(PairSpan{at, int(left), int(min_of(2 * left, L)), int(max_of(2 * left - L, 0))});
  }
}

// The way back: of the vectors of a row of the input, where the windows of their lanes lie. After `count` vectors,
// whole pairs of pixels, all is the same again, `period` elements of the output further.
template <class T>
struct Spread {
  static constexpr int kMost = lanes<T>;
  int64_t count = 0, period;
  int64_t from[kMost];      // the output's elements that a vector needs are the lanes from here on
  VecInt<T> window[kMost];  // which of them
  VecInt<T> column[kMost];  // and which column of its window a lane is

  PYNN_INLINE explicit Spread(int64_t c) {
    using Int = typename IntOf<T>::type;
    constexpr int L = lanes<T>;
    Int place = 0, channel = 0, right = 0;  // of a lane: where its window lies, and whether it is the right element
    do {
      alignas(kVectorBytes) Int windows[L], columns[L];
      from[count] = place;
      for (int i = 0; i < L; i++) {
        windows[i] = place + channel - Int(from[count]);
        columns[i] = right;
        if (++channel < c) continue;
        channel = 0;
        if (right) place += Int(c);
        right = 1 - right;
      }
      window[count] = load(windows);
      column[count++] = load(columns);
    } while (channel || right);
    period = place;
  }
};

}  // namespace pynn::PYNN_ISA
