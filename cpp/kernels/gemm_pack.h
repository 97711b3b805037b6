// Packing: a strip of an operand copied so that a tile reads it as one run, `width` elements for every p.
//
//   out[p * width + i] = A[i][p] of a row tile, width = its rows, or B[p][i] of a panel, width = whole vectors
//
// Where width is no multiple of the lanes, a full vector may be stored over the start of what the next p writes, so
// `out` has a vector of slack behind it.
#pragma once
#include "kernels/gemm_tile.h"
#include "simd/parallel.h"
#include "simd/transpose.h"

namespace pynn::PYNN_ISA {

// Stores the lanes that belong to the columns from `at` on.
template <class T>
PYNN_INLINE void store_packed(T* out, Vec<T> v, int64_t width, int64_t at) {
  if (at == 0 || width - at >= lanes<T>)
    store(out + at, v);
  else
    store(out + at, v, int(width - at));
}

// out[p * width + i] = x[p * ldx + i], i < count <= width: a strip whose elements of one p are neighbours.
template <class T>
void pack_copied(T* out, int64_t width, const T* x, int64_t ldx, int64_t count, int64_t k) {
  constexpr int L = lanes<T>;
  for (int64_t p = 0; p < k; p++) {
    for (int64_t i = 0; i < width; i += L)
      store_packed(out + p * width, load(x + p * ldx + i, int(max_of(0, min_of(L, count - i)))), width, i);
  }
}

// out[p * width + i] = x[i * ldx + p], i < count <= width: a strip whose elements of one i are neighbours, transposed
// in registers, a square block at a time. What lies between count and width repeats element count - 1.
template <class T>
void pack_transposed(T* out, int64_t width, const T* x, int64_t ldx, int64_t count, int64_t k) {
  constexpr int L = lanes<T>;
  for (int64_t p = 0; p < k; p += L) {
    const int n = int(min_of(L, k - p));
    for (int64_t i = 0; i < width; i += L) {
      Vec<T> block[L];
      load_transposed<T>(block, x + i * ldx + p, ldx, int(min_of(L, count - i)), n);
      PYNN_UNROLL
      for (int q = 0; q < L; q++)
        if (q < n) store_packed(out + (p + q) * width, block[q], width, i);
    }
  }
}

// A row tile of A: `rows` rows from `a` on.
template <class T>
PYNN_INLINE void pack_tile(T* out, const T* a, int64_t lda, bool transposed, int64_t rows, int64_t k) {
  if (transposed)
    pack_copied(out, rows, a, lda, rows, k);
  else
    pack_transposed(out, rows, a, lda, rows, k);
}

// The panels of `n` columns of B from `b` on, kTileColumns to a panel: panel q begins at out + q * kTileColumns * k.
// The last one is as wide as the vectors it needs.
template <class T>
void pack_panels(T* out, const T* b, int64_t ldb, bool transposed, int64_t n, int64_t k) {
  constexpr int W = kTileColumns<T>, L = lanes<T>;
  int64_t j = 0;
  if (!transposed) {
    // Whole panels eight at a time: reads of 1 KB instead of 128 bytes.
    while (n - j >= W) {
      const int64_t panels = min_of(8, (n - j) / W);
      for (int64_t p = 0; p < k; p++)
        for (int64_t q = 0; q < panels; q++) {
          PYNN_UNROLL
          for (int v = 0; v < W; v += L) store(out + (j + q * W) * k + p * W + v, load(b + p * ldb + j + q * W + v));
        }
      j += panels * W;
    }
  }
  for (; j < n; j += W) {
    const int64_t count = min_of(W, n - j), width = ceil_div(count, L) * L;
    if (transposed)
      pack_transposed(out + j * k, width, b + j * ldb, ldb, count, k);
    else
      pack_copied(out + j * k, width, b + j, ldb, count, k);
  }
}

}  // namespace pynn::PYNN_ISA
