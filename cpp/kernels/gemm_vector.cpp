// gemm with at most four rows: bound by the reading of B, which is read once, where it lies.
#include "kernels/gemm_paths.h"
#include "simd/transpose.h"

namespace pynn::PYNN_ISA {
namespace {

// Adds the rows p to p + Terms - 1 of B, each times its elements of A, to columns [begin, end) of C.
template <class T, int Rows, int Terms>
void add_terms(const Product<T>& x, int64_t p, int64_t begin, int64_t end) {
  constexpr int L = lanes<T>;
  Vec<T> factors[Rows][Terms];
  for (int i = 0; i < Rows; i++)
    for (int t = 0; t < Terms; t++) factors[i][t] = broadcast(*x.a_at(i, p + t));
  const T* b = x.b_at(p, 0);
  const auto columns = [&](int64_t j, int n) PYNN_LAMBDA {
    Vec<T> terms[Terms], sums[Rows];
    PYNN_UNROLL
    for (int t = 0; t < Terms; t++) terms[t] = load(b + t * x.ldb + j, n);
    PYNN_UNROLL
    for (int i = 0; i < Rows; i++) sums[i] = load(x.c + i * x.ldc + j, n);
    PYNN_UNROLL
    for (int i = 0; i < Rows; i++) {
      PYNN_UNROLL
      for (int t = 0; t < Terms; t++) sums[i] = fma(factors[i][t], terms[t], sums[i]);
    }
    PYNN_UNROLL
    for (int i = 0; i < Rows; i++) store(x.c + i * x.ldc + j, sums[i], n);
  };
  for (; begin + L <= end; begin += L) columns(begin, L);
  if (begin < end) columns(begin, int(end - begin));
}

// At most two vectors of columns, of B row-major: sums that stay in registers for all terms.
template <class T, int Rows, int Vectors>
void multiply_narrow(const Product<T>& x, int64_t begin, int columns) {
  constexpr int L = lanes<T>;
  const int in_last = columns - (Vectors - 1) * L;
  const auto load_row = [&](Vec<T>(&row)[Vectors], const T* from) PYNN_LAMBDA {
    if constexpr (Vectors == 2) row[0] = load(from);
    row[Vectors - 1] = load(from + (Vectors - 1) * L, in_last);
  };
  Vec<T> sums[Rows][Vectors] = {};
  if (x.accumulate)
    for (int i = 0; i < Rows; i++) load_row(sums[i], x.c + i * x.ldc + begin);
  const T *a = x.a, *b = x.b_at(0, begin);
  const int64_t a_row = x.transpose_a ? 1 : x.lda, a_next = x.transpose_a ? x.lda : 1;
#pragma GCC unroll 4
  for (int64_t p = 0; p < x.k; p++, a += a_next, b += x.ldb) {
    Vec<T> row[Vectors];
    load_row(row, b);
    PYNN_UNROLL
    for (int i = 0; i < Rows; i++) {
      PYNN_UNROLL
      for (int v = 0; v < Vectors; v++) sums[i][v] = fma(broadcast(a[i * a_row]), row[v], sums[i][v]);
    }
  }
  for (int i = 0; i < Rows; i++) {
    if constexpr (Vectors == 2) store(x.c + i * x.ldc + begin, sums[i][0]);
    store(x.c + i * x.ldc + begin + (Vectors - 1) * L, sums[i][Vectors - 1], in_last);
  }
}

// B row-major: whole rows of B, a few at a time, added to columns of C that stay in L1. Long rows read side by side
// stream at the speed of the memory.
template <class T, int Rows>
void multiply_by_rows(const Product<T>& x, int64_t begin, int64_t end) {
  constexpr int L = lanes<T>, kTerms = Rows == 1 ? 8 : 4;
  constexpr int64_t kColumns = 16384 / int64_t(sizeof(T)) / Rows / L * L;
  if (end - begin <= L) return multiply_narrow<T, Rows, 1>(x, begin, int(end - begin));
  if (end - begin <= 2 * L) return multiply_narrow<T, Rows, 2>(x, begin, int(end - begin));
  for (; begin < end; begin += kColumns) {
    const int64_t stop = min_of(end, begin + kColumns);
    if (!x.accumulate)
      for (int i = 0; i < Rows; i++)
        for (int64_t j = begin; j < stop; j += L) store(x.c + i * x.ldc + j, Vec<T>{}, int(min_of(L, stop - j)));
    int64_t p = 0;
    for (; p + kTerms <= x.k; p += kTerms) add_terms<T, Rows, kTerms>(x, p, begin, stop);
    for (; p < x.k; p++) add_terms<T, Rows, 1>(x, p, begin, stop);
  }
}

// B transposed: square blocks of it transposed in registers, so that a lane is a column and each chain keeps its order.
template <class T, int Rows>
void multiply_by_columns(const Product<T>& x, int64_t begin, int64_t end) {
  constexpr int L = lanes<T>;
  for (int64_t j = begin; j < end; j += L) {
    const int columns = int(min_of(L, end - j));
    Vec<T> sums[Rows] = {};
    if (x.accumulate)
      for (int i = 0; i < Rows; i++) sums[i] = load(x.c + i * x.ldc + j, columns);
    const auto add_block = [&](int64_t p, int terms) PYNN_LAMBDA {
      Vec<T> block[L];
      load_transposed<T>(block, x.b_at(p, j), x.ldb, columns, terms);
      PYNN_UNROLL
      for (int t = 0; t < L; t++) {
        if (t == terms) break;
        PYNN_UNROLL
        for (int i = 0; i < Rows; i++) sums[i] = fma(broadcast(*x.a_at(i, p + t)), block[t], sums[i]);
      }
    };
    int64_t p = 0;
    for (; p + L <= x.k; p += L) add_block(p, L);
    if (p < x.k) add_block(p, int(x.k - p));
    for (int i = 0; i < Rows; i++) store(x.c + i * x.ldc + j, sums[i], columns);
  }
}

template <class T, int Rows>
void multiply_rows(const Product<T>& x, int64_t begin, int64_t end) {
  if (x.transpose_b)
    multiply_by_columns<T, Rows>(x, begin, end);
  else
    multiply_by_rows<T, Rows>(x, begin, end);
  if (x.bias) {
    for (int64_t j = begin; j < end; j += lanes<T>) {
      const int n = int(min_of(lanes<T>, end - j));
      const Vec<T> bias = x.bias_step ? load(x.bias + j, n) : broadcast(*x.bias);
      for (int64_t i = 0; i < Rows; i++) store(x.c + i * x.ldc + j, load(x.c + i * x.ldc + j, n) + bias, n);
    }
  }
  activate_tile(Rows, end - begin, x.c + begin, x.ldc, x.activation);
}

}  // namespace

template <class T>
void multiply_columns(const Product<T>& x, int64_t begin, int64_t end) {
  switch (x.m) {
    case 1: return multiply_rows<T, 1>(x, begin, end);
    case 2: return multiply_rows<T, 2>(x, begin, end);
    case 3: return multiply_rows<T, 3>(x, begin, end);
    case 4: return multiply_rows<T, 4>(x, begin, end);
  }
}
template void multiply_columns(const Product<float>&, int64_t, int64_t);
template void multiply_columns(const Product<double>&, int64_t, int64_t);

template <class T>
Status multiply_vector(const Product<T>& x) {
  constexpr int64_t kGrain = 4 * lanes<T>, kRun = 2048 / int64_t(sizeof(T));
  // The reading of B: 64 GB/s from the second cache, 20 from memory.
  const double read_ns = double(sizeof(T)) / 64 * double(x.k);
  const double cost = item_cost(read_ns, x.n, 1.25 * sizeof(T) * double(x.k)) * double(x.n);
  const int threads = plan_threads(cost);
  // Four pieces a thread, but of a row-major B runs of 2 KB where there are enough for all threads: in shorter ones the
  // prefetcher fetches much that another thread wants (measured: 3136 x 1024 at two threads in 3 times the time).
  int64_t piece = ceil_div(x.n, 4 * int64_t(threads));
  if (!x.transpose_b) piece = max_of(piece, min_of(kRun, ceil_div(x.n, int64_t(threads))));
  piece = ceil_div(piece, kGrain) * kGrain;
  parallel_tasks(ceil_div(x.n, piece), cost,
                 [&](int64_t t) { multiply_columns(x, t * piece, min_of(x.n, (t + 1) * piece)); });
  return Status::ok;
}
template Status multiply_vector(const Product<float>&);
template Status multiply_vector(const Product<double>&);

}  // namespace pynn::PYNN_ISA
