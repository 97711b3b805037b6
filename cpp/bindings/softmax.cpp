// softmax and log_softmax along any axis.
#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

constexpr double kRowCost = 10, kElementCost = 0.5;  // ns

const char* forward_name(SoftmaxKind kind) { return kind == SoftmaxKind::softmax ? "softmax" : "log_softmax"; }
const char* backward_name(SoftmaxKind kind) {
  return kind == SoftmaxKind::softmax ? "softmax_backward" : "log_softmax_backward";
}

int64_t last_size(const Array& a) { return a.dims ? a.shape[a.dims - 1] : 1; }
int64_t row_count(const Array& a) { return a.size ? a.size / last_size(a) : 0; }
double cost(const Array& a) { return kRowCost * double(row_count(a)) + kElementCost * double(a.size); }

template <SoftmaxKind kind>
ArrayRef forward(const ArrayRef& input, int64_t dim) {
  const char* name = forward_name(kind);
  check_float(*input, name, "input");
  const int axis = normalize_axis(dim, input->dims, name), last = input->dims ? input->dims - 1 : 0;
  const ArrayRef x = contiguous(move_axis(input, axis, last));
  ArrayRef y = new_like(*x);
  SoftmaxForward params{kind, x->dtype, row_count(*x), last_size(*x), x->data, y->data};
  run(kernels().softmax.forward, params, cost(*x));
  return move_axis(y, last, axis);
}

template <SoftmaxKind kind>
ArrayRef backward(const ArrayRef& grad, const ArrayRef& output, int64_t dim) {
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
  m.def("softmax", forward<SoftmaxKind::softmax>);
  m.def("softmax_backward", backward<SoftmaxKind::softmax>);
  m.def("log_softmax", forward<SoftmaxKind::log_softmax>);
  m.def("log_softmax_backward", backward<SoftmaxKind::log_softmax>);
}

}  // namespace pynn
