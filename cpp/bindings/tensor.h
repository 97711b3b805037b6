// The Tensor as the tape sees it. Inline is what every op calls.
#pragma once
#include <string>

#include "bindings/call.h"

namespace pynn {

// What the Python class Tensor adds its methods to.
struct Tensor {
  PyObject_HEAD PyObject* array;
  PyObject* node;  // null for a leaf
  PyObject* grad;  // null is None
  char requires_grad;
};

extern PyTypeObject *tensor_base, *tensor_class;  // the latter is the Python class

inline Tensor* tensor_of(PyObject* o) { return reinterpret_cast<Tensor*>(o); }
inline bool is_tensor(PyObject* o) { return Py_TYPE(o) == tensor_class || PyObject_TypeCheck(o, tensor_base); }

inline PyObject* own(PyObject* o) {
  Py_INCREF(o);
  return o;
}

inline py::object new_tensor(PyObject* array) {
  PyObject* o = tensor_class->tp_alloc(tensor_class, 0);
  if (!o) throw py::error_already_set();
  tensor_of(o)->array = own(array);
  return py::reinterpret_steal<py::object>(o);
}

inline void check_array(PyObject* o, const char* function) {
  if (Py_TYPE(o) != array_type) fail_type(std::string(function) + ": expected an Array, got " + Py_TYPE(o)->tp_name);
}

ArrayRef array_of(PyObject* tensor);  // as an argument of a kernel

// A recording takes note of the tensors of outside that are used, as they are when that first happens, and whether
// their .grad is.
void touch_recorded(PyObject* tensor, bool grad);
inline void touch(PyObject* tensor, bool grad = false) {
  if (recording()) [[unlikely]]
    touch_recorded(tensor, grad);
}

}  // namespace pynn
