// sigmoid, tanh, relu.
#include "ops/activation.h"

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

constexpr double kCost = 0.2;  // ns an element

ArrayRef forward(const ArrayRef& given, Activation kind) {
  check_float(*given, "activation", "input");
  // A dense array of any order of axes is one run of memory; the output takes its order.
  const ArrayRef x = is_dense(*given) ? given : contiguous(given);
  ArrayRef y = new_like_strided(*x);
  ActivationForward params{kind, x->dtype, x->size, x->data, y->data};
  run(kernels().activation.forward, params, kCost * double(x->size));
  return y;
}

ArrayRef backward(const ArrayRef& given, const ArrayRef& output, Activation kind) {
  check_float(*given, "activation_backward", "grad");
  check_same_dtype(*given, *output, "activation_backward", "grad and output");
  check_same_shape(*given, *output, "activation_backward", "grad and output");
  const ArrayRef y = is_dense(*output) ? output : contiguous(output);
  ArrayRef dx = new_like_strided(*y);
  ArrayRef dy = given;
  if (!same_layout(*dy, *y)) {
    copy_into(*given, *dx);  // dy in y's order of axes; the kernel then works in place
    dy = dx;
  }
  ActivationBackward params{kind, y->dtype, y->size, dy->data, y->data, dx->data};
  run(kernels().activation.backward, params, kCost * double(y->size));
  return dx;
}

// none where there is no such activation
Activation find_kind(const std::string& name) {
  if (name == "sigmoid") return Activation::sigmoid;
  if (name == "tanh") return Activation::tanh;
  if (name == "relu") return Activation::relu;
  return Activation::none;
}

}  // namespace

Activation activation_kind(const std::string& name) {
  const Activation kind = find_kind(name);
  if (kind == Activation::none) fail("activation: expected 'sigmoid', 'tanh' or 'relu', got '" + name + "'");
  return kind;
}

Activation epilogue_kind(const std::string& name, const std::string& op) {
  const Activation kind = find_kind(name);
  if (kind == Activation::none && name != "none")
    fail(op + ": expected activation 'none', 'sigmoid', 'tanh' or 'relu', got '" + name + "'");
  return kind;
}

ArrayRef activation_backward(const ArrayRef& grad, const ArrayRef& output, const std::string& kind) {
  return backward(grad, output, activation_kind(kind));
}

void bind_activation(py::module_& m) {
  m.def("activation", [](const ArrayRef& x, const std::string& kind) { return forward(x, activation_kind(kind)); });
  m.def("activation_backward", activation_backward);
}

}  // namespace pynn
