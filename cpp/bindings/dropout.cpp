// Dropout of arrays of any layout; the mask lies as the input does.
#include "ops/dropout.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

constexpr double kDrawCost = 0.45, kApplyCost = 0.15;  // ns an element

double scale_of(double p) { return p < 1 ? 1 / (1 - p) : 0; }

// Bytes in the shape and strides of a dense array.
ArrayRef new_mask(const Array& like) {
  const ArrayRef mask = new_array(DType::uint8, like.shape, like.dims);
  std::copy(like.strides, like.strides + like.dims, mask->strides);
  update_contiguous(*mask);
  return mask;
}

std::pair<ArrayRef, ArrayRef> drop(const ArrayRef& given, double p, const ArrayRef& state) {
  check_float(*given, "dropout", "input");
  if (!(p >= 0 && p <= 1)) fail("dropout: expected a probability in [0, 1] as p, got " + std::to_string(p));
  const ArrayRef x = is_dense(*given) ? given : contiguous(given);
  const ArrayRef y = new_like_strided(*x), mask = new_mask(*y);
  Dropout params{x->dtype, x->size, p, scale_of(p), x->data, random_state(state, "dropout"), mask->as<uint8_t>(),
                 y->data};
  run(kernels().dropout.forward, params, kDrawCost * double(x->size));
  return {y, mask};
}

ArrayRef drop_backward(const ArrayRef& given, const ArrayRef& mask, double p) {
  check_float(*given, "dropout_backward", "grad");
  check_same_shape(*given, *mask, "dropout_backward", "grad and mask");
  if (mask->dtype != DType::uint8 || !is_dense(*mask)) fail("dropout_backward: expected a dense mask of uint8");
  const ArrayRef dx = new_array(given->dtype, mask->shape, mask->dims);
  std::copy(mask->strides, mask->strides + mask->dims, dx->strides);
  update_contiguous(*dx);
  ArrayRef dy = given;
  if (!same_layout(*dy, *mask)) {
    copy_into(*given, *dx);  // dy in the mask's order of axes; the kernel then works in place
    dy = dx;
  }
  DropoutBackward params{dy->dtype, dy->size, scale_of(p), dy->data, mask->as<uint8_t>(), dx->data};
  run(kernels().dropout.backward, params, kApplyCost * double(dx->size));
  return dx;
}

}  // namespace

void bind_dropout(py::module_& m) {
  m.def("dropout", drop, "The output, and the mask that the gradient needs.");
  m.def("dropout_backward", drop_backward);
}

}  // namespace pynn
