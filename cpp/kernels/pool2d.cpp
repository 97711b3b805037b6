// Pooling: for each output row and pixel, vectors of channels go over the elements of the window.
#include "ops/pool2d.h"

#include "kernels/pool2d_window.h"
#include "simd/index.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t kRun = 512;  // terms of a chain of additions

// The elements of a window that lie inside: how many, their distances, the number of the first and of a row.
struct Taps {
  int64_t rows, columns, row_step, column_step, number, row_number;
};

// f(taps) with constants for the usual windows, so that the loops over them are unrolled.
template <class F>
PYNN_INLINE void with_taps(Taps taps, const F& f) {
  if (taps.rows == 2 && taps.columns == 2) {
    taps.rows = taps.columns = 2;
    f(taps);
  } else if (taps.rows == 3 && taps.columns == 3) {
    taps.rows = taps.columns = 3;
    f(taps);
  } else {
    f(taps);
  }
}

// f(taps, x, y, n, divisor) for the vectors of every output pixel, n elements from x and y on.
template <class T, class F>
PYNN_INLINE void for_pixels(const PoolShape& s, bool count_padding, const F& f) {
  const PoolAxis &rows = s.rows, &columns = s.columns;
  const double cost = pool_row_cost<T>(s, columns.out, rows.kernel * columns.kernel);
  parallel_ranges(s.n * rows.out, 1, cost, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
      const Window down = window(rows, row % rows.out);
      const int64_t first = row / rows.out * rows.in + down.at + down.first * rows.dilation;
      const int64_t height = divisor(rows, down, count_padding);
      for_spans<T>(columns, s.c, columns.in, count_padding, [&](const Span& span) PYNN_LAMBDA {
        const Taps taps = {down.count,
                           span.count,
                           rows.dilation * columns.in * s.c,
                           columns.dilation * s.c,
                           down.first * columns.kernel + span.first,
                           columns.kernel};
        const int64_t x = (first * columns.in + span.column) * s.c, y = (row * columns.out + span.j) * s.c;
        with_taps(taps, [&](const Taps& t) PYNN_LAMBDA {
          for (int64_t k = 0; k < span.pixels; k++)
            for_channels<T>(s.c, span.room, [&](int64_t channel, int n, int) PYNN_LAMBDA {
              f(t, x + k * columns.stride * s.c + channel, y + k * s.c + channel, n, height * span.divisor);
            });
        });
      });
    }
  });
}

template <class T, class I>
PYNN_INLINE void largest(const Taps& taps, const T* x, T* y, I* index, int n) {
  using Int = typename IntOf<T>::type;
  Vec<T> best = load_some(x, n);
  VecInt<T> number = broadcast(Int(taps.number));
  for (int64_t i = 0; i < taps.rows; i++)
    for (int64_t j = i == 0; j < taps.columns; j++) {
      const Vec<T> value = load_some(x + i * taps.row_step + j * taps.column_step, n);
      const auto better = (value > best) | (value != value);
      best = better ? value : best;
      number = better ? broadcast(Int(taps.number + i * taps.row_number + j)) : number;
    }
  store_some(y, best, n);
  if (index) n == lanes<T> ? store_index<T>(index, number) : store_index<T>(index, number, n);
}

template <class T, class I, bool indexed>
void max_as(const MaxPool2d& p) {
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  I* index = static_cast<I*>(p.index);
  for_pixels<T>(p.shape, false, [=](const Taps& taps, int64_t in, int64_t out, int n, int64_t) PYNN_LAMBDA {
    largest(taps, x + in, y + out, indexed ? index + out : nullptr, n);
  });
}

template <class T>
Status max_of_type(const MaxPool2d& p) {
  if (!p.index)
    max_as<T, uint8_t, false>(p);
  else if (has_byte_numbers(p.shape))
    max_as<T, uint8_t, true>(p);
  else
    max_as<T, int32_t, true>(p);
  return Status::ok;
}

Status max(const MaxPool2d& p) {
  return p.shape.dtype == DType::float64 ? max_of_type<double>(p) : max_of_type<float>(p);
}

// Starts from +0, so that a window of -0 gives 0, as a sum does.
template <class T>
PYNN_INLINE Vec<T> sum(const Taps& taps, const T* x, int n) {
  Vec<T> total{};
  for (int64_t i = 0; i < taps.rows; i++)
    for (int64_t run = 0; run < taps.columns; run += kRun) {
      const T* from = x + i * taps.row_step + run * taps.column_step;
      Vec<T> chain = load_some(from, n);
      for (int64_t j = 1; j < min_of(kRun, taps.columns - run); j++)
        chain = chain + load_some(from + j * taps.column_step, n);
      total = total + chain;
    }
  return total;
}

template <class T>
Status average_as(const AveragePool2d& p) {
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  const int64_t given = p.divisor;
  for_pixels<T>(p.shape, p.count_padding,
                [=](const Taps& taps, int64_t in, int64_t out, int n, int64_t count) PYNN_LAMBDA {
                  const int64_t divisor = given ? given : count;
                  const bool exact = divisor > 0 && (divisor & (divisor - 1)) == 0;  // and a division takes its time
                  const Vec<T> total = sum(taps, x + in, n);
                  store_some(y + out, exact ? total * (T(1) / T(divisor)) : total / T(divisor), n);
                });
  return Status::ok;
}

Status average(const AveragePool2d& p) {
  return p.shape.dtype == DType::float64 ? average_as<double>(p) : average_as<float>(p);
}

}  // namespace

extern const Pool2dKernels pool2d_kernels;
const Pool2dKernels pool2d_kernels = {max,    max_pool_backward, max_pool_places, average, average_pool_backward,
                                      unpool, unpool_backward};

}  // namespace pynn::PYNN_ISA
