// gemm with both operands packed: K in blocks, each going on from the C that the one before has left.
#include "kernels/gemm_pack.h"
#include "kernels/gemm_paths.h"

namespace pynn::PYNN_ISA {
namespace {

// Rows of A in one packed block: 460 KB in float32, a quarter of a 2 MB L2.
constexpr int64_t kBlockRows = 224;
// Columns of B packed at a time, shared: 4 MB for a K block of 512.
template <class T>
constexpr int64_t kBlockColumns = 8192 / int64_t(sizeof(T));

// The terms [p, p + k) of the chains.
struct Terms {
  int64_t p, k;
};

// Columns [j, j + columns) of C from row tiles packed at `a` and a panel packed at `b`. Unless `next` is null the tiles
// copy the next panel of B to it, where they lie side by side in rows, both of them whole.
template <class T>
void multiply_panel(const Product<T>& x, Terms terms, int64_t row, int64_t row_end, int64_t rows_per_tile, const T* a,
                    int64_t j, int64_t columns, const T* b, T* next = nullptr) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const int64_t k = terms.k, vectors = ceil_div(columns, L), row_tiles = ceil_div(row_end - row, rows_per_tile);
  const bool from_c = terms.p > 0 || x.accumulate;
  const T* bias = x.bias_at(j, terms.p + k);
  for (int64_t t = 0; t < row_tiles; t++, a += tile_size<T>(rows_per_tile, k)) {
    const int64_t i = row + t * rows_per_tile, rows = min_of(rows_per_tile, row_end - i);
    T* c = x.c + i * x.ldc + j;
    prefetch_tile(c + rows * x.ldc, min_of(rows, row_end - i - rows), x.ldc);
    if (next) {
      const int64_t first = k * t / row_tiles, end = k * (t + 1) / row_tiles;
      tiles(T{}).copying[rows]({k}, a, rows, b, W, c, x.ldc, W, from_c, bias,
                               {x.b_at(terms.p + first, j + W), x.ldb, end - first, row_tiles, next + first * W});
    } else {
      tiles(T{}).by_columns[rows][vectors]({k}, a, rows, b, vectors * L, c, x.ldc, int(columns), from_c, bias);
    }
    if (terms.p + k == x.k) activate_tile(rows, columns, c, x.ldc, x.activation);
  }
}

// Columns [j, end) of C, the panels of B packed one by one. Packing one takes as long as two row tiles, most of it
// waiting for memory, so the tiles of a panel copy the next one while they compute: 8 % faster at 128 x 1024 x 3136,
// 19 % at 64 rows, 48 % at 28. A transposed B is packed beforehand.
template <class T>
void multiply_panels(const Product<T>& x, Terms terms, int64_t rows_per_tile, const T* a, int64_t j, int64_t end,
                     T* b) {
  constexpr int64_t W = kTileColumns<T>;
  T* next = b + W * terms.k;
  for (bool packed = false; j < end; j += W) {
    const int64_t columns = min_of(W, end - j);
    if (!packed) pack_panels(b, x.b_at(terms.p, j), x.ldb, x.transpose_b, columns, terms.k);
    packed = !x.transpose_b && j + 2 * W <= end;
    multiply_panel(x, terms, 0, x.m, rows_per_tile, a, j, columns, b, packed ? next : nullptr);
    if (packed) {
      T* const read = b;
      b = next;
      next = read;
    }
  }
}

}  // namespace

template <class T>
Status multiply_shared_a(const Product<T>& x) {
  constexpr int64_t W = kTileColumns<T>;
  const double cost = multiply_cost(x);
  const int threads = plan_threads(cost);
  const int64_t rows_per_tile = balanced(x.m, kTileRows), row_tiles = ceil_div(x.m, rows_per_tile);
  // Beside what the tiles copy, L1 holds a row tile of A of 28 KB: blocks of 512 terms in float32, 256 in float64.
  const int64_t block = x.transpose_b ? k_block(x.k) : balanced(x.k, 2048 / int64_t(sizeof(T)));
  const int64_t blocks = ceil_div(x.k, block);
  // Two pieces a thread: the first panel of each is copied by no tile (two threads: 4 % faster than eight pieces).
  const int64_t panels = ceil_div(x.n, W), pieces = threads == 1 ? 1 : min_of(panels, 2 * threads);
  T* a = scratch_of<T>(Scratch::pack_a, row_tiles * tile_size<T>(rows_per_tile, block));
  if (!a) return Status::out_of_memory;
  int failed = 0;
  for (int64_t p = 0; p < x.k && !failed; p += block) {
    const Terms terms = {p, min_of(block, x.k - p)};
    parallel_grid(row_tiles, 1, threads, pack_cost(x.m * terms.k), [&](int64_t tile, int64_t end, int64_t, int64_t) {
      for (; tile < end; tile++) {
        const int64_t row = tile * rows_per_tile;
        pack_tile(a + tile * tile_size<T>(rows_per_tile, terms.k), x.a_at(row, p), x.lda, x.transpose_a,
                  min_of(rows_per_tile, x.m - row), terms.k);
      }
    });
    parallel_tasks(pieces, cost / double(blocks), [&](int64_t task) {
      const int64_t column = panels * task / pieces * W, end = min_of(x.n, panels * (task + 1) / pieces * W);
      T* b = scratch_of<T>(Scratch::pack_b, 2 * W * terms.k);
      if (b)
        multiply_panels(x, terms, rows_per_tile, a, column, end, b);
      else
        __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    });
  }
  return failed ? Status::out_of_memory : Status::ok;
}
template Status multiply_shared_a(const Product<float>&);
template Status multiply_shared_a(const Product<double>&);

template <class T>
Status multiply_shared_b(const Product<T>& x) {
  constexpr int64_t W = kTileColumns<T>;
  const double cost = multiply_cost(x);
  const int threads = plan_threads(cost);
  const int64_t block = k_block(x.k), blocks = ceil_div(x.k, block);
  const int64_t row_tiles = ceil_div(x.m, kTileRows), most_columns = min_of(x.n, kBlockColumns<T>);
  T* b = scratch_of<T>(Scratch::pack_b, ceil_div(most_columns, W) * W * block);
  if (!b) return Status::out_of_memory;
  int failed = 0;
  for (int64_t column = 0; column < x.n; column += kBlockColumns<T>) {
    const int64_t columns = min_of(kBlockColumns<T>, x.n - column), panels = ceil_div(columns, W);
    const double share = cost / double(blocks) * double(columns) / double(x.n);
    for (int64_t p = 0; p < x.k && !failed; p += block) {
      const Terms terms = {p, min_of(block, x.k - p)};
      parallel_grid(panels, 1, threads, pack_cost(columns * terms.k),
                    [&](int64_t panel, int64_t end, int64_t, int64_t) {
                      pack_panels(b + panel * W * terms.k, x.b_at(p, column + panel * W), x.ldb, x.transpose_b,
                                  min_of(columns, end * W) - panel * W, terms.k);
                    });
      parallel_grid(
          row_tiles, panels, threads, share, [&](int64_t tile, int64_t tile_end, int64_t panel, int64_t panel_end) {
            int64_t row = tile * kTileRows;
            const int64_t row_end = min_of(x.m, tile_end * kTileRows), block_rows = balanced(row_end - row, kBlockRows);
            const int64_t rows_per_tile = balanced(block_rows, kTileRows);
            const int64_t tile_elements = tile_size<T>(rows_per_tile, terms.k);
            T* a = scratch_of<T>(Scratch::pack_a, ceil_div(block_rows, rows_per_tile) * tile_elements);
            if (!a) {
              __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
              return;
            }
            for (; row < row_end; row += block_rows) {
              const int64_t rows = min_of(block_rows, row_end - row);
              for (int64_t i = 0; i < rows; i += rows_per_tile)
                pack_tile(a + i / rows_per_tile * tile_elements, x.a_at(row + i, p), x.lda, x.transpose_a,
                          min_of(rows_per_tile, rows - i), terms.k);
              for (int64_t j = panel * W, end = min_of(columns, panel_end * W); j < end; j += W)
                multiply_panel(x, terms, row, row + rows, rows_per_tile, a, column + j, min_of(W, end - j),
                               b + j * terms.k);
            }
          });
    }
  }
  return failed ? Status::out_of_memory : Status::ok;
}
template Status multiply_shared_b(const Product<float>&);
template Status multiply_shared_b(const Product<double>&);

}  // namespace pynn::PYNN_ISA
