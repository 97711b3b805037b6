// The gradients of pooling, split over the rows of the input: each takes what the windows over it send there, so no two
// threads write to one place.
#include "kernels/pool2d_window.h"
#include "runtime/workspace.h"
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

// The gradient that reaches one row: the windows' elements with the numbers `number` and on are in it.
struct Row {
  int64_t number;
  int64_t window;  // of rows
  int64_t out;     // offset of its pixels
};

// pixel(row, window, j, room, store) for every window of a row of the input, from left to right. store(place, first,
// value, n) keeps or adds what goes to an element.
template <class T, class Pixel>
PYNN_INLINE void for_input_rows(const PoolShape& s, T* dx, const Pixel& pixel) {
  const PoolAxis &rows = s.rows, &columns = s.columns;
  const bool once = disjoint(columns) && disjoint(rows);
  const int64_t size = columns.in * s.c;
  const Window last = window(columns, columns.out - 1);
  const int64_t width = once ? last.at + last.first + last.count : columns.in;
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
        const Row row = {distance / rows.dilation * columns.kernel, i, (image * rows.out + i) * columns.out * s.c};
        for (int64_t j = 0; j < columns.out; j++) {
          const Window across = window(columns, j);
          const int64_t column = across.at + across.first * columns.dilation;
          const int64_t end_column = column + (across.count - 1) * columns.dilation;
          const int64_t room = min_of(width - end_column, columns.out - j) * s.c;
          if (once)
            pixel(row, across, j, room, to + column * s.c,
                  [](T* place, Vec<T> value, int, int n) PYNN_LAMBDA { store_some(place, value, n); });
          else
            pixel(row, across, j, room, to + column * s.c, [&](T* place, Vec<T> value, int first, int n) PYNN_LAMBDA {
              if (first > 0 || s.c < lanes<T>) {  // what belongs to other pixels, or is added already, takes a zero
                const auto lane = lane_numbers<T>();
                value = (lane >= T(first)) & (lane < T(s.c)) ? value : Vec<T>{};
              }
              store_some(place, load_some(place, n) + value, n);
            });
        }
      }
    }
  });
}

template <class T, class I>
Status max_as(const MaxPool2dBackward& p) {
  using Int = typename IntOf<T>::type;
  const T* dy = static_cast<const T*>(p.dy);
  const I* index = static_cast<const I*>(p.index);
  const int64_t c = p.shape.c, step = p.shape.columns.dilation * c;
  for_input_rows<T>(p.shape, static_cast<T*>(p.dx),
                    [=](const Row& row, const Window& across, int64_t j, int64_t room, T* to, const auto& put)
                        PYNN_LAMBDA {
                          const int64_t from = row.out + j * c;
                          for_channels<T>(c, room, [&](int64_t channel, int n, int first) PYNN_LAMBDA {
                            const Vec<T> grad = load_some(dy + from + channel, n);
                            const I* numbers = index + from + channel;
                            const VecInt<T> number = n == lanes<T> ? load_index<T>(numbers) : load_index<T>(numbers, n);
                            for (int64_t k = 0; k < across.count; k++)
                              put(to + k * step + channel,
                                  number == broadcast(Int(row.number + across.first + k)) ? grad : Vec<T>{}, first, n);
                          });
                        });
  return Status::ok;
}

template <class T>
Status average_as(const AveragePool2dBackward& p) {
  const PoolShape& s = p.shape;
  const T* dy = static_cast<const T*>(p.dy);
  for_input_rows<T>(s, static_cast<T*>(p.dx),
                    [=](const Row& row, const Window& across, int64_t j, int64_t room, T* to, const auto& put)
                        PYNN_LAMBDA {
                          const int64_t height = divisor(s.rows, window(s.rows, row.window), p.count_padding);
                          const int64_t count = height * divisor(s.columns, across, p.count_padding);
                          const T inverse = T(1) / T(p.divisor ? p.divisor : count);
                          for_channels<T>(s.c, room, [&](int64_t channel, int n, int first) PYNN_LAMBDA {
                            const Vec<T> share = load_some(dy + row.out + j * s.c + channel, n) * inverse;
                            for (int64_t k = 0; k < across.count; k++)
                              put(to + k * s.columns.dilation * s.c + channel, share, first, n);
                          });
                        });
  return Status::ok;
}

}  // namespace

Status max_pool_backward(const MaxPool2dBackward& p) {
  const bool byte = has_byte_numbers(p.shape);
  if (p.shape.dtype == DType::float64) return byte ? max_as<double, uint8_t>(p) : max_as<double, int32_t>(p);
  return byte ? max_as<float, uint8_t>(p) : max_as<float, int32_t>(p);
}

Status average_pool_backward(const AveragePool2dBackward& p) {
  return p.shape.dtype == DType::float64 ? average_as<double>(p) : average_as<float>(p);
}

}  // namespace pynn::PYNN_ISA
