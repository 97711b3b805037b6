// One product of the batch, and the ways to compute it. All give the same bits, so the choice (gemm.cpp) is free.
#pragma once
#include "kernels/gemm_tile.h"
#include "ops/gemm.h"
#include "runtime/workspace.h"
#include "simd/parallel.h"

namespace pynn::PYNN_ISA {

template <class T>
struct Product {
  int64_t m, n, k;
  const T* a;
  int64_t lda;
  bool transpose_a;
  const T* b;
  int64_t ldb;
  bool transpose_b;
  T* c;
  int64_t ldc;
  bool accumulate;
  const T* bias;      // null or
  int64_t bias_step;  // bias[j * bias_step] for column j; 0 only where m or n is 1
  Activation activation;
  bool streams = false;  // C goes around the caches, if its terms are summed in one go

  const T* a_at(int64_t i, int64_t p) const { return a + (transpose_a ? p * lda + i : i * lda + p); }
  // For a tile whose first column is j and whose terms end before p: the bias comes after the last one.
  const T* bias_at(int64_t j, int64_t p) const { return bias && p == k ? bias + j : nullptr; }
  // For a tile that sums the terms [p, p + terms).
  Output output_at(int64_t p, int64_t terms) const {
    return p > 0 || accumulate ? Output::add : streams && terms == k ? Output::stream : Output::store;
  }
  const T* b_at(int64_t p, int64_t j) const { return b + (transpose_b ? j * ldb + p : p * ldb + j); }
};

// The fastest of the ways below.
template <class T>
Status multiply(Product<T> x);

// At most four rows: a pass over B with no packing, vectors over the columns.
constexpr int kVectorPathRows = 4;
template <class T>
Status multiply_vector(const Product<T>& x);
// Columns [begin, end) of such a product, on this thread.
template <class T>
void multiply_columns(const Product<T>& x, int64_t begin, int64_t end);

// At most so many rows read B too seldom to pay for packing or copying one of some 100 KB.
constexpr int64_t kFewRows = 64;
// On this thread: A where it lies, in row tiles; B where it lies or, with `pack_b`, packed. For a small A or few
// columns.
template <class T>
Status multiply_direct(const Product<T>& x, bool pack_b);

// On this thread: both packed, K in blocks.
template <class T>
Status multiply_packed(const Product<T>& x);

// Nanoseconds of so many multiply-adds on one core: an fma at 1/8 below the AVX-512 peak of a 3 GHz core.
template <class T>
PYNN_INLINE double fma_cost(double count) {
  return count * (0.75 / kVectorBytes) * (double(sizeof(T)) / 4);
}
template <class T>
PYNN_INLINE double multiply_cost(const Product<T>& x) {
  return fma_cost<T>(double(x.m) * double(x.n) * double(x.k));
}

PYNN_INLINE double pack_cost(double elements) { return 0.15 * elements; }  // ns

// Scratch memory with a vector of slack, or null.
template <class T>
T* scratch_of(Scratch purpose, int64_t elements) {
  return static_cast<T*>(scratch(purpose, size_t(elements + lanes<T>) * sizeof(T)));
}

// The size of each of the fewest equal pieces of at most `largest`: 128 rows in tiles of 14 make 10 tiles of 13.
PYNN_INLINE int64_t balanced(int64_t n, int64_t largest) { return ceil_div(n, ceil_div(n, largest)); }

}  // namespace pynn::PYNN_ISA
