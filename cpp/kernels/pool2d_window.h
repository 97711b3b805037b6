// The windows of a pooling, and the vectors that go over the channels of a pixel.
#pragma once
#include "ops/pool2d.h"
#include "simd/parallel.h"

namespace pynn::PYNN_ISA {

struct Window {
  int64_t at;     // where element 0 lies, maybe outside
  int64_t first;  // the number of the first element inside
  int64_t count;  // how many are inside
};

PYNN_INLINE Window window(const PoolAxis& axis, int64_t i) {
  if (axis.adaptive) {
    const int64_t at = i * axis.in / axis.out;
    return {at, 0, ceil_div((i + 1) * axis.in, axis.out) - at};
  }
  const int64_t at = i * axis.stride - axis.padding;
  const int64_t first = at < 0 ? ceil_div(-at, axis.dilation) : 0;
  const bool ends_inside = at + (axis.kernel - 1) * axis.dilation < axis.in;
  return {at, first, (ends_inside ? axis.kernel : ceil_div(axis.in - at, axis.dilation)) - first};
}

PYNN_INLINE bool has_byte_numbers(const PoolShape& s) { return s.rows.kernel * s.columns.kernel <= kByteNumbers; }

// What an average divides by, of one axis.
PYNN_INLINE int64_t divisor(const PoolAxis& axis, const Window& window, bool count_padding) {
  if (axis.adaptive || !count_padding) return window.count;
  return min_of(window.at + axis.kernel, axis.in + axis.padding) - window.at;
}

// Every element inside belongs to one window at most, and the windows leave no gaps between them.
PYNN_INLINE bool disjoint(const PoolAxis& axis) {
  return !axis.adaptive && axis.stride == axis.kernel && axis.dilation == 1;
}

// Every window is whole, and they lie side by side from the first element on.
PYNN_INLINE bool is_tiled(const PoolAxis& axis) {
  return disjoint(axis) && axis.padding == 0 && axis.out * axis.kernel <= axis.in;
}
// float64 does without, since it would take as long to build again.
PYNN_INLINE bool has_tiled_gradient(const PoolShape& s) {
  return s.dtype == DType::float32 && is_tiled(s.rows) && is_tiled(s.columns);
}

// Neighbouring pixels of an output row whose windows have as many elements in a row of the input.
struct Span {
  int64_t j, pixels;      // the first of them, how many
  int64_t column, count;  // of the first: the place of its first element inside, how many are inside
  int64_t first;          // the number of that element in its window
  int64_t divisor;        // of an average
  int64_t room;           // elements of an array from any of these pixels to the end of its row, at least
};

// f(span) over an output row, from left to right. `width`: the columns of the input that may be touched.
template <class T, class F>
PYNN_INLINE void for_spans(const PoolAxis& axis, int64_t c, int64_t width, bool count_padding, const F& f) {
  // Inside, windows are whole, and a vector that starts at any of their elements ends in the row.
  const int64_t needed = ceil_div(lanes<T>, c), reach = (axis.kernel - 1) * axis.dilation;
  const int64_t furthest = width - needed - reach + axis.padding;
  const int64_t begin = ceil_div(axis.padding, axis.stride);
  const int64_t end = axis.adaptive || furthest < 0 ? 0 : min_of(axis.out - needed, furthest / axis.stride) + 1;
  for (int64_t j = 0, pixels; j < axis.out; j += pixels) {
    const Window w = window(axis, j);
    const int64_t column = w.at + w.first * axis.dilation, last = column + (w.count - 1) * axis.dilation;
    const bool inside = j >= begin && j < end;
    pixels = inside ? end - j : 1;
    const int64_t room = inside ? lanes<T> : min_of(width - last, axis.out - j) * c;
    f(Span{j, pixels, column, w.count, w.first, divisor(axis, w, count_padding), room});
  }
}

// body(channel, n, first) for vectors that start at `channel` and touch the n elements from there. Where a pixel has a
// vector's worth of channels, all are full, and the last one meets the one before: its lanes before `first` are done
// already. Where it has fewer, a vector runs on into the pixels to the right, which are computed later and write over
// it, as far as there is room. n is a constant where it is all lanes.
template <class T, class Body>
PYNN_INLINE void for_channels(int64_t c, int64_t room, const Body& body) {
  constexpr int64_t L = lanes<T>;
  if (c < L) return room < L ? body(int64_t(0), int(room), 0) : body(int64_t(0), int(L), 0);
  for (int64_t channel = 0; channel < c; channel += L) {
    const int64_t at = min_of(channel, c - L);
    body(at, int(L), int(channel - at));
  }
}

// Nanoseconds for a row of `pixels` that takes `taps` loads a vector on one core.
template <class T>
PYNN_INLINE double pool_row_cost(const PoolShape& s, int64_t pixels, int64_t taps) {
  return double(pixels) * (4 + 0.7 * double(ceil_div(s.c, lanes<T>)) * double(taps));
}

Status max_pool_backward(const MaxPool2dBackward& p);
Status max_pool_backward_tiled(const MaxPool2dBackward& p);
Status average_pool_backward(const AveragePool2dBackward& p);
Status average_pool_backward_tiled(const AveragePool2dBackward& p);
bool average_pool_backward_in_place(const PoolShape& s);
Status max_pool_places(const MaxPool2dPlaces& p);
Status unpool(const MaxUnpool2d& p);
Status unpool_backward(const MaxUnpool2dBackward& p);

}  // namespace pynn::PYNN_ISA
