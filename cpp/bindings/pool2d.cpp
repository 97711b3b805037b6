// Pooling of N, C, H, W arrays with any strides: checks, channels-last copies where needed.
#include "ops/pool2d.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <tuple>

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

using Pair = std::array<int64_t, 2>;
using Geometry = std::tuple<Pair, Pair, Pair, Pair, Pair, bool>;  // kernel, stride, padding, dilation, output, adaptive

constexpr double kMoveCost = 1;  // ns an element

std::string text(const Pair& p) { return "(" + std::to_string(p[0]) + ", " + std::to_string(p[1]) + ")"; }

ArrayRef channels_last(const ArrayRef& x) { return contiguous(move_axis(x, 1, 3)); }
ArrayRef new_images(DType dtype, int64_t n, int64_t c, const Pair& size) {
  return new_array(dtype, {n, size[0], size[1], c});
}

// Whether every window has an element. The numbers are so small that no sum of them overflows.
bool windows_are_filled(const PoolAxis& a) {
  if (a.adaptive) return true;
  const auto empty = [&](int64_t i) {
    const int64_t at = i * a.stride - a.padding;
    const int64_t first = at < 0 ? (a.dilation - at - 1) / a.dilation : 0;
    return first >= a.kernel || at + first * a.dilation >= a.in;
  };
  for (int64_t i = 0; i < a.out; i++) {
    if (empty(i)) return false;
    if (a.dilation == 1 && i == 0) i = std::max(i, a.out - 2);  // then the outer windows are the ones to ask
  }
  return true;
}

PoolAxis axis(const Geometry& g, int i, int64_t in, const char* op) {
  const auto& [kernel, stride, padding, dilation, out, adaptive] = g;
  PoolAxis a = {in, out[i], kernel[i], stride[i], padding[i], dilation[i], adaptive};
  if (adaptive) a.stride = a.dilation = 1, a.padding = 0;
  constexpr int64_t limit = int64_t(1) << 30;
  if (in < 1 || a.out < 1 || std::max({in, a.out, a.kernel, a.stride, a.dilation}) > limit ||
      std::min({a.kernel, a.stride, a.dilation}) < 1 || a.padding < 0 || a.padding > limit)
    fail(std::string(op) + ": no window of size " + text(kernel) + " and output of size " + text(out) + " fit in");
  if (!windows_are_filled(a))
    fail(std::string(op) + ": some windows see nothing but padding: kernel " + text(kernel) + ", padding " +
         text(padding) + ", dilation " + text(dilation));
  if (adaptive) {
    a.kernel = 0;
    for (int64_t j = 0; j < a.out; j++)
      a.kernel = std::max(a.kernel, ((j + 1) * in + a.out - 1) / a.out - j * in / a.out);
  }
  return a;
}

PoolShape shape_of(DType dtype, int64_t n, int64_t c, const Pair& size, const Geometry& g, const char* op) {
  const PoolShape s = {dtype, n, c, axis(g, 0, size[0], op), axis(g, 1, size[1], op)};
  if (s.rows.kernel > INT32_MAX / s.columns.kernel)
    fail(std::string(op) + ": expected windows of less than 2^31 elements");
  return s;
}

PoolShape shape_of_input(const Array& x, const Geometry& g, const char* op) {
  check_float(x, op, "input");
  if (x.dims != 4) fail(std::string(op) + ": expected an input of 4 axes, got " + shape_string(x));
  return shape_of(x.dtype, x.shape[0], x.shape[1], {x.shape[2], x.shape[3]}, g, op);
}

PoolShape shape_of_gradient(const Array& dy, const Pair& size, const Geometry& g, const char* op) {
  check_float(dy, op, "grad");
  const Pair& out = std::get<4>(g);
  if (dy.dims != 4 || dy.shape[2] != out[0] || dy.shape[3] != out[1])
    fail(std::string(op) + ": expected a gradient of images of size " + text(out) + ", got " + shape_string(dy));
  return shape_of(dy.dtype, dy.shape[0], dy.shape[1], size, g, op);
}

Pair size_in(const PoolShape& s) { return {s.rows.in, s.columns.in}; }
Pair size_out(const PoolShape& s) { return {s.rows.out, s.columns.out}; }
DType index_dtype(const PoolShape& s) {
  return s.rows.kernel * s.columns.kernel <= kByteNumbers ? DType::uint8 : DType::int32;
}
void check_index(const Array& index, const PoolShape& s, const char* op) {
  const Pair out = size_out(s);
  if (index.dtype != index_dtype(s) || index.dims != 4 || index.shape[0] != s.n || index.shape[1] != s.c ||
      index.shape[2] != out[0] || index.shape[3] != out[1])
    fail(std::string(op) + ": the numbers do not fit, got " + shape_string(index) + " of " + dtype_name(index.dtype));
}

double cost(const PoolShape& s) {
  return 0.05 * double(s.n * s.c) *
         double(s.rows.out * s.columns.out * std::min<int64_t>(s.rows.kernel * s.columns.kernel, 1 << 20));
}

// The largest elements and, where asked for, their numbers in their windows.
std::pair<ArrayRef, ArrayRef> max_pool(const ArrayRef& x, const Geometry& geometry, bool indexed) {
  MaxPool2d p;
  p.shape = shape_of_input(*x, geometry, p.name);
  const PoolShape& s = p.shape;
  const ArrayRef in = channels_last(x), y = new_images(s.dtype, s.n, s.c, size_out(s));
  const ArrayRef index = indexed ? new_images(index_dtype(s), s.n, s.c, size_out(s)) : ArrayRef();
  p.x = in->data;
  p.y = y->data;
  p.index = index ? index->data : nullptr;
  if (y->size) run(kernels().pool2d.max, p, cost(s));
  return {move_axis(y, 3, 1), index ? move_axis(index, 3, 1) : ArrayRef()};
}

ArrayRef max_pool_backward(const ArrayRef& dy, const ArrayRef& index, const Pair& size, const Geometry& geometry) {
  MaxPool2dBackward p;
  p.shape = shape_of_gradient(*dy, size, geometry, p.name);
  check_index(*index, p.shape, p.name);
  const ArrayRef grad = channels_last(dy), numbers = channels_last(index);
  const ArrayRef dx = new_images(p.shape.dtype, p.shape.n, p.shape.c, size);
  p.dy = grad->data;
  p.index = numbers->data;
  p.dx = dx->data;
  if (dx->size) run(kernels().pool2d.max_backward, p, cost(p.shape));
  return move_axis(dx, 3, 1);
}

ArrayRef max_pool_places(const ArrayRef& index, const Pair& size, const Geometry& geometry) {
  MaxPool2dPlaces p;
  if (index->dims != 4) fail("max_pool2d_places: expected numbers of 4 axes");
  p.shape = shape_of(DType::float32, index->shape[0], index->shape[1], size, geometry, p.name);
  check_index(*index, p.shape, p.name);
  const ArrayRef numbers = channels_last(index);
  const ArrayRef flat = new_images(DType::int64, p.shape.n, p.shape.c, size_out(p.shape));
  p.index = numbers->data;
  p.flat = flat->as<int64_t>();
  if (flat->size) run(kernels().pool2d.places, p, kMoveCost * double(flat->size));
  return move_axis(flat, 3, 1);
}

ArrayRef average_pool(const ArrayRef& x, const Geometry& geometry, bool count_padding, int64_t divisor) {
  AveragePool2d p;
  p.shape = shape_of_input(*x, geometry, p.name);
  const ArrayRef in = channels_last(x), y = new_images(x->dtype, p.shape.n, p.shape.c, size_out(p.shape));
  p.count_padding = count_padding;
  p.divisor = divisor;
  p.x = in->data;
  p.y = y->data;
  if (y->size) run(kernels().pool2d.average, p, cost(p.shape));
  return move_axis(y, 3, 1);
}

// `overwrite`: the gradient may take the memory of `output`, which nobody needs any more.
ArrayRef average_pool_backward(const ArrayRef& dy, const Pair& size, const Geometry& geometry, bool count_padding,
                               int64_t divisor, const OptionalArray& output, const std::string& activation,
                               bool overwrite) {
  AveragePool2dBackward p;
  p.shape = shape_of_gradient(*dy, size, geometry, p.name);
  ArrayRef y;
  if (output) {
    check_same_dtype(*dy, *output, p.name, "grad and output");
    if (output->dims != 4 || output->shape[0] != p.shape.n || output->shape[1] != p.shape.c ||
        output->shape[2] != size[0] || output->shape[3] != size[1])
      fail(std::string(p.name) + ": the output of the activation does not fit, got " + shape_string(*output));
    y = channels_last(output);
  }
  p.activation = output ? activation_kind(activation) : Activation::none;
  p.output = y ? y->data : nullptr;
  const ArrayRef grad = channels_last(dy);
  const bool in_place = y && overwrite && kernels().pool2d.average_in_place(p.shape);
  const ArrayRef dx = in_place ? y : new_images(dy->dtype, p.shape.n, p.shape.c, size_in(p.shape));
  p.count_padding = count_padding;
  p.divisor = divisor;
  p.dy = grad->data;
  p.dx = dx->data;
  if (in_place) mark_written(*dx);
  if (dx->size) run(kernels().pool2d.average_backward, p, cost(p.shape));
  return move_axis(dx, 3, 1);
}

void check_places(const Array& x, const Array& flat, const char* op) {
  check_float(x, op, "input");
  if (flat.dtype != DType::int64)
    fail_type(std::string(op) + ": expected int64 for indices, got " + dtype_name(flat.dtype));
  if (x.dims != 4) fail(std::string(op) + ": expected an input of 4 axes, got " + shape_string(x));
}

ArrayRef max_unpool(const ArrayRef& x, const ArrayRef& flat, const Pair& size) {
  MaxUnpool2d p;
  check_places(*x, *flat, p.name);
  check_same_shape(*x, *flat, p.name, "input and indices");
  const ArrayRef in = channels_last(x), places = channels_last(flat);
  const ArrayRef y = new_images(x->dtype, x->shape[0], x->shape[1], size);
  p.dtype = x->dtype;
  p.n = x->shape[0], p.c = x->shape[1];
  p.small = x->shape[2] * x->shape[3], p.large = size[0] * size[1];
  p.x = in->data;
  p.flat = places->as<int64_t>();
  p.y = y->data;
  run(kernels().pool2d.unpool, p, kMoveCost * double(y->size));
  return move_axis(y, 3, 1);
}

ArrayRef max_unpool_backward(const ArrayRef& dy, const ArrayRef& flat) {
  MaxUnpool2dBackward p;
  check_places(*dy, *flat, p.name);
  if (flat->dims != 4 || flat->shape[0] != dy->shape[0] || flat->shape[1] != dy->shape[1])
    fail("max_unpool2d_backward: expected as many images and channels of grad and indices");
  const ArrayRef grad = channels_last(dy), places = channels_last(flat);
  const ArrayRef dx = new_images(dy->dtype, flat->shape[0], flat->shape[1], {flat->shape[2], flat->shape[3]});
  p.dtype = dy->dtype;
  p.n = dy->shape[0], p.c = dy->shape[1];
  p.small = flat->shape[2] * flat->shape[3], p.large = dy->shape[2] * dy->shape[3];
  p.dy = grad->data;
  p.flat = places->as<int64_t>();
  p.dx = dx->data;
  run(kernels().pool2d.unpool_backward, p, kMoveCost * double(dx->size));
  return move_axis(dx, 3, 1);
}

}  // namespace

void bind_pool2d(py::module_& m) {
  m.def("max_pool2d", max_pool);
  m.def("max_pool2d_backward", max_pool_backward);
  m.def("max_pool2d_places", max_pool_places);
  m.def("avg_pool2d", average_pool);
  m.def("avg_pool2d_backward", average_pool_backward, py::arg("grad"), py::arg("size"), py::arg("geometry"),
        py::arg("count_padding"), py::arg("divisor"), py::arg("output") = py::none(), py::arg("activation") = "none",
        py::arg("overwrite") = false);
  m.def("max_unpool2d", max_unpool);
  m.def("max_unpool2d_backward", max_unpool_backward);
}

}  // namespace pynn
