// Matrix products: the batch, and the choice of a path for each product.
#include "ops/gemm.h"

#include "kernels/gemm_paths.h"
#include "runtime/clock.h"
#include "runtime/pace.h"
#include "simd/stream.h"

namespace pynn::PYNN_ISA {
namespace {

// Lines that a multiple of `bytes` lies between share few of the 64 sets of L1 and push each other out.
template <class T>
bool steps_by(int64_t step, int64_t bytes) {
  return step * int64_t(sizeof(T)) % bytes == 0;
}

// Clocks and cuts take 0.1 us.
constexpr double kPacedCost = 50000;  // ns

// multiply_piece(piece) for pieces of the product, on the team; it packs what it reads, since what another core has
// packed comes at some GB/s (two threads: 64 x 512 x 128 with shared tiles of A 53 us, without 38; 64 x 256 x 128 with
// shared panels of B 50, without 20). a_cost and b_cost are the ns that a term of a row and of a column takes beside
// its multiply-adds.
template <class T, class F>
Status multiply_in_pieces(const Product<T>& x, double a_cost, double b_cost, const F& multiply_piece) {
  constexpr int64_t W = kTileColumns<T>;
  const double cost = multiply_cost(x);
  const int threads = plan_threads(cost);
  if (threads == 1) return multiply_piece(x);
  // One piece a thread packs least (two threads, share of the peak: 512^3 88 %, with two each 85 %, four 84 %). Two
  // where that takes longer than the time slice that another process may take from a thread.
  const int64_t wanted = threads * (cost > 8e6 * threads ? 2 : 1), panels = ceil_div(x.n, W);
  int64_t row_pieces = 1, column_pieces = 1;
  double least = 0;
  for (int64_t r = 1; r <= min_of(wanted, ceil_div(x.m, kTileRows<T>)); r++) {
    const int64_t c = min_of(panels, ceil_div(wanted, r));
    // Of the largest piece:
    const double rows = double(ceil_div(x.m, r)), columns = double(min_of(x.n, ceil_div(panels, c) * W));
    const double turns = double(ceil_div(r * c, threads));
    const double ns = turns * (fma_cost<T>(rows * columns) + a_cost * rows + b_cost * columns);
    if (r == 1 || ns < least) least = ns, row_pieces = r, column_pieces = c;
  }
  // Where there is one piece a thread, along rows or columns, their pace decides on the cuts.
  const int64_t pieces = row_pieces * column_pieces, tiles = ceil_div(x.m, kTileRows<T>);
  const bool by_rows = column_pieces == 1;
  const bool paced = cost > kPacedCost && pieces == threads && threads <= kMostPaced && (by_rows || row_pieces == 1);
  int64_t begins[kMostPaced + 1];
  double pace[kMostPaced];
  const bool cut = paced && cut_by_pace(threads, by_rows ? tiles : panels, begins);
  const auto row_of = [&](int64_t r) { return cut && by_rows ? x.m * begins[r] / tiles : x.m * r / row_pieces; };
  const auto column_of = [&](int64_t c) {
    return min_of(x.n, (cut && !by_rows ? begins[c] : panels * c / column_pieces) * W);
  };
  int failed = 0;
  parallel_tasks(pieces, cost, [&](int64_t task) {
    const int64_t r = task / column_pieces, c = task % column_pieces, row = row_of(r), column = column_of(c);
    Product<T> piece = x;
    piece.m = row_of(r + 1) - row;
    piece.n = column_of(c + 1) - column;
    piece.a = x.a_at(row, 0), piece.b = x.b_at(0, column), piece.c = x.c + row * x.ldc + column;
    if (x.bias) piece.bias = x.bias + column;
    const int64_t start = paced ? now_ns() : 0;
    if (multiply_piece(piece) != Status::ok) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    if (paced) pace[task] = double(piece.m * piece.n) / double(max_of(1, now_ns() - start));
  });
  if (paced) note_pace(threads, pace);
  return failed ? Status::out_of_memory : Status::ok;
}

}  // namespace

template <class T>
Status multiply(Product<T> x) {
  constexpr int64_t kBytes = sizeof(T);
  if (x.n == 1 && x.ldc == 1 && x.m > 1) {
    // A column: the same chains, seen as a row of the transposed product.
    return multiply_vector<T>({1, x.m, x.k, x.b, x.ldb, !x.transpose_b, x.a, x.lda, !x.transpose_a, x.c, x.m,
                               x.accumulate, x.bias, 0, x.activation});
  }
  if (x.m <= kVectorPathRows) return multiply_vector(x);
  x.streams = !x.accumulate && x.activation == Activation::none && streams_pay(x.c, x.m, x.n, x.ldc);
  if (x.k == 0) return multiply_direct(x, false);  // the packed paths need a term
  const int64_t b_bytes = x.n * x.k * kBytes;
  const bool small_b = b_bytes <= 192 * 1024;
  const bool ragged = !kReadsRaggedRows && x.n % lanes<T> != 0;
  // Some hundred rows use a packed B too seldom to pay for packing it (measured: at two threads 23 % of the time at
  // 200 x 100 x 784, half of it at 64 rows).
  const bool large_b = b_bytes > (x.m > 512 ? 192 : 512) * 1024;
  // As long as it stays in L2, even where its rows share sets of L1 (64 x 512 x 128 1.09, 64 x 256 x 256 1.15, 256 x
  // 250 x 256 1.05 times as fast as packed; with low tiles, those of AVX2, 128 x 512 x 128 0.9 times). The few rows of
  // a batch use each panel too seldom to pay for packing more than that (8 x 512 x 512 1.8, 64 x 512 x 512 1.1 times).
  const int64_t b_span = x.k * (x.ldb < 0 ? -x.ldb : x.ldb) * kBytes;
  const bool stays_in_l2 =
      x.m <= kFewRows ? b_span <= 1024 * 1024 : kTileRows<T> > 6 && x.m <= 512 && x.n <= 512 && b_span <= 256 * 1024;
  const bool pack_b = x.transpose_b || ragged || (!stays_in_l2 && (large_b || steps_by<T>(x.ldb, 1024)));
  const bool small = double(x.m) * double(x.n) * double(x.k) <= 128. * 128 * 128;
  // Few columns use a packed A too seldom to pay for packing it: measured 16 % of the time at 4096 x 64 x 576, and
  // with A transposed 22 % at 784 x 30 x 128.
  const bool few_columns = x.n <= 128 && x.k <= 4096;
  if ((small && small_b) || few_columns || (stays_in_l2 && !pack_b)) {
    // An A where it lies is read by every piece of its rows, which so prefers to be cut into rows; unless B is large.
    const double b_cost = pack_b ? pack_cost(1) : b_span > 256 * 1024 ? 0.03 : 0;
    return multiply_in_pieces(x, 0.02, b_cost, [=](const Product<T>& piece) { return multiply_direct(piece, pack_b); });
  }
  // The tiles pack B while they compute, unless it is transposed.
  return multiply_in_pieces(x, pack_cost(1), x.transpose_b ? pack_cost(1) : pack_cost(1) / 3, multiply_packed<T>);
}
template Status multiply(Product<float>);
template Status multiply(Product<double>);

namespace {

template <class T>
Status multiply_batch(const Gemm& p) {
  int64_t count = 1;
  for (int d = 0; d < p.batch_dims; d++) count *= p.batch[d];
  const auto product = [&](int64_t index) {
    const T *a = static_cast<const T*>(p.a), *b = static_cast<const T*>(p.b);
    T* c = static_cast<T*>(p.c);
    for (int d = p.batch_dims; d--; index /= p.batch[d]) {
      const int64_t at = index % p.batch[d];
      a += at * p.batch_a[d];
      b += at * p.batch_b[d];
      c += at * p.batch_c[d];
    }
    return Product<T>{p.m,
                      p.n,
                      p.k,
                      a,
                      p.lda,
                      p.transpose_a,
                      b,
                      p.ldb,
                      p.transpose_b,
                      c,
                      p.ldc,
                      p.accumulate,
                      static_cast<const T*>(p.bias),
                      1,
                      p.activation};
  };
  if (count == 1) return multiply(product(0));
  int failed = 0;
  const double cost = multiply_cost(product(0)) * double(count);
  const auto range = [&](int64_t begin, int64_t end) {
    for (; begin < end; begin++)
      if (multiply(product(begin)) != Status::ok) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  };
  // Over the batch where it has work for every thread, else inside each product.
  if (count >= 2 * plan_threads(cost))
    parallel_ranges(count, 1, cost / double(count), range);
  else
    range(0, count);
  return failed ? Status::out_of_memory : Status::ok;
}

Status gemm(const Gemm& p) { return p.dtype == DType::float64 ? multiply_batch<double>(p) : multiply_batch<float>(p); }

}  // namespace

extern const GemmKernels gemm_kernels;
const GemmKernels gemm_kernels = {gemm};

}  // namespace pynn::PYNN_ISA
