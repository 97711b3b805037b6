// The gradients of pooling whose windows lie side by side: each row of the output fills its own rows of the input.
#include "kernels/pool2d_pairs.h"
#include "runtime/workspace.h"
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

// A row of the output: `read(y, n)` gives an Average or Largest of n elements from y on,
// `put(place, value, n)` takes what goes to places of dx.
template <class T, class Read, class Put>
PYNN_INLINE void send_row(const PoolShape& s, int64_t height, int64_t width, int64_t y, Place<T> dx, const Read& read,
                          const Put& put) {
  using Int = typename IntOf<T>::type;
  const int64_t c = s.c, next = s.columns.in * c;
  for (int64_t i = 0; i < height; i++)
    for (int64_t j = 0; j < s.columns.out; j++)
      for_channels<T>(c, (s.columns.out - j) * c, [&](int64_t channel, int n, int) PYNN_LAMBDA {
        const auto sent = read(y + j * c + channel, n);
        const Place<T> to = dx + (i * next + j * width * c + channel);
        for (int64_t k = 0; k < width; k++) put(to + k * c, sent.share(broadcast(Int(i * width + k))), n);
      });
}

// The same of pairs of columns.
template <class T, class Read, class Put>
PYNN_INLINE void send_row_of_pairs(const PoolShape& s, const Pairs<T>& pairs, int64_t height, int64_t y, Place<T> dx,
                                   const Read& read, const Put& put) {
  using Int = typename IntOf<T>::type;
  const int64_t next = s.columns.in * s.c;
  for_pairs(s, pairs, [&](int64_t at, int n, int first, int second) PYNN_LAMBDA {
    const auto sent = read(y + at, n);
    const auto left_part = sent.spread(pairs.window[0]), right_part = sent.spread(pairs.window[1]);
    for (int64_t i = 0; i < height; i++) {
      const Place<T> to = dx + (2 * at + i * next);
      put(to, left_part.share(pairs.column[0] + broadcast(Int(2 * i))), first);
      put(to + lanes<T>, right_part.share(pairs.column[1] + broadcast(Int(2 * i))), second);
    }
  });
}

template <class T, class Put>
PYNN_INLINE void put_zeros(Place<T> to, int64_t n, const Put& put) {
  for (int64_t i = 0; i < n; i += lanes<T>) put(to + i, Vec<T>{}, int(min_of(lanes<T>, n - i)));
}

// Where dx lies on `output`, the rows of it that a row of the output fills are copied first, for a vector may write
// beyond what it has read; one row ahead, since what was just stored is slow to load from another place.
template <class T, class Read, class Put>
PYNN_INLINE Status send(const PoolShape& s, T* dx, const T* output, const Read& read, const Put& put) {
  const PoolAxis &rows = s.rows, &columns = s.columns;
  const bool paired = has_pairs<T>(s);
  const int64_t size = columns.in * s.c, covered = columns.out * columns.kernel * s.c;
  const int64_t vectors = paired ? 2 * ceil_div(columns.out, lanes<T> / s.c) : columns.out * columns.kernel;
  const double cost = pool_row_cost<T>(s, vectors, rows.kernel);
  int failed = 0;
  parallel_ranges(s.n * rows.out, 1, cost, [&](int64_t begin, int64_t end) {
    const int64_t copy_size = 2 * rows.kernel * size;
    T* copied = nullptr;
    if (output == dx) {
      copied = static_cast<T*>(scratch(Scratch::row, size_t(2 * copy_size) * sizeof(T)));
      if (!copied) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    }
    // The rows of dx that belong to a row of the output: the last one of an image has those that no window covers, too.
    const auto first_of = [&](int64_t row)
                              PYNN_LAMBDA { return row / rows.out * rows.in + row % rows.out * rows.kernel; };
    const auto count_of = [&](int64_t row) PYNN_LAMBDA {
      return row % rows.out + 1 < rows.out ? rows.kernel : rows.in - row % rows.out * rows.kernel;
    };
    const auto copy = [&](int64_t row) PYNN_LAMBDA {
      __builtin_memcpy(copied + row % 2 * copy_size, output + first_of(row) * size,
                       size_t(count_of(row) * size) * sizeof(T));
    };
    const auto for_rows = [&](const auto& body) PYNN_LAMBDA {
      if (copied && begin < end) copy(begin);
      for (int64_t row = begin; row < end; row++) {
        if (copied && row + 1 < end) copy(row + 1);
        const int64_t at = first_of(row) * size;
        const Place<T> to = {dx + at, copied ? copied + row % 2 * copy_size : output ? output + at : dx + at};
        body(row * columns.out * s.c, to);
        if (covered < size)
          for (int64_t k = 0; k < rows.kernel; k++) put_zeros(to + (k * size + covered), size - covered, put);
        put_zeros(to + rows.kernel * size, (count_of(row) - rows.kernel) * size, put);
      }
    };
    if constexpr (kPermutes<T>) {
      if (paired) {
        const Pairs<T> pairs(s.c);
        if (rows.kernel == 2)
          for_rows([&](int64_t y, Place<T> to) PYNN_LAMBDA { send_row_of_pairs(s, pairs, 2, y, to, read, put); });
        else
          for_rows([&](int64_t y, Place<T> to)
                       PYNN_LAMBDA { send_row_of_pairs(s, pairs, rows.kernel, y, to, read, put); });
        return;
      }
    }
    if (rows.kernel == 2 && columns.kernel == 2)
      for_rows([&](int64_t y, Place<T> to) PYNN_LAMBDA { send_row(s, 2, 2, y, to, read, put); });
    else
      for_rows([&](int64_t y, Place<T> to) PYNN_LAMBDA { send_row(s, rows.kernel, columns.kernel, y, to, read, put); });
  });
  return failed ? Status::out_of_memory : Status::ok;
}

template <class T, class I>
Status max_as(const MaxPool2dBackward& p) {
  const T* dy = static_cast<const T*>(p.dy);
  const I* index = static_cast<const I*>(p.index);
  const auto read = [=](int64_t y, int n) PYNN_LAMBDA {
    return Largest<T>{load_some(dy + y, n), load_some_index<T>(index + y, n)};
  };
  return send<T>(p.shape, static_cast<T*>(p.dx), nullptr, read,
                 [](Place<T> to, Vec<T> v, int n) PYNN_LAMBDA { store_some(to.dx, v, n); });
}

template <class T, Activation kind>
Status average_as(const AveragePool2dBackward& p) {
  const T* dy = static_cast<const T*>(p.dy);
  const T inverse = T(1) / T(p.divisor ? p.divisor : p.shape.rows.kernel * p.shape.columns.kernel);
  const auto read = [=](int64_t y, int n) PYNN_LAMBDA { return Average<T>{load_some(dy + y, n) * inverse}; };
  return send<T>(p.shape, static_cast<T*>(p.dx), static_cast<const T*>(p.output), read,
                 [](Place<T> to, Vec<T> v, int n) PYNN_LAMBDA {
                   if constexpr (kind != Activation::none) v = activation_gradient<kind, T>(v, load_some(to.output, n));
                   store_some(to.dx, v, n);
                 });
}

template <class T>
Status average_of_type(const AveragePool2dBackward& p) {
  return with_activation(p.activation, [&](auto kind) { return average_as<T, decltype(kind)::value>(p); });
}

}  // namespace

Status max_pool_backward_tiled(const MaxPool2dBackward& p) {
  const bool byte = has_byte_numbers(p.shape);
  if (p.shape.dtype == DType::float64) return byte ? max_as<double, uint8_t>(p) : max_as<double, int32_t>(p);
  return byte ? max_as<float, uint8_t>(p) : max_as<float, int32_t>(p);
}

Status average_pool_backward_tiled(const AveragePool2dBackward& p) {
  return p.shape.dtype == DType::float64 ? average_of_type<double>(p) : average_of_type<float>(p);
}

}  // namespace pynn::PYNN_ISA
