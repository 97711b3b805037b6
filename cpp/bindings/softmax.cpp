// softmax and log_softmax along any axis.
#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

constexpr double kRowCost = 10, kElementCost = 0.5;  // ns, as in the kernel

SoftmaxKind softmax_kind(const std::string& name) {
  if (name == "softmax") return SoftmaxKind::softmax;
  if (name == "log_softmax") return SoftmaxKind::log_softmax;
  fail("softmax: expected 'softmax' or 'log_softmax', got '" + name + "'");
}

const char* backward_name(SoftmaxKind kind) {
  return kind == SoftmaxKind::softmax ? "softmax_backward" : "log_softmax_backward";
}

int64_t last_size(const Array& a) { return a.dims ? a.shape[a.dims - 1] : 1; }
int64_t row_count(const Array& a) { return a.size ? a.size / last_size(a) : 0; }
double cost(const Array& a) { return kRowCost * double(row_count(a)) + kElementCost * double(a.size); }

ArrayRef forward(const ArrayRef& input, int64_t dim, const std::string& kind_name) {
  const SoftmaxKind kind = softmax_kind(kind_name);
  check_float(*input, kind_name.c_str(), "input");
  const int axis = normalize_axis(dim, input->dims, kind_name.c_str()), last = input->dims ? input->dims - 1 : 0;
  const ArrayRef x = contiguous(move_axis(input, axis, last));
  ArrayRef y = new_like(*x);
  SoftmaxForward params{kind, x->dtype, row_count(*x), last_size(*x), x->data, y->data};
  run(kernels().softmax.forward, params, cost(*x));
  return move_axis(y, last, axis);
}

ArrayRef backward(const ArrayRef& grad, const ArrayRef& output, int64_t dim, const std::string& kind_name) {
  const SoftmaxKind kind = softmax_kind(kind_name);
  const char* name = backward_name(kind);
  check_float(*grad, name, "grad");
  check_same_dtype(*grad, *output, name, "grad and output");
  check_same_shape(*grad, *output, name, "grad and output");
  const int axis = normalize_axis(dim, output->dims, name), last = output->dims ? output->dims - 1 : 0;
  const ArrayRef dy = contiguous(move_axis(grad, axis, last)), y = contiguous(move_axis(output, axis, last));
  ArrayRef dx = new_like(*y);
  SoftmaxBackward params{kind, y->dtype, row_count(*y), last_size(*y), dy->data, y->data, dx->data};
  run(kernels().softmax.backward, params, cost(*y));
  return move_axis(dx, last, axis);
}

}  // namespace

void bind_softmax(py::module_& m) {
  m.def("softmax", forward);
  m.def("softmax_backward", backward);
}

}  // namespace pynn
