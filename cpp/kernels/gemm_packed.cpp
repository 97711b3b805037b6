// gemm with both operands packed: K in blocks, each going on from the C that the one before has left.
#include "kernels/gemm_pack.h"
#include "kernels/gemm_paths.h"

namespace pynn::PYNN_ISA {
namespace {

// Row tiles of A in one packed block: 460 KB in float32, a quarter of a 2 MB L2.
constexpr int64_t kBlockTiles = 16;
// Columns of B packed at a time, shared: 4 MB for a K block of 512.
template <class T>
constexpr int64_t kBlockColumns = 8192 / int64_t(sizeof(T));

// The terms [p, p + k) of the chains.
struct Terms {
  int64_t p, k;
};

// The fewest row tiles of `m` rows, sizes one apart at most: tiles of 14 would leave 2 of 1024 rows.
struct RowTiles {
  int64_t m, count = ceil_div(m, kTileRows);
  int64_t begin(int64_t tile) const { return m * tile / count; }
  int64_t rows(int64_t tile) const { return begin(tile + 1) - begin(tile); }
};

// Elements of a packed tile.
template <class T>
int64_t tile_size(const RowTiles& tiles, int64_t k) {
  return ceil_div(tiles.m, tiles.count) * k + lanes<T>;
}

template <class T>
void pack_tiles(T* out, const Product<T>& x, Terms terms, const RowTiles& rows, int64_t first, int64_t last) {
  for (int64_t t = first; t < last; t++, out += tile_size<T>(rows, terms.k))
    pack_tile(out, x.a_at(rows.begin(t), terms.p), x.lda, x.transpose_a, rows.rows(t), terms.k);
}

// Columns [j, j + columns) of C from the row tiles [first, last) packed at `a` and a panel packed at `b`. Meanwhile the
// tiles of a whole panel fetch the next one, a row of it every so many terms, unless `next` is null.
template <class T>
void multiply_panel(const Product<T>& x, Terms terms, const RowTiles& rows, int64_t first, int64_t last, const T* a,
                    int64_t j, int64_t columns, const T* b, const T* next, int64_t next_step, T* next_to) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const int64_t k = terms.k, vectors = ceil_div(columns, L), count = last - first;
  const bool from_c = terms.p > 0 || x.accumulate;
  const T* bias = x.bias_at(j, terms.p + k);
  for (int64_t t = 0; t < count; t++, a += tile_size<T>(rows, k)) {
    const int64_t n = rows.rows(first + t);
    T* c = x.c + rows.begin(first + t) * x.ldc + j;
    prefetch_tile(c + n * x.ldc, t + 1 < count ? rows.rows(first + t + 1) : 0, x.ldc);
    if (next && columns == W) {
      const int64_t begin = k * t / count, end = k * (t + 1) / count;
      tiles(T{}).fetching[n](
          {k}, a, n, b, W, c, x.ldc, W, from_c, bias,
          {next + begin * next_step, next_step, end - begin, count, next_to ? next_to + begin * W : nullptr});
    } else {
      tiles(T{}).by_columns[n][vectors]({k}, a, n, b, vectors * L, c, x.ldc, int(columns), from_c, bias);
    }
    if (terms.p + k == x.k) activate_tile(n, columns, c, x.ldc, x.activation);
  }
}

// Columns [j, end) of C, the panels of B packed one by one: side by side from `b` on where they are to be `kept`, else
// in turn at two places. Packing one takes as long as two row tiles, most of it waiting for memory, so the tiles of a
// panel copy the next one while they compute: 8 % faster at 128 x 1024 x 3136, 19 % at 64 rows, 48 % at 28. A
// transposed B is packed beforehand.
template <class T>
void multiply_panels(const Product<T>& x, Terms terms, const RowTiles& rows, int64_t first, int64_t last, const T* a,
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

template <class T>
Status multiply_few_rows(const Product<T>& x) {
  constexpr int64_t W = kTileColumns<T>;
  const double cost = multiply_cost(x);
  const int threads = plan_threads(cost);
  const RowTiles rows{x.m};
  // Beside what the tiles copy, L1 holds a row tile of A of 28 KB: blocks of 512 terms in float32, 256 in float64.
  const int64_t block = x.transpose_b ? k_block(x.k) : balanced(x.k, 2048 / int64_t(sizeof(T)));
  // Every piece packs all of A for itself: tiles that another core has packed come at some GB/s (two threads, 64 x 512
  // x 128: 53 us with shared tiles, 38 without). So there is one piece a thread, two where each has 16 panels or more.
  const int64_t panels = ceil_div(x.n, W), most = min_of(panels, 2 * int64_t(threads));
  const int64_t pieces = threads == 1 ? 1 : min_of(most, max_of(int64_t(threads), panels / 16));
  int failed = 0;
  parallel_tasks(pieces, cost, [&](int64_t task) {
    const int64_t column = panels * task / pieces * W, end = min_of(x.n, panels * (task + 1) / pieces * W);
    T* a = scratch_of<T>(Scratch::pack_a, rows.count * tile_size<T>(rows, block));
    T* b = scratch_of<T>(Scratch::pack_b, 2 * W * block);
    if (!a || !b) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    for (int64_t p = 0; p < x.k; p += block) {
      const Terms terms = {p, min_of(block, x.k - p)};
      pack_tiles(a, x, terms, rows, 0, rows.count);
      multiply_panels(x, terms, rows, 0, rows.count, a, column, end, b, false);
    }
  });
  return failed ? Status::out_of_memory : Status::ok;
}
template Status multiply_few_rows(const Product<float>&);
template Status multiply_few_rows(const Product<double>&);

template <class T>
Status multiply_many_rows(const Product<T>& x) {
  constexpr int64_t W = kTileColumns<T>;
  const double cost = multiply_cost(x);
  const int threads = plan_threads(cost);
  const int64_t block = k_block(x.k), blocks = ceil_div(x.k, block);
  const int64_t most_columns = min_of(x.n, kBlockColumns<T>);
  const RowTiles rows{x.m};
  T* b = scratch_of<T>(Scratch::pack_b, ceil_div(most_columns, W) * W * block);
  if (!b) return Status::out_of_memory;
  int failed = 0;
  for (int64_t column = 0; column < x.n; column += kBlockColumns<T>) {
    const int64_t columns = min_of(kBlockColumns<T>, x.n - column), panels = ceil_div(columns, W);
    const double share = cost / double(blocks) * double(columns) / double(x.n);
    for (int64_t p = 0; p < x.k && !failed; p += block) {
      const Terms terms = {p, min_of(block, x.k - p)};
      // One thread packs them on the way (1024^3: 3 % faster), several before they begin.
      if (threads > 1)
        parallel_grid(panels, 1, threads, pack_cost(columns * terms.k),
                      [&](int64_t panel, int64_t end, int64_t, int64_t) {
                        pack_panels(b + panel * W * terms.k, x.b_at(p, column + panel * W), x.ldb, x.transpose_b,
                                    min_of(columns, end * W) - panel * W, terms.k);
                      });
      parallel_grid(
          rows.count, panels, threads, share, [&](int64_t tile, int64_t tile_end, int64_t panel, int64_t panel_end) {
            const int64_t block_tiles = balanced(tile_end - tile, kBlockTiles), size = tile_size<T>(rows, terms.k);
            T* a = scratch_of<T>(Scratch::pack_a, block_tiles * size);
            if (!a) {
              __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
              return;
            }
            for (; tile < tile_end; tile += block_tiles) {
              const int64_t last = min_of(tile_end, tile + block_tiles);
              pack_tiles(a, x, terms, rows, tile, last);
              if (threads == 1 && tile == 0) {
                multiply_panels(x, terms, rows, tile, last, a, column, column + columns, b, true);
                continue;
              }
              for (int64_t j = panel * W, end = min_of(columns, panel_end * W); j < end; j += W) {
                const T *packed = b + j * terms.k, *next = j + W < end ? packed + W * terms.k : nullptr;
                multiply_panel<T>(x, terms, rows, tile, last, a, column + j, min_of(W, end - j), packed, next, W,
                                  nullptr);
              }
            }
          });
    }
  }
  return failed ? Status::out_of_memory : Status::ok;
}
template Status multiply_many_rows(const Product<float>&);
template Status multiply_many_rows(const Product<double>&);

}  // namespace pynn::PYNN_ISA
