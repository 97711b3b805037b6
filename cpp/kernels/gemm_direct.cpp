// gemm with A where it lies: no packing of A, and of B only where it is transposed, ragged or large.
#include "kernels/gemm_pack.h"
#include "kernels/gemm_paths.h"
#include "simd/stream.h"
#include "simd/transpose.h"

namespace pynn::PYNN_ISA {
namespace {

// The terms of a K block: all of them, since A and B come as fast from L2 (blocks of 512: 2 % slower at 128 x 30 x 784,
// 4 % at 4096 x 64 x 576). But a transposed A is read down its columns: a block stays within 64 pages, fewer than the
// TLB has entries (98 pages at 784 x 30 x 128 took 15 % longer).
template <class T>
int64_t direct_k_block(const Product<T>& x) {
  constexpr int64_t kPages = 64, kPage = 4096 / int64_t(sizeof(T));
  if (!x.transpose_a || x.k == 0) return max_of(1, x.k);
  const int64_t step = max_of(int64_t(1), x.lda < 0 ? -x.lda : x.lda);
  return balanced(x.k, max_of(kPages, min_of(int64_t(512), kPages * kPage / step)));
}

// Rows of A that lie a multiple of 4 KB apart share one set of L1: eight leave room there for B (128 x 32 x 1024 1.7
// times as fast as packed, 1024 x 10 x 1024 1.5 times).
template <class T>
int64_t tile_rows(const Product<T>& x) {
  const bool share_a_set = !x.transpose_a && x.lda * int64_t(sizeof(T)) % 4096 == 0;
  return balanced(x.m, share_a_set ? min_of(8, kTileRows<T>) : kTileRows<T>);
}

// `packed` has room for B in panels, or is null. Where it is not `filled`, the first row of tiles fills it.
template <class T>
void multiply_whole_rows(const Product<T>& x, T* packed, bool filled) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const auto& kernels = x.transpose_a ? tiles(T{}).by_columns : tiles(T{}).by_rows;
  const int64_t rows_per_tile = tile_rows(x), terms = direct_k_block(x);
  for (int64_t p = 0; p == 0 || p < x.k; p += terms) {
    const int64_t k = min_of(terms, x.k - p);
    for (int64_t i = 0; i < x.m; i += rows_per_tile) {
      const int64_t rows = min_of(rows_per_tile, x.m - i);
      for (int64_t j = 0; j < x.n; j += W) {
        const int64_t columns = min_of(W, x.n - j), vectors = ceil_div(columns, L);
        T *panel = packed ? packed + j * x.k + p * vectors * L : nullptr, *c = x.c + i * x.ldc + j;
        const T *a = x.a_at(i, p), *bias = x.bias_at(j, p + k);
        const Output output = x.output_at(p, k);
        if (packed && !filled && i == 0)
          tiles(T{}).copying[rows][vectors]({k}, a, x.lda, x.b_at(p, j), x.ldb, c, x.ldc, int(columns), output, bias,
                                            panel);
        else
          kernels[rows][vectors]({k}, a, x.lda, packed ? panel : x.b_at(p, j), packed ? vectors * L : x.ldb, c, x.ldc,
                                 int(columns), output, bias);
        if (p + k == x.k) activate_tile(rows, columns, c, x.ldc, x.activation);
      }
    }
  }
}

// The columns behind the last whole vector, where they are computed as rows of the transposed product, whose vectors
// they fill; else 0. A tile has a vector for as few as one (measured: 20 % of the time at 784 x 100 x 200).
template <class T>
int64_t columns_as_rows(const Product<T>& x) {
  const int64_t rest = x.n % lanes<T>;
  return x.n > lanes<T> && x.m >= lanes<T> && rest <= kVectorPathRows ? rest : 0;
}

// The columns from `first` on, at most kVectorPathRows of them.
template <class T>
void multiply_last_columns(const Product<T>& x, int64_t first) {
  constexpr int64_t kRows = 256, L = lanes<T>;
  alignas(kVectorBytes) T sums[kVectorPathRows * kRows];
  const int64_t columns = x.n - first;
  for (int64_t begin = 0; begin < x.m; begin += kRows) {
    const int64_t rows = min_of(kRows, x.m - begin);
    T* c = x.c + begin * x.ldc + first;
    if (x.accumulate)
      for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < rows; i++) sums[j * kRows + i] = c[i * x.ldc + j];
    multiply_columns<T>({columns, rows, x.k, x.b_at(0, first), x.ldb, !x.transpose_b, x.a_at(begin, 0), x.lda,
                         !x.transpose_a, sums, kRows, x.accumulate, nullptr, 0, Activation::none},
                        0, rows);
    const Vec<T> bias = x.bias ? load(x.bias + first, int(columns)) : Vec<T>{};
    for (int64_t i = 0; i < rows; i += L) {
      const int n = int(min_of(L, rows - i));
      Vec<T> block[L];
      load_transposed<T>(block, sums + i, kRows, int(columns), n);
      for (int r = 0; r < n; r++) store(c + (i + r) * x.ldc, x.bias ? block[r] + bias : block[r], int(columns));
    }
    activate_tile(rows, columns, c, x.ldc, x.activation);
  }
}

// Vectors of B that cross cache lines take longer than the multiply-adds of a tile, so the first row of tiles copies B
// to where they do not (128 x 30 x 784 and 200 x 100 x 784: 4 % faster), if it is two thirds of the full height, which
// those that copy are, and enough tiles follow (32 x 1000 x 250: 1.3 times as fast without).
template <class T>
bool copying_pays(const Product<T>& x) {
  const bool aligned = x.ldb % lanes<T> == 0 && reinterpret_cast<size_t>(x.b) % kVectorBytes == 0;
  const bool enough = x.m > (x.n * x.k * int64_t(sizeof(T)) > 256 * 1024 ? kFewRows : 2 * kTileRows<T>);
  return !x.transpose_a && !x.transpose_b && !aligned && enough && 3 * tile_rows(x) >= 2 * kTileRows<T>;
}

}  // namespace

template <class T>
Status multiply_direct(const Product<T>& given, bool pack_b) {
  Product<T> x = given;
  x.n -= columns_as_rows(x);
  T* packed = nullptr;
  const bool copies = !pack_b && copying_pays(x);
  if (pack_b || copies) {
    packed = scratch_of<T>(Scratch::pack_b, ceil_div(x.n, kTileColumns<T>) * kTileColumns<T> * x.k);
    if (!packed) return Status::out_of_memory;
  }
  if (pack_b) pack_panels(packed, x.b, x.ldb, x.transpose_b, x.n, x.k);
  multiply_whole_rows(x, packed, pack_b);
  if (x.streams) end_streams();
  if (given.n > x.n) multiply_last_columns(given, x.n);
  return Status::ok;
}
template Status multiply_direct(const Product<float>&, bool);
template Status multiply_direct(const Product<double>&, bool);

}  // namespace pynn::PYNN_ISA
