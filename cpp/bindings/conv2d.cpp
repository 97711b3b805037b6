// Convolutions of N, C, H, W arrays with any strides: checks, channels-last copies where needed.
#include "ops/conv2d.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

// (a, b, c, d) seen as (a, c, d, b), in C order: itself where it lies so already.
ArrayRef channels_last(const ArrayRef& x) { return contiguous(move_axis(x, 1, 3)); }

using Pair = std::array<int64_t, 2>;

struct Geometry {  // of (height, width)
  Pair stride, before, dilation;
  int64_t groups;
};

// The shape of a convolution of images `in` (n, c, h, w) to images `out` (n, o, oh, ow) by a weight (o, c, kh, kw).
ConvShape shape_of(DType dtype, const int64_t* in, const int64_t* weight, const int64_t* out, const Geometry& g) {
  const int64_t groups = g.groups;
  if (groups < 1 || in[1] % groups || in[1] / groups != weight[1] || out[1] != weight[0] || weight[0] % groups ||
      in[0] != out[0])
    fail("conv2d: channels or images do not fit " + std::to_string(groups) + " groups");
  // What the images and all windows span: the kernels' sizes, offsets and buffers are products of parts of it.
  double span = std::max(1., double(in[0])) * std::max({1., double(in[1]), double(out[1])});
  for (int i = 0; i < 2; i++) {
    if (g.stride[i] < 1 || g.dilation[i] < 1 || weight[2 + i] < 1 || in[2 + i] < 0 || out[2 + i] < 1)
      fail("conv2d: expected stride, dilation, kernel and outputs >= 1");
    span *= std::abs(double(g.before[i])) + double(in[2 + i]) + double(out[2 + i]) * double(g.stride[i]) +
            double(weight[2 + i]) * double(g.dilation[i]);
  }
  if (span > 0x1p56) fail("conv2d: a size is too large");
  return {dtype,       in[0],         in[2],         in[3],       weight[1],  weight[0] / groups,
          groups,      weight[2],     weight[3],     out[2],      out[3],     g.stride[0],
          g.stride[1], g.dilation[0], g.dilation[1], g.before[0], g.before[1]};
}

double cost(const ConvShape& s) {
  return 0.012 * double(s.n * s.oh * s.ow) * double(s.groups * s.o * s.kh * s.kw * s.c);
}

ArrayRef checked_bias(const Array& x, const OptionalArray& bias, int64_t channels) {
  if (!bias) return {};
  check_same_dtype(x, *bias, "conv2d", "input and bias");
  if (bias->dims != 1 || bias->shape[0] != channels)
    fail("conv2d: expected a bias of shape (" + std::to_string(channels) + ",), got " + shape_string(*bias));
  return contiguous(bias);
}

std::atomic<bool> strict = false;  // pynn.set_precision

void check_operands(const Array& x, const Array& other) {
  if (x.dims != 4 || other.dims != 4) fail("conv2d: expected 4-d operands");
  check_float(x, "conv2d", "input");
  check_same_dtype(x, other, "conv2d", "the operands");
}

// Convolution of x to images of `size`, or the gradient of such a convolution's input (images of `size`) from that of
// its output: both (n, channels, h, w), channels last in memory.
ArrayRef convolve(const ArrayRef& x, const ArrayRef& weight, const OptionalArray& bias, const std::string& activation,
                  const Pair& size, const Pair& stride, const Pair& before, const Pair& dilation, int64_t groups) {
  check_operands(*x, *weight);
  const int64_t out[] = {x->shape[0], weight->shape[0], size[0], size[1]};
  Conv2d p;
  p.shape = shape_of(x->dtype, x->shape, weight->shape, out, {stride, before, dilation, groups});
  p.activation = epilogue_kind(activation, "conv2d");
  p.strict = strict;
  const ArrayRef dense_bias = checked_bias(*x, bias, out[1]), in = channels_last(x), kernel = channels_last(weight);
  const ArrayRef y = new_array(x->dtype, {out[0], size[0], size[1], out[1]});
  p.x = in->data;
  p.weight = kernel->data;
  p.bias = dense_bias ? dense_bias->data : nullptr;
  p.y = y->data;
  if (y->size) run(kernels().conv2d.forward, p, cost(p.shape));
  return move_axis(y, 3, 1);
}

ArrayRef data_gradient(const ArrayRef& dy, const ArrayRef& weight, const OptionalArray& bias,
                       const std::string& activation, const Pair& size, const Pair& stride, const Pair& before,
                       const Pair& dilation, int64_t groups) {
  check_operands(*dy, *weight);
  int64_t channels;
  if (groups < 1 || __builtin_mul_overflow(groups, weight->shape[1], &channels))
    fail("conv2d: expected groups >= 1, got " + std::to_string(groups));
  const int64_t in[] = {dy->shape[0], channels, size[0], size[1]};
  Conv2dData p;
  p.shape = shape_of(dy->dtype, in, weight->shape, dy->shape, {stride, before, dilation, groups});
  p.activation = epilogue_kind(activation, "conv2d");
  p.strict = strict;
  const ArrayRef dense_bias = checked_bias(*dy, bias, in[1]), grad = channels_last(dy), kernel = channels_last(weight);
  const ArrayRef dx = new_array(dy->dtype, {in[0], size[0], size[1], in[1]});
  p.dy = grad->data;
  p.weight = kernel->data;
  p.bias = dense_bias ? dense_bias->data : nullptr;
  p.dx = dx->data;
  if (dx->size) run(kernels().conv2d.data, p, cost(p.shape));
  return move_axis(dx, 3, 1);
}

// The gradient of a weight (o, c, kh, kw), which lies (o, kh, kw, c) in memory, and that of the bias (o) where it is
// wanted and comes with the other, else null.
std::pair<ArrayRef, OptionalArray> weight_gradient(const ArrayRef& x, const ArrayRef& dy, const Pair& kernel,
                                                   const Pair& stride, const Pair& before, const Pair& dilation,
                                                   int64_t groups, bool with_bias) {
  check_operands(*x, *dy);
  if (groups < 1) fail("conv2d: expected groups >= 1, got " + std::to_string(groups));
  const int64_t weight[] = {dy->shape[1], x->shape[1] / groups, kernel[0], kernel[1]};
  Conv2dWeight p;
  p.shape = shape_of(x->dtype, x->shape, weight, dy->shape, {stride, before, dilation, groups});
  p.strict = strict;
  const ConvShape& s = p.shape;
  const ArrayRef in = channels_last(x), grad = channels_last(dy);
  const ArrayRef dw = new_array(x->dtype, {s.groups, s.kh, s.kw, s.c, s.o});
  p.x = in->data;
  p.dy = grad->data;
  p.dw = dw->data;
  OptionalArray db;
  if (with_bias && dw->size && kernels().conv2d.sums_bias(s, p.strict)) db = {new_array(x->dtype, {dy->shape[1]})};
  p.db = db ? db->data : nullptr;
  if (dw->size) run(kernels().conv2d.weight, p, cost(s));
  const ArrayRef out = contiguous(move_axis(dw, 4, 1));  // (groups, o, kh, kw, c)
  const int64_t shape[] = {s.groups * s.o, s.kh, s.kw, s.c};
  set_shape(*out, shape, 4);
  return {move_axis(out, 3, 1), db};
}

// A weight (o, c, kh, kw) turned by 180 degrees, for a true convolution.
ArrayRef flip(const ArrayRef& weight) {
  if (weight->dims != 4) fail("conv2d_flip: expected a 4-d weight, got " + shape_string(*weight));
  const ArrayRef v = view(*weight);
  for (int i = 2; i < 4; i++) {
    if (weight->size) v->data += (v->shape[i] - 1) * v->strides[i] * int64_t(item_size(v->dtype));
    v->strides[i] = -v->strides[i];
  }
  update_contiguous(*v);
  return copy(v, false);
}

}  // namespace

void bind_conv2d(py::module_& m) {
  m.def("conv2d", convolve);
  m.def("conv2d_data", data_gradient);
  m.def("conv2d_weight", weight_gradient);
  m.def("conv2d_flip", flip);
  m.def("set_strict", [](bool value) { strict = value; });
  m.def("is_strict", [] { return strict.load(); });
}

}  // namespace pynn
