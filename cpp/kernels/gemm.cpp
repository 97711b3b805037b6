// Matrix products: the batch, and the choice of a path for each product.
#include "ops/gemm.h"

#include "kernels/gemm_paths.h"

namespace pynn::PYNN_ISA {
namespace {

// Lines that a multiple of `bytes` lies between share few of the 64 sets of L1 and push each other out.
template <class T>
bool steps_by(int64_t step, int64_t bytes) {
  return step * int64_t(sizeof(T)) % bytes == 0;
}

}  // namespace

template <class T>
Status multiply(const Product<T>& x) {
  constexpr int64_t kBytes = sizeof(T);
  if (x.n == 1 && x.ldc == 1 && x.m > 1) {
    // A column: the same chains, seen as a row of the transposed product.
    return multiply_vector<T>({1, x.m, x.k, x.b, x.ldb, !x.transpose_b, x.a, x.lda, !x.transpose_a, x.c, x.m,
                               x.accumulate, x.bias, 0, x.activation});
  }
  if (x.m <= kVectorPathRows) return multiply_vector(x);
  if (x.k == 0) return multiply_direct(x, false);  // the packed paths need a term
  const int64_t b_bytes = x.n * x.k * kBytes;
  const bool small_b = b_bytes <= 192 * 1024;
  const bool ragged = !kReadsRaggedRows && x.n % lanes<T> != 0;
  // Some hundred rows use a packed B too seldom to pay for packing it (measured: at two threads 23 % of the time at
  // 200 x 100 x 784, half of it at 64 rows).
  const bool large_b = b_bytes > (x.m > 512 ? 192 : 512) * 1024;
  const bool pack_b = x.transpose_b || ragged || large_b || steps_by<T>(x.ldb, 1024);
  if (!steps_by<T>(x.lda, 2048)) {
    const bool small = double(x.m) * double(x.n) * double(x.k) <= 128. * 128 * 128;
    // Few columns use a packed A too seldom to pay for packing it: measured 16 % of the time at 4096 x 64 x 576, and
    // with A transposed 22 % at 784 x 30 x 128.
    const bool few_columns = x.n <= 128 && x.k <= 4096;
    if ((small && small_b) || few_columns) return multiply_direct(x, pack_b);
  }
  return multiply_packed(x);
}
template Status multiply(const Product<float>&);
template Status multiply(const Product<double>&);

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
