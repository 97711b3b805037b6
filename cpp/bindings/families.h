// What each binding file offers to module.cpp, and the functions one family lends another.
#pragma once
#include "bindings/array.h"
#include "ops/activation.h"

namespace pynn {

void bind_activation(py::module_& m);
void bind_array(py::module_& m);
void bind_conv2d(py::module_& m);
void bind_dlpack(py::module_& m);
void bind_dropout(py::module_& m);
void bind_elementwise(py::module_& m);
void bind_gather(py::module_& m);
void bind_gemm(py::module_& m);
void bind_linear(py::module_& m);
void bind_loss(py::module_& m);
void bind_optimizer(py::module_& m);
void bind_peak(py::module_& m);
void bind_pool2d(py::module_& m);
void bind_program(py::module_& m);
void bind_random(py::module_& m);
void bind_reduce(py::module_& m);
void bind_runtime(py::module_& m);
void bind_softmax(py::module_& m);
void bind_tape(py::module_& m);
void bind_tensor(py::module_& m);
void bind_views(py::module_& m);

Activation activation_kind(const std::string& name);
Activation epilogue_kind(const std::string& name, const std::string& op);  // of what an op does last; may be "none"
ArrayRef activation_backward(const ArrayRef& grad, const ArrayRef& output, const std::string& kind);
ArrayRef add(const ArrayRef& a, const ArrayRef& b);
void add_in_place(const ArrayRef& y, const ArrayRef& x);
ArrayRef own_array(py::handle object);  // an Array, or that of a tensor; null for anything else
ArrayRef as_array(py::handle object);   // the same, or that of what pynn.as_tensor makes of anything else
ArrayRef full_like(const ArrayRef& like, const py::object& value);
ArrayRef gemm(const ArrayRef& a, const ArrayRef& b, const OptionalArray& bias, const std::string& activation,
              const OptionalArray& out, bool accumulate, bool transpose_a, bool transpose_b, const std::string& op);
int64_t* random_state(const ArrayRef& state, const char* op);  // checked, and about to be changed
ArrayRef sum(const ArrayRef& x, int axis);

}  // namespace pynn
