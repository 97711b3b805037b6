// The Tensor: an array, its place on the tape, and its gradient. The Python class adds the methods.
#include "bindings/tensor.h"

#include <structmember.h>

#include <utility>

#include "bindings/families.h"

namespace pynn {

PyTypeObject *tensor_base = nullptr, *tensor_class = nullptr;

namespace {

PyObject* as_tensor = nullptr;  // pynn.as_tensor

int traverse_tensor(PyObject* o, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(o));
  Py_VISIT(tensor_of(o)->node);
  Py_VISIT(tensor_of(o)->grad);
  return 0;
}

int clear_tensor(PyObject* o) {
  Py_CLEAR(tensor_of(o)->array);
  Py_CLEAR(tensor_of(o)->node);
  Py_CLEAR(tensor_of(o)->grad);
  return 0;
}

void dealloc_tensor(PyObject* o) {
  PyTypeObject* type = Py_TYPE(o);
  PyObject_GC_UnTrack(o);
  clear_tensor(o);
  type->tp_free(o);
  Py_DECREF(type);
}

PyMemberDef tensor_members[] = {{"_node", T_OBJECT, offsetof(Tensor, node), READONLY, nullptr},
                                {nullptr, 0, 0, 0, nullptr}};

// Fields whose use a recording sees.
PyObject* get_field(PyObject* o, PyObject* Tensor::*field, bool grad) {
  return guarded([&] {
    touch(o, grad);
    PyObject* value = tensor_of(o)->*field;
    return py::reinterpret_borrow<py::object>(value ? value : Py_None);
  });
}
int set_field(PyObject* o, PyObject* value, PyObject* Tensor::*field, bool grad) {
  const PyObject* done = guarded([&] {
    touch(o, grad);
    PyObject* before = std::exchange(tensor_of(o)->*field, value ? own(value) : nullptr);
    Py_XDECREF(before);
    return py::none();
  });
  Py_XDECREF(done);
  return done ? 0 : -1;
}
PyObject* get_array(PyObject* o, void*) { return get_field(o, &Tensor::array, false); }
int set_array(PyObject* o, PyObject* value, void*) { return set_field(o, value, &Tensor::array, false); }
PyObject* get_grad(PyObject* o, void*) { return get_field(o, &Tensor::grad, true); }
int set_grad(PyObject* o, PyObject* value, void*) { return set_field(o, value, &Tensor::grad, true); }

PyObject* get_requires_grad(PyObject* o, void*) { return PyBool_FromLong(tensor_of(o)->requires_grad); }
int set_requires_grad(PyObject* o, PyObject* mode, void*) {
  const int wanted = mode ? PyObject_IsTrue(mode) : 0;
  if (wanted < 0) return -1;
  Tensor* t = tensor_of(o);
  const Array* array = reinterpret_cast<Array*>(t->array);
  if (!wanted && t->node) {
    PyErr_SetString(PyExc_RuntimeError, "requires_grad can only be switched off on a leaf; use detach()");
    return -1;
  }
  if (wanted && array && !is_float(array->dtype)) {
    PyErr_Format(PyExc_RuntimeError, "only float tensors can require grad, got %s", dtype_name(array->dtype));
    return -1;
  }
  const PyObject* done = guarded([&] {
    touch(o);
    t->requires_grad = char(wanted);
    return py::none();
  });
  Py_XDECREF(done);
  return done ? 0 : -1;
}

PyObject* memory_of(PyObject* tensor) {
  PyObject* array = tensor_of(tensor)->array;
  if (!array) fail_type("a tensor without memory");
  return array;
}

// What ops ask of every tensor: properties written in Python took twice as long.
template <class F>
PyObject* of_array(PyObject* o, const F& f) {
  return guarded([&] { return f(*reinterpret_cast<const Array*>(memory_of(o))); });
}
PyObject* get_shape(PyObject* o, void*) { return of_array(o, shape_tuple); }
PyObject* get_dtype(PyObject* o, void*) {
  return of_array(o, [](const Array& a) { return dtype_object(a.dtype); });
}
PyObject* get_ndim(PyObject* o, void*) {
  return of_array(o, [](const Array& a) { return py::int_(a.dims); });
}

PyGetSetDef tensor_getters[] = {{"_array", get_array, set_array, nullptr, nullptr},
                                {"grad", get_grad, set_grad, nullptr, nullptr},
                                {"requires_grad", get_requires_grad, set_requires_grad, nullptr, nullptr},
                                {"shape", get_shape, nullptr, nullptr, nullptr},
                                {"dtype", get_dtype, nullptr, nullptr, nullptr},
                                {"ndim", get_ndim, nullptr, nullptr, nullptr},
                                {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyType_Slot tensor_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(dealloc_tensor)},
                              {Py_tp_traverse, reinterpret_cast<void*>(traverse_tensor)},
                              {Py_tp_clear, reinterpret_cast<void*>(clear_tensor)},
                              {Py_tp_members, tensor_members},
                              {Py_tp_getset, tensor_getters},
                              {Py_tp_doc, const_cast<char*>("What every Tensor holds.")},
                              {0, nullptr}};
PyType_Spec tensor_spec = {"pynn._core.TensorBase", sizeof(Tensor), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, tensor_slots};

PyObject* py_wrap_tensor(PyObject*, PyObject* array) {
  return guarded([&] {
    check_array(array, "wrap_tensor");
    return new_tensor(array);
  });
}

// f(i, tensor) for each of a tuple.
template <class F>
void for_tensors(PyObject* tensors, const char* function, const F& f) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tensors); i++) {
    PyObject* tensor = PyTuple_GET_ITEM(tensors, i);
    if (!is_tensor(tensor)) fail_type(std::string(function) + ": expected tensors");
    f(i, *tensor_of(tensor));
  }
}

PyObject* py_are_unchanged(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&] {
    if (count != 3 || !PyTuple_Check(args[0]) || !PyTuple_Check(args[1]) || !PyBytes_Check(args[2]) ||
        PyTuple_GET_SIZE(args[0]) != PyTuple_GET_SIZE(args[1]) ||
        PyTuple_GET_SIZE(args[0]) != PyBytes_GET_SIZE(args[2]))
      fail_type("are_unchanged: expected a tuple of tensors, one of as many arrays and as many bytes");
    bool same = true;
    for_tensors(args[0], "are_unchanged", [&](Py_ssize_t i, const Tensor& tensor) {
      same &= tensor.array == PyTuple_GET_ITEM(args[1], i) && tensor.requires_grad == PyBytes_AS_STRING(args[2])[i];
    });
    return py::bool_(same);
  });
}

PyObject* py_gradients_are(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&] {
    if (count != 2 || !PyTuple_Check(args[0]) || !PyTuple_Check(args[1]) ||
        PyTuple_GET_SIZE(args[0]) != PyTuple_GET_SIZE(args[1]))
      fail_type("gradients_are: expected a tuple of tensors and one of as many gradients");
    bool same = true;
    for_tensors(args[0], "gradients_are", [&](Py_ssize_t i, const Tensor& tensor) {
      same &= (tensor.grad ? tensor.grad : Py_None) == PyTuple_GET_ITEM(args[1], i);
    });
    return py::bool_(same);
  });
}

PyObject* py_set_gradients(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> py::object {
    if (count != 2 || !PyTuple_Check(args[0]) ||
        !(args[1] == Py_None || (PyList_Check(args[1]) && PyList_GET_SIZE(args[1]) >= PyTuple_GET_SIZE(args[0]))))
      fail_type("set_gradients: expected a tuple of tensors, and None or a list of at least as many arrays");
    const Py_ssize_t first = args[1] == Py_None ? 0 : PyList_GET_SIZE(args[1]) - PyTuple_GET_SIZE(args[0]);
    for_tensors(args[0], "set_gradients", [&](Py_ssize_t i, Tensor& tensor) {
      PyObject* gradient = nullptr;
      if (args[1] != Py_None) {
        check_array(PyList_GET_ITEM(args[1], first + i), "set_gradients");
        gradient = new_tensor(PyList_GET_ITEM(args[1], first + i)).release().ptr();
      }
      Py_XDECREF(std::exchange(tensor.grad, gradient));
    });
    return py::none();
  });
}

// Whether the container, a list or a dictionary, holds the same objects under the same keys in the same order as its
// copy; Ellipsis stands for any object.
bool holds(PyObject* container, PyObject* copy) {
  const auto same = [](PyObject* value, PyObject* expected) { return value == expected || expected == Py_Ellipsis; };
  if (PyList_Check(container) && PyList_Check(copy)) {
    if (PyList_GET_SIZE(container) != PyList_GET_SIZE(copy)) return false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(copy); i++)
      if (!same(PyList_GET_ITEM(container, i), PyList_GET_ITEM(copy, i))) return false;
    return true;
  }
  if (!PyDict_Check(container) || !PyDict_Check(copy))
    fail_type("hold: expected lists or dictionaries and their copies");
  if (PyDict_GET_SIZE(container) != PyDict_GET_SIZE(copy)) return false;
  Py_ssize_t here = 0, there = 0;
  PyObject *key, *value, *expected_key, *expected;
  while (PyDict_Next(container, &here, &key, &value) && PyDict_Next(copy, &there, &expected_key, &expected)) {
    if (!same(value, expected)) return false;
    if (key == expected_key) continue;
    if (!PyUnicode_Check(key) || !PyUnicode_Check(expected_key) || PyUnicode_Compare(key, expected_key)) return false;
  }
  return true;
}

PyObject* py_hold(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&] {
    if (count != 2 || !PyTuple_Check(args[0]) || !PyTuple_Check(args[1]) ||
        PyTuple_GET_SIZE(args[0]) != PyTuple_GET_SIZE(args[1]))
      fail_type("hold: expected a tuple of containers and one of as many copies");
    bool same = true;
    for (Py_ssize_t i = 0; same && i < PyTuple_GET_SIZE(args[0]); i++)
      same = holds(PyTuple_GET_ITEM(args[0], i), PyTuple_GET_ITEM(args[1], i));
    return py::bool_(same);
  });
}

PyMethodDef tensor_methods[] = {
    {"wrap_tensor", as_method(py_wrap_tensor), METH_O,
     "wrap_tensor($module, array, /)\n--\n\nA tensor on `array` itself, outside the tape."},
    {"are_unchanged", as_method(py_are_unchanged), METH_FASTCALL,
     "are_unchanged($module, tensors, arrays, requires_grad, /)\n--\n\nWhether each tensor holds the array given and "
     "requires grad as the byte says."},
    {"gradients_are", as_method(py_gradients_are), METH_FASTCALL,
     "gradients_are($module, tensors, gradients, /)\n--\n\nWhether the .grad of each tensor is the object given."},
    {"set_gradients", as_method(py_set_gradients), METH_FASTCALL,
     "set_gradients($module, tensors, arrays, /)\n--\n\nThe last of `arrays` as .grad of the tensors; None clears it."},
    {"hold", as_method(py_hold), METH_FASTCALL,
     "hold($module, containers, copies, /)\n--\n\nWhether each container, a list or a dictionary, holds the same "
     "objects "
     "in the same order as its copy; Ellipsis stands for any object."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

ArrayRef array_of(PyObject* tensor) {
  touch(tensor);
  return argument(memory_of(tensor));
}

ArrayRef own_array(py::handle object) {
  if (is_tensor(object.ptr())) return array_of(object.ptr());
  return Py_TYPE(object.ptr()) == array_type ? argument(object) : ArrayRef();
}

ArrayRef as_array(py::handle object) {
  if (ArrayRef array = own_array(object)) return array;
  const py::object tensor = py::reinterpret_steal<py::object>(PyObject_CallOneArg(as_tensor, object.ptr()));
  if (!tensor) throw py::error_already_set();
  return array_of(tensor.ptr());
}

void bind_tensor(py::module_& m) {
  tensor_base = make_type(m, tensor_spec, "TensorBase");
  if (PyModule_AddFunctions(m.ptr(), tensor_methods)) throw py::error_already_set();
  m.def(
      "use_tensor_class",
      [](const py::type& type, const py::object& convert) {
        if (!PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(type.ptr()), tensor_base))
          fail_type("use_tensor_class: expected a subclass of TensorBase");
        tensor_class = reinterpret_cast<PyTypeObject*>(type.inc_ref().ptr());
        as_tensor = convert.inc_ref().ptr();
      },
      py::arg("tensor"), py::arg("as_tensor"),
      "The class of the tensors that `record` and `wrap_tensor` make, and what makes them of other objects.");
}

}  // namespace pynn
