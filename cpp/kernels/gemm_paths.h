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

  const T* a_at(int64_t i, int64_t p) const { return a + (transpose_a ? p * lda + i : i * lda + p); }
  // For a tile whose first column is j and whose terms end before p: the bias comes after the last one.
  const T* bias_at(int64_t j, int64_t p) const { return bias && p == k ? bias + j : nullptr; }
  const T* b_at(int64_t p, int64_t j) const { return b + (transpose_b ? j * ldb + p : p * ldb + j); }
};

// The fastest of the ways below.
template <class T>
Status multiply(const Product<T>& x);

// At most four rows: a pass over B with no packing, vectors over the columns.
constexpr int kVectorPathRows = 4;
template <class T>
Status multiply_vector(const Product<T>& x);
// Columns [begin, end) of such a product, on this thread.
template <class T>
void multiply_columns(const Product<T>& x, int64_t begin, int64_t end);

// A where it lies, in row tiles; B where it lies or, with `pack_b`, packed. For a small A or few columns.
template <class T>
Status multiply_direct(const Product<T>& x, bool pack_b);

// Both packed, K in blocks.
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

// body(first row, end of rows, first column, end of columns) over pieces of a grid, about four a thread: rows are cut
// first, since a cut of the columns makes A be read again.
template <class Body>
PYNN_INLINE void parallel_grid(int64_t rows, int64_t columns, int threads, double cost_ns, const Body& body) {
  if (threads == 1) return body(int64_t(0), rows, int64_t(0), columns);
  const int64_t wanted = 8 * int64_t(threads);
  const int64_t row_step = ceil_div(rows, wanted), row_pieces = ceil_div(rows, row_step);
  const int64_t column_step = ceil_div(columns, ceil_div(wanted, row_pieces));
  const int64_t column_pieces = ceil_div(columns, column_step);
  parallel_tasks(row_pieces * column_pieces, cost_ns, [&](int64_t task) {
    const int64_t row = task / column_pieces * row_step, column = task % column_pieces * column_step;
    body(row, min_of(rows, row + row_step), column, min_of(columns, column + column_step));
  });
}

// Scratch memory with a vector of slack, or null.
template <class T>
T* scratch_of(Scratch purpose, int64_t elements) {
  return static_cast<T*>(scratch(purpose, size_t(elements + lanes<T>) * sizeof(T)));
}

// The size of each of the fewest equal pieces of at most `largest`: 128 rows in tiles of 14 make 10 tiles of 13.
PYNN_INLINE int64_t balanced(int64_t n, int64_t largest) { return ceil_div(n, ceil_div(n, largest)); }

// The K blocks, 512 terms at most: a panel of B (64 KB in float32) then streams from L2 and a row tile of A stays in
// L1.
PYNN_INLINE int64_t k_block(int64_t k) { return k ? balanced(k, 512) : 1; }

}  // namespace pynn::PYNN_ISA
