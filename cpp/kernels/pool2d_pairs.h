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

// For the pixels whose channels fill a vector of the output, and two vectors of the input.
template <class T>
struct Pairs {
  int64_t pixels;
  VecInt<T> element[2];  // of both lanes' windows: where their left and right elements lie in the two vectors
  VecInt<T> window[2];   // of the lanes of both vectors: which lane of the output is their window
  VecInt<T> column[2];   // and which of its columns they are

  PYNN_INLINE explicit Pairs(int64_t c) : pixels(lanes<T> / c) {
    using Int = typename IntOf<T>::type;
    constexpr int L = lanes<T>;
    alignas(kVectorBytes) Int elements[2][L] = {}, windows[2 * L], columns[2 * L];
    Int pixel = 0, channel = 0;  // of the input
    for (int i = 0; i < 2 * L; i++) {
      const Int lane = Int(pixel / 2 * c) + channel;
      if (pixel / 2 < pixels) elements[pixel % 2][lane] = i;
      windows[i] = lane & (L - 1);  // what lies behind the last pixel is written over
      columns[i] = pixel % 2;
      if (++channel == c) channel = 0, pixel++;
    }
    PYNN_UNROLL
    for (int k = 0; k < 2; k++) {
      element[k] = load(elements[k]);
      window[k] = load(windows + k * L);
      column[k] = load(columns + k * L);
    }
  }
};

// n elements of an output row from `at` on, which belong to the first `first` and `second` elements of two vectors of
// the input that begin at 2 * at. All three are lanes but at the end, and 0 behind it.
struct PairSpan {
  int64_t at;
  int n, first, second;
};
template <class T>
PYNN_INLINE PairSpan pair_span(const PoolShape& s, int64_t at) {
  constexpr int64_t L = lanes<T>;
  const int64_t left = max_of(0, s.columns.out * s.c - at);
  return left >= L ? PairSpan{at, int(L), int(L), int(L)}
                   : PairSpan{at, int(left), int(min_of(2 * left, L)), int(max_of(2 * left - L, 0))};
}

// body(span, next) for the vectors of an output row.
template <class T, class Body>
PYNN_INLINE void for_pairs(const PoolShape& s, const Pairs<T>& pairs, const Body& body) {
  const int64_t step = pairs.pixels * s.c;
  for (PairSpan span = pair_span<T>(s, 0); span.n > 0;) {
    const PairSpan next = pair_span<T>(s, span.at + step);
    body(span, next);
    span = next;
  }
}

}  // namespace pynn::PYNN_ISA
