// Convolutions: packing of the weights and the choice of a path.
#include "ops/conv2d.h"

#include "kernels/conv2d_paths.h"
#include "kernels/gemm_pack.h"

namespace pynn::PYNN_ISA {
namespace {

// A tile of planes may reach over rows that see other taps, which then multiply zeros: with an infinite weight, NaN in
// pixels that depend on the tiles. So only where all weights are finite.
bool by_planes(const Correlation<float>& s) {
  if (!planes_pay(s)) return false;
  constexpr int L = lanes<float>;
  Vec<float> sum = {};
  const int64_t size = ceil_div(s.o, L) * L * s.terms();  // one panel, as wide as 8 channels need
  for (int64_t i = 0; i < size; i += L) sum = fma(load(s.packed + i), Vec<float>{}, sum);
  bool finite = true;
  for (int i = 0; i < L; i++) finite &= sum[i] == 0;
  return finite;
}

// float64 always goes the direct way.
Status correlate_best(const Correlation<float>& s) { return by_planes(s) ? correlate_planes(s) : correlate(s); }
Status correlate_best(const Correlation<double>& s) { return correlate(s); }

template <class T>
Status forward_as(const Conv2d& p) {
  const ConvShape& s = p.shape;
  const T *x = static_cast<const T*>(p.x), *weight = static_cast<const T*>(p.weight),
          *bias = static_cast<const T*>(p.bias);
  T* y = static_cast<T*>(p.y);
  if (pointwise(s))
    return multiply<T>(
        {s.n * s.h * s.w, s.o, s.c, x, s.c, false, weight, s.c, true, y, s.o, false, bias, 1, p.activation});
  const int64_t channels = s.groups * s.o;
  Correlation<T> correlation = {x,
                                s.n,
                                s.h,
                                s.w,
                                s.groups * s.c,
                                s.top,
                                s.left,
                                s.groups,
                                s.c,
                                s.o,
                                s.kh,
                                s.kw,
                                s.stride_h,
                                s.stride_w,
                                s.dilation_h,
                                s.dilation_w,
                                nullptr,
                                y,
                                s.oh,
                                s.ow,
                                s.oh * s.ow * channels,
                                s.ow * channels,
                                channels,
                                bias,
                                p.activation};
  const int64_t terms = correlation.terms(), size = correlation.group_size();
  T* packed = scratch_of<T>(Scratch::pack_b, s.groups * size);
  if (!packed) return Status::out_of_memory;
  parallel_tasks(s.groups, pack_cost(s.groups * s.o * terms),
                 [&](int64_t g) { pack_panels(packed + g * size, weight + g * s.o * terms, terms, true, s.o, terms); });
  correlation.packed = packed;
  return correlate_best(correlation);
}

// One axis of the rows (or columns) of dx that lie alike on the stride: they see the same taps, and dy without gaps.
struct Phase {
  int64_t first, count;         // of dx: first, first + stride, ...
  int64_t tap, tap_step, taps;  // tap, tap + tap_step, ...: the last one meets dy first
  int64_t dilation, before;     // of the windows in dy
};

Phase phase(int64_t number, int64_t size, int64_t taps, int64_t stride, int64_t dilation, int64_t before) {
  int64_t divisor = stride, rest = dilation % stride;
  while (rest) {
    const int64_t next = divisor % rest;
    divisor = rest;
    rest = next;
  }
  Phase p = {number, size > number ? ceil_div(size - number, stride) : 0, 0, stride / divisor, 0, dilation / divisor,
             0};
  const int64_t at = number + before;  // dx[number] meets tap t at dy[(at - dilation * t) / stride] where that is whole
  while (p.tap < min_of(taps, p.tap_step) && (at - dilation * p.tap) % stride != 0) p.tap++;
  if (p.tap >= min_of(taps, p.tap_step)) return p;
  p.taps = ceil_div(taps - p.tap, p.tap_step);
  p.before = (p.taps - 1) * p.dilation - (at - dilation * p.tap) / stride;
  return p;
}

// Rows (tap, o) of the turned weight as panels over the channels of dx.
template <class T>
void pack_turned(const ConvShape& s, const T* weight, const Phase& down, const Phase& across, T* packed) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const int64_t terms = down.taps * across.taps * s.o, step = s.kh * s.kw * s.c;
  for (int64_t j = 0; j < s.c; j += W) {
    const int64_t count = min_of(W, s.c - j), width = ceil_div(count, L) * L;
    T* out = packed + j * terms;
    for (int64_t t = 0; t < down.taps; t++)
      for (int64_t u = 0; u < across.taps; u++) {
        const int64_t kh = down.tap + (down.taps - 1 - t) * down.tap_step;
        const int64_t tap = kh * s.kw + across.tap + (across.taps - 1 - u) * across.tap_step;
        const T* from = weight + tap * s.c + j;
        for (int64_t o = 0; o < s.o; o++, out += width)
          for (int64_t i = 0; i < width; i += L) store(out + i, load(from + o * step + i, int(min_of(L, count - i))));
      }
  }
}

template <class T>
Status phase_as(const Conv2dData& p, const Phase& down, const Phase& across) {
  const ConvShape& s = p.shape;
  const int64_t channels = s.groups * s.c;
  const auto bias = static_cast<const T*>(p.bias);
  T* dx = static_cast<T*>(p.dx) + (down.first * s.w + across.first) * channels;
  Correlation<T> correlation = {static_cast<const T*>(p.dy),
                                s.n,
                                s.oh,
                                s.ow,
                                s.groups * s.o,
                                down.before,
                                across.before,
                                s.groups,
                                s.o,
                                s.c,
                                down.taps,
                                across.taps,
                                1,
                                1,
                                down.dilation,
                                across.dilation,
                                nullptr,
                                dx,
                                down.count,
                                across.count,
                                s.h * s.w * channels,
                                s.stride_h * s.w * channels,
                                s.stride_w * channels,
                                bias,
                                p.activation};
  const int64_t size = correlation.group_size();
  T* packed = scratch_of<T>(Scratch::pack_b, s.groups * size);
  if (!packed) return Status::out_of_memory;
  parallel_tasks(s.groups, pack_cost(channels * correlation.terms()), [&](int64_t g) {
    pack_turned(s, static_cast<const T*>(p.weight) + g * s.o * s.kh * s.kw * s.c, down, across, packed + g * size);
  });
  correlation.packed = packed;
  return correlate_best(correlation);
}

template <class T>
Status data_as(const Conv2dData& p) {
  const ConvShape& s = p.shape;
  if (pointwise(s))
    return multiply<T>({s.n * s.h * s.w, s.c, s.o, static_cast<const T*>(p.dy), s.o, false,
                        static_cast<const T*>(p.weight), s.c, false, static_cast<T*>(p.dx), s.c, false,
                        static_cast<const T*>(p.bias), 1, p.activation});
  for (int64_t i = 0; i < min_of(s.stride_h, s.h); i++)
    for (int64_t j = 0; j < min_of(s.stride_w, s.w); j++) {
      Phase down = phase(i, s.h, s.kh, s.stride_h, s.dilation_h, s.top);
      Phase across = phase(j, s.w, s.kw, s.stride_w, s.dilation_w, s.left);
      const Status status = phase_as<T>(p, down, across);
      if (status != Status::ok) return status;
    }
  return Status::ok;
}

// Chosen by the shape of the layer: an image has the same bits alone and in any batch.
using WinogradWay = Status (*)(const Winograd&);
WinogradWay winograd_way(int64_t taps, int64_t c, int64_t o, int64_t oh, int64_t ow) {
  return winograd_pays(taps, c, o, oh, ow) ? winograd : winograd_rows_pay(taps, c, o, oh, ow) ? winograd_rows : nullptr;
}

Status forward(const Conv2d& p) {
  const ConvShape& s = p.shape;
  if (!p.strict && winograd_applies(s))
    if (const WinogradWay way = winograd_way(s.kh, s.c, s.o, s.oh, s.ow))
      return way({s.kh, static_cast<const float*>(p.x), s.n, s.h, s.w, s.c, s.top, s.left,
                  static_cast<const float*>(p.weight), false, static_cast<float*>(p.y), s.oh, s.ow, s.o,
                  static_cast<const float*>(p.bias), p.activation});
  return p.shape.dtype == DType::float64 ? forward_as<double>(p) : forward_as<float>(p);
}
Status data(const Conv2dData& p) {
  const ConvShape& s = p.shape;
  if (!p.strict && winograd_applies(s))
    if (const WinogradWay way = winograd_way(s.kh, s.o, s.c, s.h, s.w))
      return way({s.kh, static_cast<const float*>(p.dy), s.n, s.oh, s.ow, s.o, s.kh - 1 - s.top, s.kw - 1 - s.left,
                  static_cast<const float*>(p.weight), true, static_cast<float*>(p.dx), s.h, s.w, s.c,
                  static_cast<const float*>(p.bias), p.activation});
  if (!p.strict && columns_winograd_pay(s)) return data_columns_winograd(p);
  if (columns_pay(s)) return data_columns(p);
  return s.dtype == DType::float64 ? data_as<double>(p) : data_as<float>(p);
}
Status weight(const Conv2dWeight& p) {
  return p.shape.dtype == DType::float64 ? weight_gradient<double>(p) : weight_gradient<float>(p);
}

bool sums_bias(const ConvShape& s, bool strict) { return (!strict && weight_winograd_pays(s)) || weight_planes_pay(s); }

}  // namespace

extern const Conv2dKernels conv2d_kernels;
const Conv2dKernels conv2d_kernels = {forward, data, weight, sums_bias};

}  // namespace pynn::PYNN_ISA
