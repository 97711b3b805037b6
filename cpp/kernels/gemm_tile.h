// The register tile of gemm: rows x vectors of C as accumulators, one fma() each for every k.
#pragma once
#include "ops/activation.h"
#include "simd/vec.h"

namespace pynn::PYNN_ISA {

// The largest tile. Measured in L1, share of the FMA peak: 14 x 2 vectors of 32 registers 99 %, 6 x 2 of 16 100 %;
// without fma more than 12 accumulators spill. Tiles of float64 are lower: the tiles are much of what the build takes.
#if defined(__AVX512F__)
template <class T>
constexpr int kTileRows = sizeof(T) == 4 ? 14 : 6;
constexpr int kTileVectors = 2;
#elif defined(__AVX2__)
template <class T>
constexpr int kTileRows = sizeof(T) == 4 ? 6 : 4;
constexpr int kTileVectors = 2;
#elif defined(__aarch64__)
template <class T>
constexpr int kTileRows = sizeof(T) == 4 ? 6 : 4;
constexpr int kTileVectors = 4;
#else
template <class T>
constexpr int kTileRows = 3;
constexpr int kTileVectors = 4;
#endif
template <class T>
constexpr int kTileColumns = kTileVectors* lanes<T>;

// Whether a tile may read B where the last vector of a row is ragged: only where a masked load costs no more than a
// full one. Elsewhere such a B is packed.
constexpr bool kReadsRaggedRows = kVectorBytes == 64;

// A number that the compiler knows.
template <int N>
struct Count {
  static constexpr int value = N;
};

// The terms of a tile: `count` runs of `length` of them, A and B going on `a_next` and `b_next` elements beyond the end
// of the run before. A product has one run, a convolution one for each row of its kernel.
struct Runs {
  int64_t length, count = 1, a_next = 0, b_next = 0;
};

// What becomes of C: the sums, these added to it, or the sums stored around the caches, C being whole cache lines.
enum class Output { store, add, stream };
PYNN_INLINE Output output_of(bool adds) { return adds ? Output::add : Output::store; }

// C[i][j] = sum over p of A[i][p] B[p][j] for `columns` columns of C, the last vector having 1 to lanes of them.
//   by rows:    A[i][p] = a[i * a_step + p], as in a row-major matrix
//   by columns: A[i][p] = a[p * a_step + i], as in a packed block or a transposed matrix
//   B[p][j] = b[p * b_step + j]
// To add, the chains start from C, else from zero; bias[j], unless bias is null, comes last.
template <class T>
using Tile = void (*)(const Runs& terms, const T* a, int64_t a_step, const T* b, int64_t b_step, T* c, int64_t ldc,
                      int columns, Output output, const T* bias);

// Rows of kTileColumns elements, `step` apart, that a tile fetches while it computes, one every `terms_per_row` terms:
// copied to the run at `to`, the loads waiting for no memory since they are prefetched some rows ahead, or with a null
// `to` only brought into L2.
template <class T>
struct RowFetch {
  const T* from;
  int64_t step, rows, terms_per_row;
  T* to;
};

// A full panel by columns, which fetches meanwhile.
template <class T>
using FetchingTile = void (*)(const Runs& terms, const T* a, int64_t a_step, const T* b, int64_t b_step, T* c,
                              int64_t ldc, int columns, Output output, const T* bias, const RowFetch<T>& fetch);

// A tile by rows that leaves the rows of B behind it as whole vectors, packed at `copy`.
template <class T>
using CopyingTile = void (*)(const Runs& terms, const T* a, int64_t a_step, const T* b, int64_t b_step, T* c,
                             int64_t ldc, int columns, Output output, const T* bias, T* copy);

template <class T>
struct Tiles {
  Tile<T> by_rows[kTileRows<T> + 1][kTileVectors + 1], by_columns[kTileRows<T> + 1][kTileVectors + 1];
  FetchingTile<T> fetching[kTileRows<T> + 1];                  // from a third of kTileRows on, else null
  CopyingTile<T> copying[kTileRows<T> + 1][kTileVectors + 1];  // from two thirds on: see copying_pays
};
extern const Tiles<float> tiles_float;
extern const Tiles<double> tiles_double;
PYNN_INLINE const Tiles<float>& tiles(float) { return tiles_float; }
PYNN_INLINE const Tiles<double>& tiles(double) { return tiles_double; }

// c = f(c) on rows x columns that are still in L1.
template <class T>
void activate_tile(int64_t rows, int64_t columns, T* c, int64_t ldc, Activation activation);

// Rows of C on their way into the cache while the tile before, or the terms of their own, are computed (1024 x 3136 x
// 128: 0.64 of OpenBLAS's speed without, 1.02 with).
template <class T>
PYNN_INLINE void prefetch_tile(const T* c, int64_t rows, int64_t ldc) {
  for (; rows > 0; rows--, c += ldc) {
    __builtin_prefetch(c, 1);
    __builtin_prefetch(c + kTileColumns<T> - 1, 1);
  }
}

}  // namespace pynn::PYNN_ISA
