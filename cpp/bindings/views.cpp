// Views, copies and fills of arrays: what the tensor methods without arithmetic need.
#include <pybind11/stl.h>

#include <vector>

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

constexpr double kCopyCost = 0.3;   // ns an element, strided on one side
constexpr double kFillCost = 0.02;  // ns a byte

using Shape = std::vector<int64_t>;

void check_dims(const Shape& shape) {
  if (shape.size() > size_t(kMaxDims)) fail("expected at most 8 dimensions, got " + std::to_string(shape.size()));
}

// A view may say more elements than memory holds, so its size is checked where it is made.
void check_size(const Shape& shape, const char* op) {
  int64_t size = 1;
  for (int64_t n : shape)
    if (__builtin_mul_overflow(size, n > 1 ? n : 1, &size))
      fail(std::string(op) + ": " + shape_string(shape.data(), int(shape.size())) + " overflows");
}

ArrayRef reshape(const ArrayRef& a, Shape shape) {
  check_dims(shape);
  int64_t known = 1;
  int unknown = -1;
  for (int i = 0; i < int(shape.size()); i++) {
    if (shape[i] == -1 && unknown < 0) {
      unknown = i;
    } else if (shape[i] < 0) {
      fail("reshape: expected sizes >= 0 and at most one -1, got " + shape_string(shape.data(), int(shape.size())));
    } else if (__builtin_mul_overflow(known, shape[i], &known)) {
      fail("reshape: " + shape_string(shape.data(), int(shape.size())) + " overflows");
    }
  }
  check_size(shape, "reshape");
  if (unknown >= 0 && known) shape[unknown] = a->size / known;
  if (unknown >= 0 && !known) fail("reshape: -1 is ambiguous beside a size of 0");
  if ((unknown >= 0 ? known * shape[unknown] : known) != a->size)
    fail("reshape: " + std::to_string(a->size) + " elements of shape " + shape_string(*a) + " do not fit " +
         shape_string(shape.data(), int(shape.size())));
  ArrayRef out = view(*contiguous(a));
  set_shape(*out, shape.data(), int(shape.size()));
  return out;
}

ArrayRef permute(const ArrayRef& a, const Shape& axes) {
  if (int(axes.size()) != a->dims)
    fail("permute: expected " + std::to_string(a->dims) + " axes, got " + std::to_string(axes.size()));
  ArrayRef out = view(*a);
  bool used[kMaxDims] = {};
  for (int i = 0; i < a->dims; i++) {
    const int axis = normalize_axis(axes[i], a->dims, "permute");
    if (used[axis]) fail("permute: axis " + std::to_string(axis) + " appears twice");
    used[axis] = true;
    out->shape[i] = a->shape[axis];
    out->strides[i] = a->strides[axis];
  }
  update_contiguous(*out);
  return out;
}

ArrayRef expand(const ArrayRef& a, Shape shape) {
  check_dims(shape);
  const int extra = int(shape.size()) - a->dims;
  ArrayRef out = view(*a);
  for (int i = int(shape.size()); i--;) {
    const int64_t have = i < extra ? 1 : a->shape[i - extra];
    const int64_t want = shape[i] == -1 && i >= extra ? have : shape[i];
    if (extra < 0 || want < 0 || (have != 1 && have != want))
      fail("expand: shape " + shape_string(*a) + " does not broadcast to " +
           shape_string(shape.data(), int(shape.size())));
    out->shape[i] = want;
    out->strides[i] = have == 1 ? 0 : a->strides[i - extra];
  }
  if (extra < 0) fail("expand: shape " + shape_string(*a) + " has more dimensions than the wanted shape");
  check_size(Shape(out->shape, out->shape + shape.size()), "expand");
  out->dims = int8_t(shape.size());
  update_contiguous(*out);
  return out;
}

// Basic indexing: integers, slices, None and one Ellipsis.
ArrayRef index(const ArrayRef& a, const py::object& key) {
  const py::tuple keys = py::isinstance<py::tuple>(key) ? py::tuple(key) : py::make_tuple(key);
  int consumed = 0, ellipses = 0;
  for (py::handle k : keys) {
    if (k.ptr() == Py_Ellipsis)
      ellipses++;
    else if (!k.is_none())
      consumed++;
  }
  if (consumed > a->dims || ellipses > 1) {
    PyErr_Format(PyExc_IndexError, "%d indices for an array of %d dimensions, shape %s", consumed, int(a->dims),
                 shape_string(*a).c_str());
    throw py::error_already_set();
  }
  ArrayRef out = view(*a);
  int dims = 0, axis = 0;
  auto keep = [&](int64_t size, int64_t stride) {
    if (dims == kMaxDims) fail("an index would give more than 8 dimensions");
    out->shape[dims] = size;
    out->strides[dims++] = stride;
  };
  int64_t offset = 0;
  for (py::handle k : keys) {
    if (k.ptr() == Py_Ellipsis) {
      for (int n = a->dims - consumed; n--; axis++) keep(a->shape[axis], a->strides[axis]);
    } else if (k.is_none()) {
      keep(1, 0);
    } else if (PySlice_Check(k.ptr())) {
      Py_ssize_t start, stop, step;
      if (PySlice_Unpack(k.ptr(), &start, &stop, &step)) throw py::error_already_set();
      const Py_ssize_t n = PySlice_AdjustIndices(a->shape[axis], &start, &stop, step);
      if (n) offset += start * a->strides[axis];
      keep(n, n > 1 ? a->strides[axis] * step : a->strides[axis]);
      axis++;
    } else if (PyIndex_Check(k.ptr()) && !PyBool_Check(k.ptr())) {
      Py_ssize_t i = PyNumber_AsSsize_t(k.ptr(), PyExc_IndexError);
      if (i == -1 && PyErr_Occurred()) throw py::error_already_set();
      if (i < -a->shape[axis] || i >= a->shape[axis]) {
        PyErr_Format(PyExc_IndexError, "index %zd is out of range for axis %d of size %lld", i, axis,
                     static_cast<long long>(a->shape[axis]));
        throw py::error_already_set();
      }
      offset += (i < 0 ? i + a->shape[axis] : i) * a->strides[axis];
      axis++;
    } else {
      fail_type(std::string("expected integers, slices, None or ... as index, got ") + Py_TYPE(k.ptr())->tp_name);
    }
  }
  for (; axis < a->dims; axis++) keep(a->shape[axis], a->strides[axis]);
  out->dims = int8_t(dims);
  out->data += offset * int64_t(item_size(a->dtype));
  update_contiguous(*out);
  return out;
}

py::object item(const ArrayRef& a) {
  check_host_access("item() of an array");
  if (a->size != 1) fail("item: expected one element, got shape " + shape_string(*a));
  switch (a->dtype) {
    case DType::float32: return py::float_(*a->as<float>());
    case DType::float64: return py::float_(*a->as<double>());
    case DType::int64: return py::int_(*a->as<int64_t>());
    case DType::int32: return py::int_(*a->as<int32_t>());
    case DType::uint8: return py::int_(*a->as<uint8_t>());
    case DType::boolean: return py::bool_(*a->as<uint8_t>() != 0);  // foreign memory may hold any byte
  }
  throw std::logic_error("item: unknown dtype");
}

[[noreturn]] void fail_value(const py::object& value, DType dtype) {
  PyErr_Clear();
  fail(std::string("fill: ") + py::repr(value).cast<std::string>() + " does not fit " + dtype_name(dtype));
}

// A Python float is truncated, as a conversion would; what the dtype cannot hold is an error.
template <class T>
uint64_t integer_bytes(const py::object& value, DType dtype) {
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Long(value.ptr()));
  if (!number) fail_value(value, dtype);
  const long long wide = PyLong_AsLongLong(number.ptr());
  if ((wide == -1 && PyErr_Occurred()) || wide != static_cast<long long>(static_cast<T>(wide)))
    fail_value(value, dtype);
  return as_bytes(static_cast<T>(wide));
}

// The element's bytes of a Python number.
uint64_t number_bytes(const py::object& value, DType dtype) {
  if (!PyNumber_Check(value.ptr()))
    fail_type(std::string("fill: expected a number, got ") + Py_TYPE(value.ptr())->tp_name);
  switch (dtype) {
    case DType::int64: return integer_bytes<int64_t>(value, dtype);
    case DType::int32: return integer_bytes<int32_t>(value, dtype);
    case DType::uint8: return integer_bytes<uint8_t>(value, dtype);
    case DType::boolean: {
      const int truth = PyObject_IsTrue(value.ptr());
      if (truth < 0) throw py::error_already_set();
      return as_bytes(truth == 1);
    }
    default: break;
  }
  const double number = PyFloat_AsDouble(value.ptr());
  if (number == -1 && PyErr_Occurred()) fail_value(value, dtype);
  return dtype == DType::float32 ? as_bytes(static_cast<float>(number)) : as_bytes(number);
}

void fill_in_place(Array& a, const py::object& value) {
  const uint64_t bytes = number_bytes(value, a.dtype);
  if (is_dense(a)) {
    Fill params{a.dtype, a.size, bytes, a.data};
    run(kernels().copy.fill, params, kFillCost * double(a.bytes()));
  } else {
    ArrayRef one = new_array(a.dtype, {});
    Fill params{a.dtype, 1, bytes, one->data};
    run(kernels().copy.fill, params, 0);
    copy_into(*one, a);
  }
}

void copy_in_place(const ArrayRef& to, const ArrayRef& from) {
  check_one_place_each(*to, "copy_");
  mark_written(*to);
  // a[1:] = a[:-1] means the values before the call
  copy_into(may_overlap(*to, *from) ? *copy(from, true) : *from, *to);
}

}  // namespace

void check_one_place_each(const Array& a, const char* op) {
  if (is_expanded(a))
    fail(std::string(op) + ": the array of shape " + shape_string(a) +
         " is an expanded view; several of its elements are one place in memory");
}

ArrayRef copy(const ArrayRef& a, bool keep_order) {
  ArrayRef out = keep_order ? new_like_strided(*a) : new_like(*a);
  copy_into(*a, *out);
  return out;
}

ArrayRef contiguous(const ArrayRef& a) { return a->contiguous ? a : copy(a, false); }

ArrayRef move_axis(const ArrayRef& a, int from, int to) {
  if (from == to) return a;
  ArrayRef out = view(*a);
  for (int i = from; i != to; i += from < to ? 1 : -1) {
    const int next = from < to ? i + 1 : i - 1;
    out->shape[i] = a->shape[next];
    out->strides[i] = a->strides[next];
  }
  out->shape[to] = a->shape[from];
  out->strides[to] = a->strides[from];
  update_contiguous(*out);
  return out;
}

ArrayRef cast(const ArrayRef& a, DType dtype) {
  if (a->dtype == dtype) return a;
  ArrayRef out = new_array(dtype, a->shape, a->dims);
  copy_into(*a, *out);
  return out;
}

void copy_into(const Array& from, Array& to) {
  Copy params{};
  params.x_type = from.dtype;
  params.y_type = to.dtype;
  params.dims = to.dims;
  const int extra = to.dims - from.dims;
  for (int i = 0; i < to.dims; i++) {
    const int64_t have = i < extra ? 1 : from.shape[i - extra];
    if (extra < 0 || (have != 1 && have != to.shape[i]))
      fail("copy: shape " + shape_string(from) + " does not broadcast to " + shape_string(to));
    params.shape[i] = to.shape[i];
    params.x_strides[i] = have == 1 ? 0 : from.strides[i - extra];
    params.y_strides[i] = to.strides[i];
  }
  if (extra < 0) fail("copy: shape " + shape_string(from) + " does not broadcast to " + shape_string(to));
  params.x = from.data;
  params.y = to.data;
  if (to.size) run(kernels().copy.copy, params, kCopyCost * double(to.size));
}

ArrayRef full_like(const ArrayRef& like, const py::object& value) {
  ArrayRef a = new_like_strided(*like);
  fill_in_place(*a, value);
  return a;
}

void bind_views(py::module_& m) {
  m.def("wrap", [](const ArrayRef& a) { return a; });
  m.def("empty", [](const Shape& shape, DType dtype) {
    check_dims(shape);
    return new_array(dtype, shape.data(), int(shape.size()));
  });
  m.def("full", [](const Shape& shape, const py::object& value, DType dtype) {
    check_dims(shape);
    ArrayRef a = new_array(dtype, shape.data(), int(shape.size()));
    fill_in_place(*a, value);
    return a;
  });
  m.def("full_like", full_like);
  m.def("fill_", [](const ArrayRef& a, const py::object& value) {
    check_one_place_each(*a, "fill_");
    mark_written(*a);
    fill_in_place(*a, value);
  });
  m.def("copy", copy, py::arg("array"), py::arg("keep_order") = true);
  m.def("copy_", copy_in_place);
  m.def("contiguous", [](const ArrayRef& a) { return contiguous(a); });
  m.def("cast", [](const ArrayRef& a, DType dtype) { return cast(a, dtype); });
  m.def("reshape", reshape);
  m.def("permute", permute);
  m.def("expand", expand);
  m.def("index", index);
  m.def("item", item);
  m.def("is_shared", [](const ArrayRef& a) { return is_shared(a->block) || !a->block->pool; });
}

}  // namespace pynn
