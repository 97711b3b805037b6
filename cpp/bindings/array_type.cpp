// The Array as a Python type: its life and attributes, the host's buffers in both directions, dtypes, the casters.
#include <cstring>
#include <memory>

#include "bindings/array.h"

namespace pynn {

PyTypeObject* array_type = nullptr;

namespace {

constexpr const char* kNames[kDTypeCount] = {"float32", "float64", "int64", "int32", "uint8", "bool"};
constexpr const char* kBufferFormats[kDTypeCount] = {"f", "d", "q", "i", "B", "?"};
constexpr const char* kTypeStrings[kDTypeCount] = {"<f4", "<f8", "<i8", "<i4", "|u1", "|b1"};
PyObject* numpy_dtypes[kDTypeCount];

// Arrays come and go with every op; a short list of dead ones saves the allocator (measured: 59 instead of 85 ns).
constexpr int kFreeArrays = 256;
Array* free_arrays[kFreeArrays];
int free_count = 0;

Array* self(PyObject* o) { return reinterpret_cast<Array*>(o); }

}  // namespace

ArrayRef blank() {
  Array* a;
  if (free_count) {
    a = free_arrays[--free_count];
    PyObject_Init(reinterpret_cast<PyObject*>(a), array_type);
  } else {
    a = PyObject_New(Array, array_type);
    if (!a) throw py::error_already_set();
  }
  a->block = nullptr;
  return ArrayRef(a);
}

namespace {

void dealloc(PyObject* o) {
  Array* a = self(o);
  if (a->block) release(a->block);
  if (free_count < kFreeArrays) {
    free_arrays[free_count++] = a;
  } else {
    PyObject_Free(a);
  }
  Py_DECREF(array_type);
}

bool is_fortran(const Array& a) {
  int64_t stride = 1;
  for (int i = 0; i < a.dims; i++) {
    if (a.shape[i] != 1 && a.strides[i] != stride) return a.size == 0;
    stride *= a.shape[i];
  }
  return true;
}

// Whether the array lies as a request of the buffer protocol says; one that takes no strides means C order.
bool has_order(const Array& a, int flags) {
  const auto asks = [=](int flag) { return (flags & flag) == flag; };
  if (a.contiguous) return !asks(PyBUF_F_CONTIGUOUS) || is_fortran(a);
  if (!asks(PyBUF_STRIDES) || asks(PyBUF_C_CONTIGUOUS)) return false;
  return !(asks(PyBUF_F_CONTIGUOUS) || asks(PyBUF_ANY_CONTIGUOUS)) || is_fortran(a);
}

int get_buffer(PyObject* o, Py_buffer* buffer, int flags) {
  buffer->obj = nullptr;
  Array* a = self(o);
  try {
    check_host_access("the buffer of an array (numpy.asarray)");
    if ((flags & PyBUF_WRITABLE) && a->block->readonly) {
      PyErr_SetString(PyExc_BufferError, "the array is read-only");
      return -1;
    }
    if (!has_order(*a, flags)) {
      PyErr_SetString(PyExc_BufferError, "the array is not in the order of memory that is asked for");
      return -1;
    }
  } catch (py::error_already_set& e) {
    e.restore();
    return -1;
  }
  const Py_ssize_t item = item_size(a->dtype);
  auto* extents = static_cast<Py_ssize_t*>(PyMem_Malloc(sizeof(Py_ssize_t) * 2 * kMaxDims));
  if (!extents) {
    PyErr_NoMemory();
    return -1;
  }
  for (int i = 0; i < a->dims; i++) {
    extents[i] = a->shape[i];
    extents[kMaxDims + i] = a->strides[i] * item;
  }
  Py_INCREF(o);
  buffer->obj = o;
  buffer->buf = a->data;
  buffer->len = a->size * item;
  buffer->readonly = a->block->readonly;
  buffer->itemsize = item;
  buffer->format = (flags & PyBUF_FORMAT) ? const_cast<char*>(kBufferFormats[int(a->dtype)]) : nullptr;
  buffer->ndim = a->dims;
  buffer->shape = (flags & PyBUF_ND) ? extents : nullptr;
  buffer->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? extents + kMaxDims : nullptr;
  buffer->suboffsets = nullptr;
  buffer->internal = extents;
  return 0;
}

void release_buffer(PyObject*, Py_buffer* buffer) { PyMem_Free(buffer->internal); }

py::tuple to_tuple(const int64_t* values, int n, int64_t factor = 1) {
  py::tuple t(n);
  for (int i = 0; i < n; i++) PyTuple_SET_ITEM(t.ptr(), i, PyLong_FromLongLong(values[i] * factor));
  return t;
}

PyObject* get_shape(PyObject* o, void*) {
  return guarded([&] { return shape_tuple(*self(o)); });
}
PyObject* get_strides(PyObject* o, void*) {
  return guarded([&] { return to_tuple(self(o)->strides, self(o)->dims); });
}
PyObject* get_dtype(PyObject* o, void*) { return dtype_object(self(o)->dtype).release().ptr(); }
PyObject* get_ndim(PyObject* o, void*) { return PyLong_FromLong(self(o)->dims); }
PyObject* get_size(PyObject* o, void*) { return PyLong_FromLongLong(self(o)->size); }
PyObject* get_nbytes(PyObject* o, void*) { return PyLong_FromSize_t(self(o)->bytes()); }
PyObject* get_layout(PyObject* o, void*) {
  const Array* a = self(o);
  int64_t layout[1 + 2 * kMaxDims] = {int64_t(a->dtype)};
  std::memcpy(layout + 1, a->shape, sizeof(int64_t) * a->dims);
  std::memcpy(layout + 1 + a->dims, a->strides, sizeof(int64_t) * a->dims);
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(layout), sizeof(int64_t) * (1 + 2 * a->dims));
}
PyObject* get_contiguous(PyObject* o, void*) { return PyBool_FromLong(self(o)->contiguous); }
PyObject* get_readonly(PyObject* o, void*) { return PyBool_FromLong(self(o)->block->readonly); }
PyObject* get_pointer(PyObject* o, void*) { return PyLong_FromVoidPtr(self(o)->data); }
PyObject* get_version(PyObject* o, void*) { return PyLong_FromUnsignedLong(self(o)->block->version.load()); }
PyObject* get_interface(PyObject* o, void*) {
  // numpy.asarray swallows an error of the buffer protocol and tries this next, so it has to raise as well.
  return guarded([&] {
    check_host_access("the memory of an array (numpy.asarray)");
    Array* a = self(o);
    py::dict d;
    d["data"] = py::make_tuple(reinterpret_cast<size_t>(a->data), bool(a->block->readonly));
    d["shape"] = to_tuple(a->shape, a->dims);
    d["strides"] = to_tuple(a->strides, a->dims, int64_t(item_size(a->dtype)));
    d["typestr"] = kTypeStrings[int(a->dtype)];
    d["version"] = 3;
    return py::object(d);
  });
}

PyGetSetDef getters[] = {{"shape", get_shape, nullptr, nullptr, nullptr},
                         {"strides", get_strides, nullptr, "in elements", nullptr},
                         {"dtype", get_dtype, nullptr, nullptr, nullptr},
                         {"ndim", get_ndim, nullptr, nullptr, nullptr},
                         {"size", get_size, nullptr, "number of elements", nullptr},
                         {"nbytes", get_nbytes, nullptr, nullptr, nullptr},
                         {"layout", get_layout, nullptr, "dtype, shape and strides as one value to compare", nullptr},
                         {"contiguous", get_contiguous, nullptr, "in C order", nullptr},
                         {"readonly", get_readonly, nullptr, nullptr, nullptr},
                         {"pointer", get_pointer, nullptr, "address of the first element", nullptr},
                         {"version", get_version, nullptr, "number of in-place writes", nullptr},
                         {"__array_interface__", get_interface, nullptr, nullptr, nullptr},
                         {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                       {Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
                       {Py_bf_releasebuffer, reinterpret_cast<void*>(release_buffer)},
                       {Py_tp_getset, getters},
                       {Py_tp_doc, const_cast<char*>("A block of memory seen through a shape and strides.")},
                       {0, nullptr}};
PyType_Spec spec = {"pynn._core.Array", sizeof(Array), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

// The dtype of a buffer's format, or -1.
int dtype_of_format(const char* format, Py_ssize_t item) {
  if (!format) return int(DType::uint8);
  if (*format == '<' || *format == '=' || *format == '@' || *format == '|') format++;
  if (!*format || format[1]) return -1;
  switch (*format) {
    case 'f': return int(DType::float32);
    case 'd': return int(DType::float64);
    case 'q':
    case 'l': return item == 8 ? int(DType::int64) : item == 4 ? int(DType::int32) : -1;
    case 'i': return int(DType::int32);
    case 'B': return int(DType::uint8);
    case '?': return int(DType::boolean);
  }
  return -1;
}

// Memory that some object shows through the buffer protocol, one allocation with what holds it.
struct BufferBlock : Block {
  Py_buffer buffer{};

  BufferBlock() { release = give_back; }
  ~BufferBlock() { PyBuffer_Release(&buffer); }

 private:
  static void give_back(Block* block) {
    if (!Py_IsInitialized()) return;  // the object went with the interpreter
    const PyGILState_STATE gil = PyGILState_Ensure();
    delete static_cast<BufferBlock*>(block);
    PyGILState_Release(gil);
  }
};

}  // namespace

ArrayRef wrap(py::handle object, const char* name) {
  if (Py_TYPE(object.ptr()) == array_type) {
    Py_INCREF(object.ptr());
    return ArrayRef(self(object.ptr()));
  }
  auto block = std::make_unique<BufferBlock>();
  Py_buffer& buffer = block->buffer;
  if (PyObject_GetBuffer(object.ptr(), &buffer, PyBUF_FULL_RO)) {
    PyErr_Clear();
    fail_type(std::string(name) + ": expected an array, got " + Py_TYPE(object.ptr())->tp_name);
  }
  const int dtype = dtype_of_format(buffer.format, buffer.itemsize);
  if (dtype < 0)
    fail_type(std::string(name) + ": expected float32, float64, int64, int32, uint8 or bool, got buffer format '" +
              buffer.format + "'");
  if (buffer.ndim > kMaxDims)
    fail(std::string(name) + ": expected at most 8 dimensions, got " + std::to_string(buffer.ndim));
  const int item_bits = __builtin_ctzll(buffer.itemsize);  // sizes are powers of two; a division takes 5 ns
  const size_t below_item = buffer.itemsize - 1;
  bool readable = !(reinterpret_cast<size_t>(buffer.buf) & below_item) && !buffer.suboffsets;
  int64_t shape[kMaxDims];
  for (int i = 0; i < buffer.ndim; i++) {
    shape[i] = buffer.shape[i];
    if (buffer.strides && (buffer.strides[i] & below_item)) readable = false;
  }
  if (!readable) {
    RecordingPause pause;  // a copy by the host is no call that a replay could repeat
    ArrayRef copy = new_array(DType(dtype), shape, buffer.ndim);
    if (PyBuffer_ToContiguous(copy->data, &buffer, buffer.len, 'C')) throw py::error_already_set();
    copy->block->readonly = true;  // what is written there would never reach the owner
    return copy;
  }
  ArrayRef a = blank();
  a->dtype = DType(dtype);
  set_shape(*a, shape, buffer.ndim);
  for (int i = 0; buffer.strides && i < buffer.ndim; i++) a->strides[i] = buffer.strides[i] >> item_bits;
  update_contiguous(*a);
  a->data = static_cast<char*>(buffer.buf);
  const Extent memory = extent(*a);
  block->data = memory.begin;
  block->capacity = size_t(memory.end - memory.begin);
  block->readonly = buffer.readonly;
  a->block = block.release();
  return a;
}

py::tuple shape_tuple(const Array& a) { return to_tuple(a.shape, a.dims); }

const char* dtype_name(DType t) { return kNames[int(t)]; }

DType dtype_from(py::handle object) {
  for (int i = 0; i < kDTypeCount; i++)
    if (object.ptr() == numpy_dtypes[i]) return DType(i);
  const py::object dtype = py::module_::import("numpy").attr("dtype")(object);
  for (int i = 0; i < kDTypeCount; i++)
    if (dtype.equal(py::handle(numpy_dtypes[i]))) return DType(i);
  fail_type("expected float32, float64, int64, int32, uint8 or bool as dtype, got " + std::string(py::str(dtype)));
}

py::object dtype_object(DType t) { return py::reinterpret_borrow<py::object>(numpy_dtypes[int(t)]); }

PyTypeObject* make_type(py::module_& m, PyType_Spec& spec, const char* name) {
  PyObject* type = PyType_FromSpec(&spec);
  if (!type) throw py::error_already_set();
  m.attr(name) = py::handle(type);
  return reinterpret_cast<PyTypeObject*>(type);
}

void bind_array(py::module_& m) {
  const py::object dtype = py::module_::import("numpy").attr("dtype");
  for (int i = 0; i < kDTypeCount; i++) numpy_dtypes[i] = dtype(kNames[i]).release().ptr();
  array_type = make_type(m, spec, "Array");
}

}  // namespace pynn

namespace pybind11::detail {

bool type_caster<pynn::ArrayRef>::load(handle source, bool) {
  value = pynn::argument(source);
  return true;
}

bool type_caster<pynn::OptionalArray>::load(handle source, bool) {
  if (!source.is_none()) static_cast<pynn::ArrayRef&>(value) = pynn::argument(source);
  return true;
}

}  // namespace pybind11::detail
