// Convolutions of N, C, H, W arrays with any strides: checks, channels-last copies where needed, the flipped weight.
#include "ops/conv2d.h"

#include <pybind11/stl.h>

#include <array>

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

Activation epilogue(const std::string& name) {
  if (name == "none") return Activation::none;
  if (name == "sigmoid") return Activation::sigmoid;
  if (name == "tanh") return Activation::tanh;
  if (name == "relu") return Activation::relu;
  fail("conv2d: expected activation 'none', 'sigmoid', 'tanh' or 'relu', got '" + name + "'");
}

// (a, b, c, d) seen as (a, c, d, b), in C order: itself where it lies so already.
ArrayRef channels_last(const ArrayRef& x) { return contiguous(move_axis(x, 1, 3)); }

ConvShape shape_of(const Array& x, const Array& other, int64_t c, int64_t o, int64_t kh, int64_t kw,
                   const std::array<int64_t, 2>& stride, const std::array<int64_t, 2>& dilation, int64_t groups) {
  check_float(x, "conv2d", "input");
  check_same_dtype(x, other, "conv2d", "the operands");
  if (groups < 1 || x.shape[1] != groups * c || o % groups)
    fail("conv2d: channels do not fit " + std::to_string(groups) + " groups (input shape " + shape_string(x) + ")");
  for (int i = 0; i < 2; i++)
    if (stride[i] < 1 || dilation[i] < 1) fail("conv2d: expected stride and dilation >= 1");
  const int64_t h = x.shape[2] - dilation[0] * (kh - 1) - 1, w = x.shape[3] - dilation[1] * (kw - 1) - 1;
  if (kh < 1 || kw < 1 || h < 0 || w < 0)
    fail("conv2d: the kernel is larger than the padded input (shape " + shape_string(x) + ")");
  return {x.dtype, x.shape[0],        x.shape[2],        x.shape[3], c,         o / groups,  groups,     kh,
          kw,      h / stride[0] + 1, w / stride[1] + 1, stride[0],  stride[1], dilation[0], dilation[1]};
}

double cost(const ConvShape& s) {
  return 0.012 * double(s.n * s.oh * s.ow) * double(s.groups * s.o * s.kh * s.kw * s.c);
}

ArrayRef forward(const ArrayRef& x, const ArrayRef& weight, const OptionalArray& bias, const std::string& activation,
                 const std::array<int64_t, 2>& stride, const std::array<int64_t, 2>& dilation, int64_t groups) {
  if (x->dims != 4 || weight->dims != 4) fail("conv2d: expected 4-d operands");
  Conv2d p;
  p.shape = shape_of(*x, *weight, weight->shape[1], weight->shape[0], weight->shape[2], weight->shape[3], stride,
                     dilation, groups);
  p.activation = epilogue(activation);
  if (bias) {
    check_same_dtype(*x, *bias, "conv2d", "input and bias");
    if (bias->dims != 1 || bias->shape[0] != weight->shape[0])
      fail("conv2d: expected a bias of shape (" + std::to_string(weight->shape[0]) + ",), got " + shape_string(*bias));
  }
  const ArrayRef in = channels_last(x), kernel = channels_last(weight);
  const ArrayRef dense_bias = bias ? contiguous(bias) : ArrayRef();
  const ArrayRef out = new_array(x->dtype, {p.shape.n, p.shape.oh, p.shape.ow, weight->shape[0]});
  p.x = in->data;
  p.weight = kernel->data;
  p.bias = dense_bias ? dense_bias->data : nullptr;
  p.y = out->data;
  if (out->size) run(kernels().conv2d.forward, p, cost(p.shape));
  return move_axis(out, 3, 1);
}

// The gradient of a weight (o, c, kh, kw), which lies (o, kh, kw, c) in memory.
ArrayRef weight_gradient(const ArrayRef& x, const ArrayRef& dy, const std::array<int64_t, 2>& kernel,
                         const std::array<int64_t, 2>& stride, const std::array<int64_t, 2>& dilation, int64_t groups) {
  if (x->dims != 4 || dy->dims != 4 || groups < 1) fail("conv2d: expected 4-d operands");
  Conv2dWeight p;
  p.shape = shape_of(*x, *dy, x->shape[1] / groups, dy->shape[1], kernel[0], kernel[1], stride, dilation, groups);
  const ConvShape& s = p.shape;
  if (dy->shape[0] != s.n || dy->shape[2] != s.oh || dy->shape[3] != s.ow)
    fail("conv2d: the gradient does not fit the input, got shapes " + shape_string(*dy) + " and " + shape_string(*x));
  const ArrayRef in = channels_last(x), grad = channels_last(dy);
  const ArrayRef dw = new_array(x->dtype, {s.groups, s.kh, s.kw, s.c, s.o});
  p.x = in->data;
  p.dy = grad->data;
  p.dw = dw->data;
  if (dw->size) run(kernels().conv2d.weight, p, cost(s));
  const ArrayRef out = contiguous(move_axis(dw, 4, 1));  // (groups, o, kh, kw, c)
  const int64_t shape[] = {s.groups * s.o, s.kh, s.kw, s.c};
  set_shape(*out, shape, 4);
  return move_axis(out, 3, 1);
}

// The weight of the data gradient: (groups * o, c, kh, kw) turned by 180 degrees as (groups * c, o, kh, kw).
ArrayRef flip(const ArrayRef& weight, int64_t groups) {
  if (weight->dims != 4 || groups < 1 || weight->shape[0] % groups)
    fail("conv2d: expected a 4-d weight for " + std::to_string(groups) + " groups, got " + shape_string(*weight));
  const int64_t *n = weight->shape, *step = weight->strides;
  const int64_t o = n[0] / groups;
  const ArrayRef v = view(*weight);
  const int64_t shape[] = {groups, n[1], n[2], n[3], o},
                strides[] = {o * step[0], step[1], -step[2], -step[3], step[0]};
  if (weight->size) v->data += ((n[2] - 1) * step[2] + (n[3] - 1) * step[3]) * int64_t(item_size(weight->dtype));
  set_shape(*v, shape, 5);
  for (int i = 0; i < 5; i++) v->strides[i] = strides[i];
  update_contiguous(*v);
  const ArrayRef out = copy(v, false);
  const int64_t merged[] = {groups * n[1], n[2], n[3], o};
  set_shape(*out, merged, 4);
  return move_axis(out, 3, 1);
}

}  // namespace

void bind_conv2d(py::module_& m) {
  m.def("conv2d", forward, "Cross-correlation of an input that needs no more padding.");
  m.def("conv2d_weight", weight_gradient);
  m.def("conv2d_flip", flip);
}

}  // namespace pynn
