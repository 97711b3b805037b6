// The affine map of a fully connected layer: matrix products over all axes but the last.
#include "bindings/call.h"
#include "bindings/families.h"

namespace pynn {
namespace {

// (..., features) as a matrix, a copy where the rows are not evenly apart.
ArrayRef rows_of(const ArrayRef& x) {
  if (x->dims == 2) return x;
  int64_t shape[2] = {1, x->shape[x->dims - 1]};
  for (int i = 0; i + 1 < x->dims; i++) shape[0] *= x->shape[i];
  ArrayRef rows = view(*contiguous(x));
  set_shape(*rows, shape, 2);
  return rows;
}

ArrayRef forward(const ArrayRef& x, const ArrayRef& weight, const OptionalArray& bias, const std::string& activation) {
  if (weight->dims != 2 || x->dims == 0)
    fail("linear: expected input (..., in) and weight (out, in), got shapes " + shape_string(*x) + " and " +
         shape_string(*weight));
  if (x->shape[x->dims - 1] != weight->shape[1])
    fail("linear: expected " + std::to_string(weight->shape[1]) + " input features, got " +
         std::to_string(x->shape[x->dims - 1]) + " (input shape " + shape_string(*x) + ")");
  ArrayRef y = gemm(x->dims == 1 ? rows_of(x) : x, weight, bias, activation, {}, false, false, true, "linear");
  if (x->dims == 1) set_shape(*y, weight->shape, 1);
  return y;
}

// The gradients of input, weight and bias, as far as they are wanted. `x` may be null where that of the weight is not,
// `output` where there is no activation.
py::tuple backward(const ArrayRef& grad, const OptionalArray& x, const ArrayRef& weight, const OptionalArray& output,
                   const std::string& activation, bool wants_x, bool wants_weight, bool wants_bias) {
  if (wants_weight && !x) fail("linear_backward: the gradient of the weight needs the input");
  const ArrayRef dy = output ? activation_backward(grad, output, activation) : grad;
  const ArrayRef rows = rows_of(dy);
  ArrayRef dx, dw, db;
  if (wants_x) {
    dx = gemm(rows, weight, {}, "none", {}, false, false, false, "linear");
    if (dy->dims != 2) {
      int64_t shape[kMaxDims];
      for (int i = 0; i + 1 < dy->dims; i++) shape[i] = dy->shape[i];
      shape[dy->dims - 1] = weight->shape[1];
      set_shape(*dx, shape, dy->dims);
    }
  }
  if (wants_weight && weight->strides[0] == 1) {  // it lies (in, out) in memory, and so does its gradient
    dw = gemm(rows_of(x), rows, {}, "none", {}, false, true, false, "linear");
    std::swap(dw->shape[0], dw->shape[1]);
    std::swap(dw->strides[0], dw->strides[1]);
    update_contiguous(*dw);
  } else if (wants_weight) {
    dw = gemm(rows, rows_of(x), {}, "none", {}, false, true, false, "linear");
  }
  if (wants_bias) db = sum(rows, 0);
  return py::make_tuple(dx, dw, db);
}

}  // namespace

void bind_linear(py::module_& m) {
  define<forward>(m, "linear",
                  "(input: pynn._core.Array, weight: pynn._core.Array, bias: pynn._core.Array | None, activation: str) "
                  "-> pynn._core.Array");
  define<backward>(m, "linear_backward",
                   "(grad: pynn._core.Array, input: pynn._core.Array | None, weight: pynn._core.Array, "
                   "output: pynn._core.Array | None, activation: str, wants_input: bool, wants_weight: bool, "
                   "wants_bias: bool) -> tuple");
}

}  // namespace pynn
