// Rows by index, as they are or normalised.
#include "ops/gather.h"

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

constexpr double kByteCost = 0.03, kGatherCost = 0.1;  // ns

ArrayRef checked_index(const ArrayRef& index) {
  if (index->dtype != DType::int64)
    fail_type(std::string("gather_rows: expected int64 for index, got ") + dtype_name(index->dtype));
  if (index->dims != 1) fail("gather_rows: expected 1 dimension for index, got shape " + shape_string(*index));
  return contiguous(index);
}

// x itself where every row is one run of memory, else a copy in C order.
ArrayRef with_dense_rows(const ArrayRef& x) {
  if (x->dims == 0) fail("gather_rows: expected at least 1 dimension for input, got shape ()");
  int64_t stride = 1;
  for (int i = x->dims; --i > 0;) {
    if (x->shape[i] != 1 && x->strides[i] != stride) return contiguous(x);
    stride *= x->shape[i];
  }
  return x;
}

ArrayRef output(const Array& x, const Array& index, DType dtype, const OptionalArray& given) {
  int64_t shape[kMaxDims];
  for (int i = 0; i < x.dims; i++) shape[i] = i ? x.shape[i] : index.shape[0];
  if (!given) return new_array(dtype, shape, x.dims);
  bool fits = given->dims == x.dims;
  for (int i = 0; fits && i < x.dims; i++) fits = given->shape[i] == shape[i];
  if (!fits)
    fail("gather_rows: expected shape " + shape_string(shape, x.dims) + " for out, got " + shape_string(*given));
  if (given->dtype != dtype)
    fail_type(std::string("gather_rows: expected ") + dtype_name(dtype) + " for out, got " + dtype_name(given->dtype));
  if (!given->contiguous) fail("gather_rows: expected out in C order");
  if (may_overlap(*given, x) || may_overlap(*given, index)) fail("gather_rows: out shares memory with an input");
  mark_written(*given);
  return given;
}

[[noreturn]] void fail_index(const Array& index, int64_t rows) {
  int64_t wrong = 0;
  for (int64_t i = 0; i < index.size; i++) {
    wrong = index.as<int64_t>()[i];
    if (wrong < -rows || wrong >= rows) break;
  }
  PyErr_Format(PyExc_IndexError, "gather_rows: index %lld is out of range for %lld rows", static_cast<long long>(wrong),
               static_cast<long long>(rows));
  throw py::error_already_set();
}

template <class P>
void run_checked(Kernel<P> kernel, P& params, double cost_ns, const Array& index) {
  try {
    run(kernel, params, cost_ns);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_IndexError)) throw;
    fail_index(index, params.x_rows);
  }
}

ArrayRef gather_rows(const ArrayRef& given, const ArrayRef& given_index, const OptionalArray& out) {
  const ArrayRef x = with_dense_rows(given), index = checked_index(given_index);
  ArrayRef y = output(*x, *index, x->dtype, out);
  const int64_t item = int64_t(item_size(x->dtype));
  const int64_t row_bytes = index->size ? int64_t(y->bytes()) / index->size : 0;
  GatherRows params{index->size, x->shape[0], x->strides[0] * item, row_bytes, x->data, index->as<int64_t>(), y->data};
  run_checked(kernels().gather.rows, params, kByteCost * double(y->bytes()), *index);
  return y;
}

// scale and shift as the kernel wants them: one value, or one per channel, repeated where channels are innermost
ArrayRef table(const Array& values, int64_t repeats) {
  ArrayRef out = new_array(DType::float32, {repeats, values.size});
  copy_into(values, *out);
  return out;
}

ArrayRef gather_normalized(const ArrayRef& given, const ArrayRef& given_index, const ArrayRef& scale,
                           const ArrayRef& shift, int64_t axis, const OptionalArray& out) {
  const ArrayRef x = with_dense_rows(given), index = checked_index(given_index);
  GatherNormalized params{};
  params.channels = params.inner = params.outer = 1;
  if (scale->dims > 1 || shift->dims > 1 || scale->size != shift->size || !scale->size)
    fail("gather_rows: expected one mean and std, or one per channel, got shapes " + shape_string(*scale) + " and " +
         shape_string(*shift));
  const int at = scale->size == 1 ? x->dims : normalize_axis(axis, x->dims, "gather_rows");
  if (at == 0) fail("gather_rows: axis 0 counts the rows; expected one of the others for mean and std");
  for (int i = 1; i < x->dims; i++) (i < at ? params.outer : i == at ? params.channels : params.inner) *= x->shape[i];
  if (at == x->dims) std::swap(params.outer, params.inner);  // one run a row
  if (at < x->dims && params.channels != scale->size)
    fail("gather_rows: expected " + std::to_string(params.channels) + " values of mean and std for axis " +
         std::to_string(at) + " of shape " + shape_string(*x) + ", got " + std::to_string(scale->size));
  ArrayRef y = output(*x, *index, DType::float32, out);
  const int64_t repeats = params.inner == 1 && params.channels > 1 ? kGatherLanes : 1;
  const ArrayRef scales = table(*scale, repeats), shifts = table(*shift, repeats);
  params.x_type = x->dtype;
  params.n = index->size;
  params.x_rows = x->shape[0];
  params.x_stride = x->strides[0];
  params.x = x->data;
  params.index = index->as<int64_t>();
  params.scale = scales->as<float>();
  params.shift = shifts->as<float>();
  params.y = y->as<float>();
  run_checked(kernels().gather.normalized, params, kGatherCost * double(y->size), *index);
  return y;
}

}  // namespace

void bind_gather(py::module_& m) {
  m.def("gather_rows", gather_rows);
  m.def("gather_normalized", gather_normalized);
}

}  // namespace pynn
