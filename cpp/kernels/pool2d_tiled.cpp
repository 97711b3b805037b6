// The gradients of float32 pooling whose windows lie side by side: each row of the output fills its own rows of the
// input.
#include "kernels/pool2d_pairs.h"
#include "simd/activation.h"
#include "simd/index.h"

namespace pynn::PYNN_ISA {
namespace {

// What some windows send to their elements: share(number) is for the lanes' elements of that number.
template <class T>
struct Average {
  Vec<T> mean;
  PYNN_INLINE Vec<T> share(VecInt<T>) const { return mean; }
  PYNN_INLINE Average spread(VecInt<T> windows) const { return {permute(mean, windows)}; }
};
template <class T>
struct Largest {
  Vec<T> gradient;
  VecInt<T> winner;
  PYNN_INLINE Vec<T> share(VecInt<T> number) const { return winner == number ? gradient : Vec<T>{}; }
  PYNN_INLINE Largest spread(VecInt<T> windows) const { return {permute(gradient, windows), permute(winner, windows)}; }
};

// An element of dx, and where the output of the activation lies that it was (where there is none, dx again).
template <class T>
struct Place {
  T* dx;
  const T* output;
  PYNN_INLINE Place operator+(int64_t n) const { return {dx + n, output + n}; }
};

// A row of the output: `read(y, n)` gives an Average or Largest of n elements from y on, `fetch(place, n)` what else is
// needed for n places of dx, and put(place, value, fetched, n) takes what goes to them.
template <class T, class Read, class Fetch, class Put>
PYNN_INLINE void send_row(const PoolShape& s, int64_t height, int64_t width, int64_t y, Place<T> dx, const Read& read,
                          const Fetch& fetch, const Put& put) {
  using Int = typename IntOf<T>::type;
  const int64_t c = s.c, next = s.columns.in * c;
  for (int64_t j = 0; j < s.columns.out; j++)
    for_channels<T>(c, (s.columns.out - j) * c, [&](int64_t channel, int n, int) PYNN_LAMBDA {
      const auto sent = read(y + j * c + channel, n);
      const Place<T> to = dx + (j * width * c + channel);
      for (int64_t i = 0; i < height; i++)
        for (int64_t k = 0; k < width; k++) {
          const Place<T> at = to + (i * next + k * c);
          put(at, sent.share(broadcast(Int(i * width + k))), fetch(at, n), n);
        }
    });
}

// The same of pairs of columns.
template <class T, class Read, class Fetch, class Put>
PYNN_INLINE void send_row_of_pairs(const PoolShape& s, const Spread<T>& spread, int64_t height, int64_t y, Place<T> dx,
                                   const Read& read, const Fetch& fetch, const Put& put) {
  using Int = typename IntOf<T>::type;
  constexpr int L = lanes<T>;
  const int64_t outputs = s.columns.out * s.c, next = s.columns.in * s.c;
  const auto send = [&](int64_t at, int64_t from, int64_t k, int n, int sent_n) PYNN_LAMBDA {
    const auto sent = read(y + from, sent_n).spread(spread.window[k]);
    for (int64_t i = 0; i < height; i++) {
      const Place<T> to = dx + (i * next + at);
      put(to, sent.share(spread.column[k] + broadcast(Int(2 * i))), fetch(to, n), n);
    }
  };
  int64_t before = 0, k = 0;  // `before`: elements of the output before the period
  for (int64_t at = 0; at < 2 * outputs; at += L) {
    const int64_t from = before + spread.from[k];
    if (from + L <= outputs)
      send(at, from, k, L, L);
    else
      send(at, from, k, int(min_of(L, 2 * outputs - at)), int(min_of(L, outputs - from)));
    if (++k == spread.count) k = 0, before += spread.period;
  }
}

template <class T, class Fetch, class Put>
PYNN_INLINE void put_zeros(Place<T> to, int64_t n, const Fetch& fetch, const Put& put) {
  for (int64_t i = 0; i < n; i += lanes<T>) {
    const int count = int(min_of(lanes<T>, n - i));
    put(to + i, Vec<T>{}, fetch(to + i, count), count);
  }
}

template <class T, class Read, class Fetch, class Put>
PYNN_INLINE void send(const PoolShape& shape, T* all_dx, const T* all_output, const Read& given_read,
                      const Fetch& fetch, const Put& put) {
  const bool paired = has_pairs<T>(shape);
  const int64_t outputs = shape.columns.out;
  const int64_t vectors = paired ? 2 * ceil_div(outputs, lanes<T> / shape.c) : outputs * shape.columns.kernel;
  const double cost = pool_row_cost<T>(shape, vectors, shape.rows.kernel);
  parallel_ranges(shape.n * shape.rows.out, 1, cost, [&](int64_t begin, int64_t end) {
    // Copies: what lies in memory would be read again after every store.
    const PoolShape s = shape;
    const Read read = given_read;
    T* const dx = all_dx;
    const T* const output = all_output;
    const PoolAxis &rows = s.rows, &columns = s.columns;
    const int64_t size = columns.in * s.c, covered = columns.out * columns.kernel * s.c;
    const auto for_rows = [&](const auto& body) PYNN_LAMBDA {
      for (int64_t row = begin; row < end; row++) {
        const int64_t image = row / rows.out, i = row % rows.out;
        const int64_t at = (image * rows.in + i * rows.kernel) * size;
        const Place<T> to = {dx + at, output ? output + at : dx + at};
        body(row * columns.out * s.c, to);
        if (covered < size)
          for (int64_t k = 0; k < rows.kernel; k++) put_zeros(to + (k * size + covered), size - covered, fetch, put);
        if (i + 1 == rows.out)  // the rows of an image that no window covers
          put_zeros(to + rows.kernel * size, (rows.in - rows.out * rows.kernel) * size, fetch, put);
      }
    };
    if constexpr (kPermutes<T>) {
      if (paired) {
        const Spread<T> spread(s.c);
        if (rows.kernel == 2)
          for_rows([&](int64_t y, Place<T> to)
                       PYNN_LAMBDA { send_row_of_pairs(s, spread, 2, y, to, read, fetch, put); });
        else
          for_rows([&](int64_t y, Place<T> to)
                       PYNN_LAMBDA { send_row_of_pairs(s, spread, rows.kernel, y, to, read, fetch, put); });
        return;
      }
    }
    if (rows.kernel == 2 && columns.kernel == 2)
      for_rows([&](int64_t y, Place<T> to) PYNN_LAMBDA { send_row(s, 2, 2, y, to, read, fetch, put); });
    else
      for_rows([&](int64_t y, Place<T> to)
                   PYNN_LAMBDA { send_row(s, rows.kernel, columns.kernel, y, to, read, fetch, put); });
  });
}

template <class T, class I>
Status max_as(const MaxPool2dBackward& p) {
  const T* dy = static_cast<const T*>(p.dy);
  const I* index = static_cast<const I*>(p.index);
  const auto read = [=](int64_t y, int n) PYNN_LAMBDA {
    return Largest<T>{load_some(dy + y, n), load_some_index<T>(index + y, n)};
  };
  const auto nothing = [](Place<T>, int) PYNN_LAMBDA { return 0; };
  send<T>(p.shape, static_cast<T*>(p.dx), nullptr, read, nothing,
          [](Place<T> to, Vec<T> v, int, int n) PYNN_LAMBDA { store_some(to.dx, v, n); });
  return Status::ok;
}

template <class T, Activation kind>
Status average_as(const AveragePool2dBackward& p) {
  const T* dy = static_cast<const T*>(p.dy);
  const T inverse = T(1) / T(p.divisor ? p.divisor : p.shape.rows.kernel * p.shape.columns.kernel);
  const auto read = [=](int64_t y, int n) PYNN_LAMBDA { return Average<T>{load_some(dy + y, n) * inverse}; };
  T* dx = static_cast<T*>(p.dx);
  if constexpr (kind == Activation::none) {
    const auto nothing = [](Place<T>, int) PYNN_LAMBDA { return 0; };
    send<T>(p.shape, dx, nullptr, read, nothing,
            [](Place<T> to, Vec<T> v, int, int n) PYNN_LAMBDA { store_some(to.dx, v, n); });
  } else {
    const auto output = [](Place<T> from, int n) PYNN_LAMBDA { return load_some(from.output, n); };
    send<T>(p.shape, dx, static_cast<const T*>(p.output), read, output,
            [](Place<T> to, Vec<T> v, Vec<T> y, int n)
                PYNN_LAMBDA { store_some(to.dx, activation_gradient<kind, T>(v, y), n); });
  }
  return Status::ok;
}

}  // namespace

Status max_pool_backward_tiled(const MaxPool2dBackward& p) {
  return has_byte_numbers(p.shape) ? max_as<float, uint8_t>(p) : max_as<float, int32_t>(p);
}

Status average_pool_backward_tiled(const AveragePool2dBackward& p) {
  return with_activation(p.activation, [&](auto kind) { return average_as<float, decltype(kind)::value>(p); });
}

bool average_pool_backward_in_place(const PoolShape& s) {
  return has_tiled_gradient(s) && (has_pairs<float>(s) || s.c % lanes<float> == 0);
}

}  // namespace pynn::PYNN_ISA
