// The gradients of pooling, split over the rows of the input: each takes what the windows over it send there, so no two
// threads write to one place.
#include "kernels/pool2d_window.h"
#include "simd/activation.h"
#include "simd/index.h"
#include "simd/lanes.h"

namespace pynn::PYNN_ISA {
namespace {

struct Range {
  int64_t begin, end;
};

// The windows that may cover place `at`. Where they are dilated, some of them have no element there.
PYNN_INLINE Range covering(const PoolAxis& axis, int64_t at) {
  if (axis.adaptive) return {at * axis.out / axis.in, ((at + 1) * axis.out - 1) / axis.in + 1};
  const int64_t reach = (axis.kernel - 1) * axis.dilation, from = at + axis.padding;
  return {from < reach ? 0 : ceil_div(from - reach, axis.stride), min_of(axis.out, from / axis.stride + 1)};
}

// What an output row sends to a row of the input.
struct Row {
  int64_t out;     // offset of its pixels
  int64_t number;  // of the first element of a window in the row of the input
  int64_t window;  // of rows
};

// span(row, span, to, put) for every span of the output rows that see a row of the input: `to` is the place of its
// first pixel's first element, put(place, value, first, n) stores or adds what goes to an element. finish(begin, end)
// when these elements of dx, a row, are complete.
template <class T, class F, class Finish>
PYNN_INLINE void for_input_rows(const PoolShape& s, bool count_padding, T* dx, const F& f, const Finish& finish) {
  const PoolAxis &rows = s.rows, &columns = s.columns;
  const bool once = disjoint(columns) && disjoint(rows);
  const int64_t size = columns.in * s.c;
  const Window last = window(columns, columns.out - 1);
  const int64_t width = once ? last.at + last.first + last.count : columns.in;
  const auto store = [](T* place, Vec<T> value, int, int n) PYNN_LAMBDA { store_some(place, value, n); };
  const auto add = [c = s.c](T* place, Vec<T> value, int first, int n) PYNN_LAMBDA {
    if (first > 0 || c < lanes<T>) {  // what belongs to other pixels, or is added already, takes a zero
      const auto lane = lane_numbers<T>();
      value = ((lane >= T(first)) & (lane < T(c))) ? value : Vec<T>{};
    }
    store_some(place, load_some(place, n) + value, n);
  };
  const double cost = pool_row_cost<T>(s, columns.out, 2 * columns.kernel);
  parallel_ranges(s.n * rows.in, 1, cost, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      const int64_t at = r % rows.in, image = r / rows.in;
      const Range range = covering(rows, at);
      T* to = dx + r * size;
      const int64_t written = once && range.begin < range.end ? width * s.c : 0;
      __builtin_memset(to + written, 0, size_t(size - written) * sizeof(T));
      for (int64_t i = range.begin; i < range.end; i++) {
        const int64_t distance = at - window(rows, i).at;
        if (distance % rows.dilation) continue;
        const Row row = {(image * rows.out + i) * columns.out * s.c, distance / rows.dilation * columns.kernel, i};
        for_spans<T>(columns, s.c, width, count_padding, [&](const Span& span) PYNN_LAMBDA {
          once ? f(row, span, to + span.column * s.c, store) : f(row, span, to + span.column * s.c, add);
        });
      }
      finish(r * size, (r + 1) * size);
    }
  });
}

template <class T, class I>
Status max_as(const MaxPool2dBackward& p) {
  using Int = typename IntOf<T>::type;
  const T* dy = static_cast<const T*>(p.dy);
  const I* index = static_cast<const I*>(p.index);
  const int64_t c = p.shape.c, step = p.shape.columns.dilation * c, stride = p.shape.columns.stride * c;
  const auto send = [=](const Row& row, const Span& span, T* to, const auto& put) PYNN_LAMBDA {
    const int64_t from = row.out + span.j * c;
    for (int64_t k = 0; k < span.pixels; k++)
      for_channels<T>(c, span.room, [&](int64_t channel, int n, int first) PYNN_LAMBDA {
        const int64_t pixel = from + k * c + channel;
        const Vec<T> grad = load_some(dy + pixel, n);
        const VecInt<T> number = load_some_index<T>(index + pixel, n);
        for (int64_t t = 0; t < span.count; t++)
          put(to + k * stride + t * step + channel,
              number == broadcast(Int(row.number + span.first + t)) ? grad : Vec<T>{}, first, n);
      });
  };
  for_input_rows<T>(p.shape, false, static_cast<T*>(p.dx), send, [](int64_t, int64_t) PYNN_LAMBDA {});
  return Status::ok;
}

template <class T>
Status average_as(const AveragePool2dBackward& p) {
  const PoolShape& s = p.shape;
  const T* dy = static_cast<const T*>(p.dy);
  const int64_t c = s.c, step = s.columns.dilation * c, stride = s.columns.stride * c;
  const auto send = [=](const Row& row, const Span& span, T* to, const auto& put) PYNN_LAMBDA {
    const int64_t height = divisor(s.rows, window(s.rows, row.window), p.count_padding);
    const T inverse = T(1) / T(p.divisor ? p.divisor : height * span.divisor);
    const int64_t from = row.out + span.j * c;
    for (int64_t k = 0; k < span.pixels; k++)
      for_channels<T>(c, span.room, [&](int64_t channel, int n, int first) PYNN_LAMBDA {
        const Vec<T> share = load_some(dy + from + k * c + channel, n) * inverse;
        for (int64_t t = 0; t < span.count; t++) put(to + k * stride + t * step + channel, share, first, n);
      });
  };
  T* dx = static_cast<T*>(p.dx);
  const T* output = static_cast<const T*>(p.output);
  for_input_rows<T>(s, p.count_padding, dx, send, [=, &p](int64_t begin, int64_t end) PYNN_LAMBDA {
    if (p.activation == Activation::none) return;
    with_activation(p.activation, [=](auto kind) PYNN_LAMBDA {
      constexpr Activation f = decltype(kind)::value;
      const auto times = [](Vec<T> g, Vec<T> y) PYNN_LAMBDA { return activation_gradient<f, T>(g, y); };
      map_range<T>(begin, end, times, dx, dx, output);
    });
  });
  return Status::ok;
}

}  // namespace

Status max_pool_backward(const MaxPool2dBackward& p) {
  if (has_tiled_gradient(p.shape)) return max_pool_backward_tiled(p);
  const bool byte = has_byte_numbers(p.shape);
  if (p.shape.dtype == DType::float64) return byte ? max_as<double, uint8_t>(p) : max_as<double, int32_t>(p);
  return byte ? max_as<float, uint8_t>(p) : max_as<float, int32_t>(p);
}

Status average_pool_backward(const AveragePool2dBackward& p) {
  if (has_tiled_gradient(p.shape)) return average_pool_backward_tiled(p);
  return p.shape.dtype == DType::float64 ? average_as<double>(p) : average_as<float>(p);
}

}  // namespace pynn::PYNN_ISA
