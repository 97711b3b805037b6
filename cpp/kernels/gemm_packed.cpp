// gemm with both operands packed: K in blocks, each going on from the C that the one before has left.
#include "kernels/gemm_pack.h"
#include "kernels/gemm_paths.h"
#include "simd/stream.h"

namespace pynn::PYNN_ISA {
namespace {

// Row tiles of A in a packed block beside kept panels of B: with AVX-512 460 KB in float32, a quarter of a 2 MB L2.
constexpr int64_t kBlockTiles = 16;
// Columns of B kept: 4 MB for a K block of 512. With half as many A is packed twice at 2048^3, 4 % slower.
template <class T>
constexpr int64_t kBlockColumns = 8192 / int64_t(sizeof(T));

// The terms [p, p + k) of the chains.
struct Terms {
  int64_t p, k;
};

// The fewest row tiles of `m` rows, sizes one apart at most: tiles of 14 would leave 2 of 1024 rows.
template <class T>
struct RowTiles {
  int64_t m, count = ceil_div(m, kTileRows<T>);
  int64_t begin(int64_t tile) const { return m * tile / count; }
  int64_t rows(int64_t tile) const { return begin(tile + 1) - begin(tile); }
};

// Elements of a packed tile.
template <class T>
int64_t tile_size(const RowTiles<T>& tiles, int64_t k) {
  return ceil_div(tiles.m, tiles.count) * k + lanes<T>;
}

template <class T>
void pack_tiles(T* out, const Product<T>& x, Terms terms, const RowTiles<T>& rows, int64_t first, int64_t last) {
  for (int64_t t = first; t < last; t++, out += tile_size<T>(rows, terms.k))
    pack_tile(out, x.a_at(rows.begin(t), terms.p), x.lda, x.transpose_a, rows.rows(t), terms.k);
}

// The tiles of the fewest rows that come here fetch, and more rows, or pieces of them, are not cut lower.
static_assert(3 * (kVectorPathRows + 1) >= kTileRows<float> && 3 * (kVectorPathRows + 1) >= kTileRows<double>);

// Columns [j, j + columns) of C from the row tiles [first, last) packed at `a` and a panel packed at `b`. Meanwhile the
// tiles of a whole panel fetch the next one, a row of it every so many terms, unless `next` is null.
template <class T>
void multiply_panel(const Product<T>& x, Terms terms, const RowTiles<T>& rows, int64_t first, int64_t last, const T* a,
                    int64_t j, int64_t columns, const T* b, const T* next, int64_t next_step, T* next_to) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const int64_t k = terms.k, vectors = ceil_div(columns, L), count = last - first;
  const Output output = x.output_at(terms.p, k);
  const T* bias = x.bias_at(j, terms.p + k);
  for (int64_t t = 0; t < count; t++, a += tile_size<T>(rows, k)) {
    const int64_t n = rows.rows(first + t);
    T* c = x.c + rows.begin(first + t) * x.ldc + j;
    if (output != Output::stream) prefetch_tile(c + n * x.ldc, t + 1 < count ? rows.rows(first + t + 1) : 0, x.ldc);
    if (next && columns == W) {
      const int64_t begin = k * t / count, end = k * (t + 1) / count;
      tiles(T{}).fetching[n](
          {k}, a, n, b, W, c, x.ldc, W, output, bias,
          {next + begin * next_step, next_step, end - begin, count, next_to ? next_to + begin * W : nullptr});
    } else {
      tiles(T{}).by_columns[n][vectors]({k}, a, n, b, vectors * L, c, x.ldc, int(columns), output, bias);
    }
    if (terms.p + k == x.k) activate_tile(n, columns, c, x.ldc, x.activation);
  }
}

// Columns [j, end) of C, the panels of B packed one by one: side by side from `b` on where they are to be `kept`, else
// in turn at two places. Packing one takes as long as two row tiles, most of it waiting for memory, so the tiles of a
// panel copy the next one while they compute: 8 % faster at 128 x 1024 x 3136, 19 % at 64 rows, 48 % at 28. A
// transposed B is packed beforehand.
template <class T>
void multiply_panels(const Product<T>& x, Terms terms, const RowTiles<T>& rows, int64_t first, int64_t last, const T* a,
                     int64_t j, int64_t end, T* b, bool kept) {
  constexpr int64_t W = kTileColumns<T>;
  int64_t step = W * terms.k;
  for (bool packed = false; j < end; j += W) {
    const int64_t columns = min_of(W, end - j);
    if (!packed) pack_panels(b, x.b_at(terms.p, j), x.ldb, x.transpose_b, columns, terms.k);
    packed = !x.transpose_b && j + 2 * W <= end;
    multiply_panel(x, terms, rows, first, last, a, j, columns, b, packed ? x.b_at(terms.p, j + W) : nullptr, x.ldb,
                   b + step);
    b += step;
    if (!kept) step = -step;
  }
}

}  // namespace

// More rows than two blocks of A are packed block by block, and the panels of B kept for those after the first.
template <class T>
Status multiply_packed(const Product<T>& x) {
  constexpr int64_t W = kTileColumns<T>;
  const RowTiles<T> rows{x.m};
  const bool kept = rows.count > 2 * kBlockTiles;
  const int64_t tiles = kept ? balanced(rows.count, kBlockTiles) : rows.count;
  // In blocks of 512 terms a panel of B (64 KB in float32) streams from L2 and a row tile of A stays in L1. Where that
  // streams, too, few rows take larger ones, in which C is read less often: 768 terms in float32 (128 x 1024 x 3136: 1
  // % faster).
  const int64_t block = balanced(x.k, kept || x.transpose_b ? 512 : 3072 / int64_t(sizeof(T)));
  const int64_t block_columns = kept ? min_of(x.n, kBlockColumns<T>) : x.n;
  T* a = scratch_of<T>(Scratch::pack_a, tiles * tile_size<T>(rows, block));
  T* b = scratch_of<T>(Scratch::pack_b, (kept ? ceil_div(block_columns, W) : 2) * W * block);
  if (!a || !b) return Status::out_of_memory;
  for (int64_t column = 0; column < x.n; column += block_columns) {
    const int64_t end = min_of(x.n, column + block_columns);
    for (int64_t p = 0; p < x.k; p += block) {
      const Terms terms = {p, min_of(block, x.k - p)};
      for (int64_t first = 0; first < rows.count; first += tiles) {
        const int64_t last = min_of(rows.count, first + tiles);
        pack_tiles(a, x, terms, rows, first, last);
        if (first == 0) {
          multiply_panels(x, terms, rows, first, last, a, column, end, b, kept);
          continue;
        }
        const T* panel = b;
        for (int64_t j = column; j < end; j += W, panel += W * terms.k)
          multiply_panel<T>(x, terms, rows, first, last, a, j, min_of(W, end - j), panel,
                            j + W < end ? panel + W * terms.k : nullptr, W, nullptr);
      }
    }
  }
  if (x.streams) end_streams();
  return Status::ok;
}

template Status multiply_packed(const Product<float>&);
template Status multiply_packed(const Product<double>&);

}  // namespace pynn::PYNN_ISA
