// Element-wise arithmetic and comparisons of one or two operands with broadcasting. Both structs share one index space:
//
//   y[i] = f(a[i], b[i])  for every index i of shape
//
// Strides are in elements, of any sign, zero where an operand is broadcast; the binding has merged what it could, with
// the axis along which y is densest last. An operand whose pointer is null is the number `scalar`; ops of one operand
// have no b. y may be a or b where their strides agree; otherwise y overlaps neither.
#pragma once
#include "runtime/launch.h"

namespace pynn {

struct IndexSpace {
  int dims;  // at least 1
  int64_t shape[kMaxDims], a_strides[kMaxDims], b_strides[kMaxDims], y_strides[kMaxDims];
};

// div, div_scaled, power, sqrt, exp and log are for float32 and float64, the others for all but boolean.
enum class Arithmetic : uint8_t {
  add,
  sub,
  mul,
  div,
  add_scaled,  // a + alpha b
  mul_scaled,  // alpha a b
  div_scaled,  // alpha a / b
  power,       // a^b; b is the scalar
  neg,
  abs,
  sign,  // -1, 0, 1; NaN stays
  sqrt,
  exp,
  log,
};

// Comparisons, and what only compares; subnormals count. eq to le give boolean y; maximum and minimum give the dtype of
// the operands, and NaN where either is NaN.
enum class Comparison : uint8_t { eq, ne, lt, le, maximum, minimum };

struct ElementwiseArithmetic {
  static constexpr const char* name = "elementwise";
  static constexpr bool arithmetic = true;
  Arithmetic op;
  DType dtype;
  uint64_t scalar, alpha;  // the bytes of one element
  IndexSpace space;
  const void *a, *b;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(a, Access::read);
    f(b, Access::read);
    f(y, Access::write);
  }
};

struct ElementwiseComparison {
  static constexpr const char* name = "comparison";
  static constexpr bool arithmetic = false;
  Comparison op;
  DType dtype;
  uint64_t scalar;
  IndexSpace space;
  const void *a, *b;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(a, Access::read);
    f(b, Access::read);
    f(y, Access::write);
  }
};

struct ElementwiseKernels {
  Kernel<ElementwiseArithmetic> arithmetic;
  Kernel<ElementwiseComparison> comparison;
};

// Nanoseconds an element on one core at AVX-512.
constexpr double elementwise_cost(Arithmetic op) {
  switch (op) {
    case Arithmetic::power: return 2.0;
    case Arithmetic::exp:
    case Arithmetic::log: return 0.3;
    default: return 0.15;
  }
}
constexpr double elementwise_cost(Comparison) { return 0.15; }

}  // namespace pynn
