// The Array: a block of memory seen through a shape and strides. One CPython type that tensors hold, made for speed of
// creation and for seeing every host access; all the mathematics is elsewhere.
#pragma once
#include <pybind11/pybind11.h>

#include <cstring>
#include <initializer_list>
#include <new>
#include <string>

#include "runtime/launch.h"
#include "runtime/pool.h"

namespace pynn {

namespace py = pybind11;

struct Array {
  PyObject_HEAD Block* block;
  char* data;    // of the first element; a view starts inside its block
  int64_t size;  // elements
  DType dtype;
  int8_t dims;
  bool contiguous;                             // C order; axes of size 1 and empty arrays never decide
  int64_t shape[kMaxDims], strides[kMaxDims];  // strides in elements

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }
  size_t bytes() const { return size_t(size) * item_size(dtype); }
};

extern PyTypeObject* array_type;

// An argument of a bound function: an Array, or any object with the buffer protocol, wrapped without a copy (a copy
// only where strides are no multiple of the item size). While this thread records a program, the program learns of
// the array's block here, so no op can forget to tell it.
class ArrayRef {
 public:
  ArrayRef() = default;
  explicit ArrayRef(Array* owned) : array_(owned) {}  // takes over the reference
  ArrayRef(const ArrayRef& other) : array_(other.array_) { Py_XINCREF(reinterpret_cast<PyObject*>(array_)); }
  ArrayRef(ArrayRef&& other) noexcept : array_(other.array_) { other.array_ = nullptr; }
  ArrayRef& operator=(ArrayRef other) noexcept {
    std::swap(array_, other.array_);
    return *this;
  }
  ~ArrayRef() { Py_XDECREF(reinterpret_cast<PyObject*>(array_)); }

  Array* operator->() const { return array_; }
  Array& operator*() const { return *array_; }
  explicit operator bool() const { return array_ != nullptr; }
  Array* get() const { return array_; }
  Array* release() {
    Array* a = array_;
    array_ = nullptr;
    return a;
  }

 private:
  Array* array_ = nullptr;
};

// An argument that may be None: then it is null.
struct OptionalArray : ArrayRef {};

// Making arrays. All raise MemoryError where the memory is out and ValueError where a size overflows.
ArrayRef blank();  // whose block is null and all else to be set
ArrayRef new_array(DType dtype, const int64_t* shape, int dims);
ArrayRef new_array(DType dtype, std::initializer_list<int64_t> shape);
ArrayRef new_like(const Array& like);                      // C order
ArrayRef new_like_strided(const Array& like);              // the same order of axes in memory, dense
ArrayRef view(const Array& a);                             // the same block, to be given another shape
void set_shape(Array& a, const int64_t* shape, int dims);  // C order; does not touch the memory
void update_contiguous(Array& a);                          // after a change of shape or strides
ArrayRef copy(const ArrayRef& a, bool keep_order);         // dense, in the same order of axes or in C order
ArrayRef contiguous(const ArrayRef& a);                    // itself, or a copy in C order
ArrayRef cast(const ArrayRef& a, DType dtype);             // itself, or a converted copy in C order
ArrayRef move_axis(const ArrayRef& a, int from, int to);   // a view with one axis in another place, or itself
void copy_into(const Array& from, Array& to);              // shapes equal or broadcast
ArrayRef wrap(py::handle object, const char* name);        // an Array, a buffer; TypeError that names the argument
ArrayRef argument(py::handle object);                      // wrap, and the program that is recorded knows of it
bool is_dense(const Array& a);                             // no gaps and no overlaps, whatever the order of the axes
bool is_expanded(const Array& a);                          // one element in memory stands for all along an axis
bool same_layout(const Array& a, const Array& b);          // equal shapes and strides
bool may_overlap(const Array& a, const Array& b);          // whether their extents meet

// The memory between the first byte that an array's elements occupy and the last.
struct Extent {
  char *begin, *end;
};
Extent extent(const Array& a);

// Checks. Each raises with the op, the argument, what was expected and what was given.
[[noreturn]] void fail(const std::string& message);       // ValueError
[[noreturn]] void fail_type(const std::string& message);  // TypeError
void check_writable(const Array& a, const char* op, const char* argument);
void check_one_place_each(const Array& a, const char* op);  // not an expanded view, for what is written
void check_float(const Array& a, const char* op, const char* argument);
void check_same_dtype(const Array& a, const Array& b, const char* op, const char* names);
void check_same_shape(const Array& a, const Array& b, const char* op, const char* names);
std::string shape_string(const Array& a);
std::string shape_string(const int64_t* shape, int dims);
py::tuple shape_tuple(const Array& a);
const char* dtype_name(DType t);
DType dtype_from(py::handle object);  // numpy dtype, type or name
py::object dtype_object(DType t);     // numpy.dtype
inline bool is_float(DType t) { return t == DType::float32 || t == DType::float64; }
int normalize_axis(int64_t axis, int dims, const char* op);  // IndexError where it is out of range

// Raises CaptureError where this thread records: the host may not look at memory that a replay will fill.
void check_host_access(const char* what);
void mark_written(Array& a);  // raises where the memory is read-only; bumps the block's version

// A number as launch structs carry it: the bytes of one element.
template <class T>
uint64_t as_bytes(T value) {
  uint64_t bytes = 0;
  std::memcpy(&bytes, &value, sizeof value);
  return bytes;
}

[[noreturn]] void fail_status(Status status, const char* op);

PyTypeObject* make_type(py::module_& m, PyType_Spec& spec, const char* name);  // m.name

// For functions that CPython calls without pybind11, which would cost more than they do: C++ exceptions become
// Python's.
template <class F>
PyObject* guarded(F&& f) {
  try {
    return f().release().ptr();
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const py::builtin_exception& e) {
    e.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
  return nullptr;
}

// Launches, without the GIL where the call is estimated to take more than 20 microseconds. The estimates of the
// bindings are for this alone and rough; the kernels have their own for the number of threads.
template <class P>
void run(Kernel<P> kernel, P& params, double cost_ns) {
  Status status;
  if (cost_ns > 20000) {
    py::gil_scoped_release unlocked;
    status = launch(kernel, params);
  } else {
    status = launch(kernel, params);
  }
  if (status != Status::ok) [[unlikely]]
    fail_status(status, P::name);
}

}  // namespace pynn

namespace pybind11::detail {

template <>
struct type_caster<pynn::ArrayRef> {
  PYBIND11_TYPE_CASTER(pynn::ArrayRef, const_name("Array"));
  bool load(handle source, bool convert);
  static handle cast(pynn::ArrayRef source, return_value_policy, handle) {
    pynn::Array* a = source.release();
    return a ? handle(reinterpret_cast<PyObject*>(a)) : none().release();
  }
};

template <>
struct type_caster<pynn::OptionalArray> {
  PYBIND11_TYPE_CASTER(pynn::OptionalArray, const_name("Array | None"));
  bool load(handle source, bool convert);
  static handle cast(pynn::OptionalArray source, return_value_policy policy, handle parent) {
    return type_caster<pynn::ArrayRef>::cast(std::move(source), policy, parent);
  }
};

template <>
struct type_caster<pynn::DType> {
  PYBIND11_TYPE_CASTER(pynn::DType, const_name("numpy.dtype"));
  bool load(handle source, bool) {
    value = pynn::dtype_from(source);
    return true;
  }
  static handle cast(pynn::DType source, return_value_policy, handle) { return pynn::dtype_object(source).release(); }
};

}  // namespace pybind11::detail
