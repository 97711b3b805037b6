// Functions that CPython calls without pybind11, whose way of finding one among overloads costs 0.1 us a call.
#pragma once
#include <string>
#include <type_traits>
#include <utility>

#include "bindings/array.h"

namespace pynn {

template <class F>
PyCFunction as_method(F* function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

template <auto function>
struct PositionalCall;

template <class Result, class... Parameters, Result (*function)(Parameters...)>
struct PositionalCall<function> {
  static inline std::string name, document;

  static PyObject* call(PyObject*, PyObject* const* args, Py_ssize_t count) {
    return guarded([&] {
      if (count != Py_ssize_t(sizeof...(Parameters)))
        fail_type(name + ": expected " + std::to_string(sizeof...(Parameters)) + " arguments by position, got " +
                  std::to_string(count));
      return call_on(args, std::index_sequence_for<Parameters...>());
    });
  }

 private:
  template <size_t... places>
  static py::object call_on(PyObject* const* args, std::index_sequence<places...>) {
    return py::reinterpret_steal<py::object>(
        py::detail::make_caster<Result>::cast(function(from_python<std::decay_t<Parameters>>(args[places], places)...),
                                              py::return_value_policy::move, py::handle()));
  }

  template <class T>
  static T from_python(PyObject* argument, size_t place) {
    py::detail::make_caster<T> caster;
    if (!caster.load(argument, true))
      fail_type(name + ": expected " + parameter(place) + ", got " + Py_TYPE(argument)->tp_name);
    return py::detail::cast_op<T&&>(std::move(caster));
  }

  // "activation: str"
  static std::string parameter(size_t place) {
    size_t begin = document.find('(') + 1;
    while (place--) begin = document.find(", ", begin) + 2;
    return document.substr(begin, document.find_first_of(",)", begin) - begin);
  }
};

// m.name(...), all its arguments by position. `signature` is what the stubs say: "(x: pynn._core.Array) -> bool", and
// perhaps a text below.
template <auto function>
void define(py::module_& m, const char* name, const char* signature) {
  using Call = PositionalCall<function>;
  static PyMethodDef methods[] = {{nullptr, as_method(Call::call), METH_FASTCALL, nullptr}, {}};
  Call::name = name;
  Call::document = name + std::string(signature);
  methods[0].ml_name = Call::name.c_str();
  methods[0].ml_doc = Call::document.c_str();
  if (PyModule_AddFunctions(m.ptr(), methods)) throw py::error_already_set();
}

}  // namespace pynn
