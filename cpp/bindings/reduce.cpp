// Sums, means and extrema over any axes: the general case becomes one axis between outer and inner ones.
#include "ops/reduce.h"

#include <pybind11/stl.h>

#include <vector>

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

using Axes = std::vector<int64_t>;

struct Reduction {
  ArrayRef x;  // the input, or a copy of it with the reduced axes last
  ReduceSpace space;
  int64_t shape[kMaxDims];  // of the result
  int dims = 0;
};

void mark_axes(const Array& x, const Axes& axes, const char* op, bool (&reduced)[kMaxDims]) {
  for (int64_t axis : axes) {
    const int i = normalize_axis(axis, x.dims, op);
    if (reduced[i]) fail(std::string(op) + ": axis " + std::to_string(axis) + " appears twice");
    reduced[i] = true;
  }
}

// Axes [first, last) of x as one: its size and stride; false where their memory has no single stride.
bool merge(const Array& x, int first, int last, int64_t& size, int64_t& stride) {
  size = 1;
  stride = 1;
  for (int i = last; i-- > first;) {
    if (x.shape[i] == 1) continue;
    if (size == 1)
      stride = x.strides[i];
    else if (x.strides[i] != size * stride)
      return false;
    size *= x.shape[i];
  }
  return true;
}

// x as outer axes, axes [first, last) and inner axes; false where the kernels cannot read it so.
bool fits(const Array& x, int first, int last, ReduceSpace& s) {
  int64_t inner_stride;
  if (!merge(x, 0, first, s.outer, s.outer_stride) || !merge(x, first, last, s.count, s.stride) ||
      !merge(x, last, x.dims, s.inner, inner_stride))
    return false;
  if (s.inner == 1) return s.stride == 1 || s.count == 1;
  return inner_stride == 1;
}

// The result, and so its bits, depends on the values, the shape and the axes, not on x's memory: reduced axes that are
// neighbours are read in place or from a C-order copy, others with all of them first: images whose channels lie last in
// memory are then read in place.
Reduction plan(const ArrayRef& x, const Axes& axes, bool keepdim, const char* op) {
  bool reduced[kMaxDims] = {};
  mark_axes(*x, axes, op, reduced);
  Reduction r;
  int first = -1, last = 0, count = 0;
  for (int i = 0; i < x->dims; i++) {
    if (!reduced[i] || keepdim) r.shape[r.dims++] = reduced[i] ? 1 : x->shape[i];
    if (!reduced[i]) continue;
    if (first < 0) first = i;
    last = i + 1;
    count++;
  }
  if (first < 0) first = last = x->dims;
  r.x = x;
  if (last - first == count) {
    if (fits(*x, first, last, r.space)) return r;
    r.x = new_like(*x);
    copy_into(*x, *r.x);
  } else {
    const ArrayRef turned = view(*x);
    int order[kMaxDims];
    for (int i = 0, at_reduced = 0, at_kept = count; i < x->dims; i++) order[reduced[i] ? at_reduced++ : at_kept++] = i;
    for (int i = 0; i < x->dims; i++) {
      turned->shape[i] = x->shape[order[i]];
      turned->strides[i] = x->strides[order[i]];
    }
    update_contiguous(*turned);
    r.x = turned;
    first = 0;
    last = count;
    if (fits(*turned, first, last, r.space)) return r;
    r.x = new_like(*turned);
    copy_into(*turned, *r.x);
  }
  fits(*r.x, first, last, r.space);
  return r;
}

double cost(const ReduceSpace& s) { return kReduceCost * double(s.outer) * double(s.count) * double(s.inner); }

ArrayRef sum(const ArrayRef& given, const Axes& axes, bool keepdim, bool mean) {
  const char* op = mean ? "mean" : "sum";
  if (mean) check_float(*given, op, "input");
  const ArrayRef x = is_float(given->dtype) ? given : cast(given, DType::int64);
  const Reduction r = plan(x, axes, keepdim, op);
  ArrayRef y = new_array(x->dtype, r.shape, r.dims);
  if (y->size == 0) return y;
  ReduceSum params{x->dtype, mean, r.space, r.x->data, y->data};
  run(kernels().reduce.sum, params, cost(r.space));
  return y;
}

// Values and first places; `values` and `indices` say what is wanted.
std::pair<ArrayRef, ArrayRef> extremum(const ArrayRef& given, const Axes& axes, bool keepdim, bool smallest,
                                       bool values, bool indices, const char* op) {
  const bool narrow = given->dtype == DType::uint8 || given->dtype == DType::boolean;
  const ArrayRef x = narrow ? cast(given, DType::int32) : given;
  const Reduction r = plan(x, axes, keepdim, op);
  ArrayRef y, index;
  if (values) y = new_array(x->dtype, r.shape, r.dims);
  if (indices) index = new_array(DType::int64, r.shape, r.dims);
  const int64_t size = y ? y->size : index->size;
  if (size > 0) {
    if (r.space.count == 0) fail(std::string(op) + ": no extremum of no elements, shape " + shape_string(*given));
    ReduceExtremum params{
        x->dtype, smallest, r.space, r.x->data, y ? y->data : nullptr, index ? index->as<int64_t>() : nullptr};
    run(kernels().reduce.extremum, params, cost(r.space));
  }
  if (y && narrow) y = cast(y, given->dtype);
  return {y, index};
}

// The gradient of the values of an extremum along `axis`, from that of the values (without the axis) and the indices.
ArrayRef scatter(const ArrayRef& grad, const ArrayRef& index, const std::vector<int64_t>& shape, int64_t axis) {
  const char* op = "extremum_backward";
  check_float(*grad, op, "grad");
  if (index->dtype != DType::int64) fail_type(std::string(op) + ": expected int64 indices");
  check_same_shape(*grad, *index, op, "grad and index");
  if (shape.size() > size_t(kMaxDims)) fail(std::string(op) + ": expected at most 8 dimensions");
  const int dims = int(shape.size()), at = normalize_axis(axis, dims, op);
  ArrayRef dx = new_array(grad->dtype, shape.data(), dims);
  ReduceScatter params{grad->dtype, 1, dims ? shape[at] : 1, 1, nullptr, nullptr, dx->data};
  for (int i = 0; i < dims; i++) (i < at ? params.outer : params.inner) *= i == at ? 1 : shape[i];
  if (grad->size != params.outer * params.inner)
    fail(std::string(op) + ": grad of shape " + shape_string(*grad) + " does not fit " + shape_string(*dx));
  const ArrayRef dy = contiguous(grad), places = contiguous(index);
  params.dy = dy->data;
  params.index = places->as<int64_t>();
  if (dx->size) run(kernels().reduce.scatter, params, 0.1 * double(dx->size));
  return dx;
}

}  // namespace

ArrayRef sum(const ArrayRef& x, int axis) { return sum(x, Axes{axis}, false, false); }

void bind_reduce(py::module_& m) {
  m.def("sum", [](const ArrayRef& x, const Axes& axes, bool keepdim) { return sum(x, axes, keepdim, false); });
  m.def("mean", [](const ArrayRef& x, const Axes& axes, bool keepdim) { return sum(x, axes, keepdim, true); });
  for (const bool smallest : {false, true}) {
    const char* name = smallest ? "min" : "max";
    const char* index_name = smallest ? "argmin" : "argmax";
    m.def(name, [=](const ArrayRef& x, const Axes& axes, bool keepdim) {
      return extremum(x, axes, keepdim, smallest, true, false, name).first;
    });
    m.def(index_name, [=](const ArrayRef& x, const Axes& axes, bool keepdim) {
      return extremum(x, axes, keepdim, smallest, false, true, index_name).second;
    });
    m.def(smallest ? "min_with_index" : "max_with_index", [=](const ArrayRef& x, int64_t axis, bool keepdim) {
      return extremum(x, {axis}, keepdim, smallest, true, true, name);
    });
  }
  m.def("extremum_backward", scatter);
}

}  // namespace pynn
