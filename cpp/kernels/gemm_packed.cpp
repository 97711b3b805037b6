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
// Panels that a task packs for itself: 512 KB in float32, in L2 beside the shared A.
constexpr int64_t kGroupPanels = 8;

// The terms [p, p + k) of the chains.
struct Terms {
  int64_t p, k;
};

// C[rows][columns] from row tiles packed at `a` and panels packed at `b`.
template <class T>
void multiply_block(const Product<T>& x, Terms terms, int64_t row, int64_t row_end, int64_t rows_per_tile, const T* a,
                    int64_t column, int64_t column_end, const T* b) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const auto& kernels = tiles(T{}).by_columns;
  const int64_t k = terms.k;
  for (int64_t j = column; j < column_end; j += W, b += W * k) {
    const int64_t columns = min_of(W, column_end - j), vectors = ceil_div(columns, L);
    const T* tile = a;
    for (int64_t i = row; i < row_end; i += rows_per_tile, tile += tile_size<T>(rows_per_tile, k)) {
      const int64_t rows = min_of(rows_per_tile, row_end - i);
      T* c = x.c + i * x.ldc + j;
      prefetch_tile(c + rows * x.ldc, min_of(rows, row_end - i - rows), x.ldc);
      kernels[rows][vectors]({k}, tile, rows, b, vectors * L, c, x.ldc, int(columns), terms.p > 0 || x.accumulate,
                             x.bias_at(j, terms.p + k));
      if (terms.p + k == x.k) activate_tile(rows, columns, c, x.ldc, x.activation);
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
  const int64_t block = k_block(x.k), blocks = ceil_div(x.k, block), tile_elements = tile_size<T>(rows_per_tile, block);
  T* a = scratch_of<T>(Scratch::pack_a, row_tiles * tile_elements);
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
    parallel_grid(ceil_div(x.n, W), 1, threads, cost / double(blocks),
                  [&](int64_t panel, int64_t end, int64_t, int64_t) {
                    T* b = scratch_of<T>(Scratch::pack_b, kGroupPanels * W * terms.k);
                    if (!b) {
                      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
                      return;
                    }
                    for (; panel < end; panel += kGroupPanels) {
                      const int64_t column = panel * W, column_end = min_of(x.n, min_of(end, panel + kGroupPanels) * W);
                      pack_panels(b, x.b_at(p, column), x.ldb, x.transpose_b, column_end - column, terms.k);
                      multiply_block(x, terms, 0, x.m, rows_per_tile, a, column, column_end, b);
                    }
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
              multiply_block(x, terms, row, row + rows, rows_per_tile, a, column + panel * W,
                             column + min_of(columns, panel_end * W), b + panel * W * terms.k);
            }
          });
    }
  }
  return failed ? Status::out_of_memory : Status::ok;
}
template Status multiply_shared_b(const Product<float>&);
template Status multiply_shared_b(const Product<double>&);

}  // namespace pynn::PYNN_ISA
