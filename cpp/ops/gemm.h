// Matrix products: C = f(A B + bias), each of a batch of matrices.
//
// Every element of C is one chain of fma() over k = 0, 1, 2 ... that starts from zero, or from C where `accumulate`;
// bias, then activation, come after the last k. No path, tile, K block or thread count changes a bit of it.
#pragma once
#include "ops/activation.h"
#include "runtime/launch.h"

namespace pynn {

constexpr int kMaxBatchDims = kMaxDims - 2;

// A is m x k: a[i * lda + p], or a[p * lda + i] where `transpose_a`; B is k x n: b[p * ldb + j], or b[j * ldb + p]
// where `transpose_b`; C is m x n: c[i * ldc + j], written and, where `accumulate`, read. Leading dimensions are in
// elements and those of A and B may be anything, zero and negative included. bias is null or n elements. m and n are
// positive, k may be zero. The batch has `batch_dims` axes (none: one product), each with a size and an element stride
// per operand; the strides of A and B are zero where they broadcast. C overlaps neither itself nor A, B or bias.
struct Gemm {
  static constexpr const char* name = "gemm";
  static constexpr bool arithmetic = true;
  DType dtype;  // float32 or float64
  Activation activation;
  bool transpose_a, transpose_b, accumulate;
  int batch_dims;
  int64_t m, n, k;
  int64_t lda, ldb, ldc;
  int64_t batch[kMaxBatchDims], batch_a[kMaxBatchDims], batch_b[kMaxBatchDims], batch_c[kMaxBatchDims];
  const void *a, *b, *bias;
  void* c;
  template <class F>
  void pointers(F&& f) {
    f(a, Access::read);
    f(b, Access::read);
    f(bias, Access::read);
    f(c, Access::write);
  }
};

struct GemmKernels {
  Kernel<Gemm> gemm;
};

}  // namespace pynn
