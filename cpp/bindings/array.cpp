// Arrays: creation, layout in memory, and the checks of arguments. The Python type is in array_type.cpp.
#include "bindings/array.h"

#include <cstring>

namespace pynn {

ArrayRef new_array(DType dtype, const int64_t* shape, int dims) {
  int64_t bytes = int64_t(item_size(dtype));  // were no size 0, so that no product of sizes overflows
  for (int i = 0; i < dims; i++) {
    if (shape[i] < 0) fail("negative dimension in shape " + shape_string(shape, dims));
    if (__builtin_mul_overflow(bytes, shape[i] ? shape[i] : 1, &bytes))
      fail("an array of shape " + shape_string(shape, dims) + " does not fit into the address space");
  }
  ArrayRef a = blank();
  a->dtype = dtype;
  set_shape(*a, shape, dims);
  a->block = allocate(a->bytes());
  if (!a->block) {
    PyErr_Format(PyExc_MemoryError, "no memory for an array of shape %s (%lld bytes)",
                 shape_string(shape, dims).c_str(), static_cast<long long>(bytes));
    throw py::error_already_set();
  }
  a->data = a->block->data;
  return a;
}

ArrayRef new_array(DType dtype, std::initializer_list<int64_t> shape) {
  return new_array(dtype, shape.begin(), int(shape.size()));
}

ArrayRef new_like(const Array& like) { return new_array(like.dtype, like.shape, like.dims); }

ArrayRef new_like_strided(const Array& like) {
  ArrayRef a = new_like(like);
  if (like.contiguous || is_expanded(like)) return a;  // an expanded view has no order of its own
  int order[kMaxDims] = {};
  for (int i = 0; i < like.dims; i++) {
    int at = i;  // insertion by falling stride; equal strides keep their order
    while (at > 0 && std::abs(like.strides[order[at - 1]]) < std::abs(like.strides[i])) {
      order[at] = order[at - 1];
      at--;
    }
    order[at] = i;
  }
  int64_t stride = 1;
  for (int i = like.dims; i--;) {
    a->strides[order[i]] = stride;
    stride *= like.shape[order[i]];
  }
  update_contiguous(*a);
  return a;
}

ArrayRef view(const Array& a) {
  ArrayRef v = blank();
  retain(a.block);
  std::memcpy(&v->block, &a.block, sizeof(Array) - offsetof(Array, block));
  return v;
}

void set_shape(Array& a, const int64_t* shape, int dims) {
  int64_t stride = 1;
  for (int i = dims; i--;) {
    a.shape[i] = shape[i];
    a.strides[i] = stride;
    stride *= shape[i];
  }
  a.dims = int8_t(dims);
  a.size = stride;
  a.contiguous = true;
}

void update_contiguous(Array& a) {
  int64_t stride = 1;
  a.contiguous = true;
  for (int i = a.dims; i--;) {
    if (a.shape[i] != 1 && a.strides[i] != stride) a.contiguous = false;
    stride *= a.shape[i];
  }
  a.size = stride;
  if (stride == 0) a.contiguous = true;
}

bool is_dense(const Array& a) {
  if (a.contiguous) return true;
  int64_t expected = 1;
  bool used[kMaxDims] = {};
  for (int step = 0; step < a.dims; step++) {
    int next = -1;
    for (int i = 0; i < a.dims; i++)
      if (!used[i] && (a.shape[i] == 1 || a.strides[i] == expected)) {
        next = i;
        if (a.shape[i] == 1) break;
      }
    if (next < 0) return false;
    used[next] = true;
    expected *= a.shape[next];
  }
  return true;
}

Extent extent(const Array& a) {
  Extent e{a.data, a.data};
  if (!a.size) return e;
  const int64_t item = int64_t(item_size(a.dtype));
  for (int i = 0; i < a.dims; i++) {
    const int64_t reach = (a.shape[i] - 1) * a.strides[i] * item;
    (reach < 0 ? e.begin : e.end) += reach;
  }
  e.end += item;
  return e;
}

bool may_overlap(const Array& a, const Array& b) {
  const Extent x = extent(a), y = extent(b);
  return a.size && b.size && x.begin < y.end && y.begin < x.end;
}

bool is_expanded(const Array& a) {
  for (int i = 0; i < a.dims; i++)
    if (a.strides[i] == 0 && a.shape[i] > 1) return a.size > 0;
  return false;
}

bool same_layout(const Array& a, const Array& b) {
  if (a.dims != b.dims) return false;
  for (int i = 0; i < a.dims; i++)
    if (a.shape[i] != b.shape[i] || (a.shape[i] != 1 && a.strides[i] != b.strides[i])) return false;
  return true;
}

ArrayRef argument(py::handle object) {
  ArrayRef a = wrap(object, "argument");
  if (Program* program = recording()) [[unlikely]]
    program->know(a->block);
  return a;
}

void fail(const std::string& message) { throw py::value_error(message); }
void fail_type(const std::string& message) { throw py::type_error(message); }

void fail_status(Status status, const char* op) {
  switch (status) {
    case Status::out_of_memory: PyErr_Format(PyExc_MemoryError, "%s: no memory for scratch space", op); break;
    case Status::index_out_of_range: PyErr_Format(PyExc_IndexError, "%s: an index is out of range", op); break;
    case Status::ok: PyErr_Format(PyExc_SystemError, "%s: fail_status called without a failure", op);
  }
  throw py::error_already_set();
}

void check_writable(const Array& a, const char* op, const char* argument) {
  if (a.block->readonly) fail(std::string(op) + ": " + argument + " is read-only");
}

void check_float(const Array& a, const char* op, const char* argument) {
  if (!is_float(a.dtype))
    fail_type(std::string(op) + ": expected float32 or float64 for " + argument + ", got " + dtype_name(a.dtype));
}

void check_same_dtype(const Array& a, const Array& b, const char* op, const char* names) {
  if (a.dtype != b.dtype)
    fail_type(std::string(op) + ": expected one dtype for " + names + ", got " + dtype_name(a.dtype) + " and " +
              dtype_name(b.dtype));
}

void check_same_shape(const Array& a, const Array& b, const char* op, const char* names) {
  bool same = a.dims == b.dims;
  for (int i = 0; same && i < a.dims; i++) same = a.shape[i] == b.shape[i];
  if (!same)
    fail(std::string(op) + ": expected equal shapes for " + names + ", got " + shape_string(a) + " and " +
         shape_string(b));
}

std::string shape_string(const int64_t* shape, int dims) {
  std::string s = "(";
  for (int i = 0; i < dims; i++) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + (dims == 1 ? ",)" : ")");
}
std::string shape_string(const Array& a) { return shape_string(a.shape, a.dims); }
int normalize_axis(int64_t axis, int dims, const char* op) {
  const int64_t range = dims ? dims : 1;  // a 0-d array takes -1 and 0, as in NumPy's and PyTorch's reductions
  if (axis < -range || axis >= range) {
    PyErr_Format(PyExc_IndexError, "%s: axis %lld is out of range for %d dimensions", op, static_cast<long long>(axis),
                 dims);
    throw py::error_already_set();
  }
  return int(axis < 0 ? axis + range : axis);
}

void mark_written(Array& a) {
  if (a.block->readonly) fail("in-place write to a read-only array");
  a.block->version.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace pynn
