// Pooling: for each output row and pixel, vectors of channels go over the elements of the window.
#include "ops/pool2d.h"

#include "kernels/pool2d_pairs.h"
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

// What an average divides by. A division takes its time, and is a product where the inverse is exact.
template <class T>
struct Divisor {
  T factor;
  bool exact;
  explicit Divisor(int64_t divisor) : exact(divisor > 0 && (divisor & (divisor - 1)) == 0) {
    factor = exact ? T(1) / T(divisor) : T(divisor);
  }
  PYNN_INLINE Vec<T> operator()(Vec<T> total) const { return exact ? total * factor : total / factor; }
};

// A row of the output, and the rows of the input that its windows see.
template <class T>
struct Row {
  int64_t y;   // offset of the row
  const T* x;  // the first of the rows
  Window down;
  int64_t divisor;  // of an average, of this axis
};

// Number i of the rows of all outputs.
template <class T>
PYNN_INLINE Row<T> row_of(const PoolShape& s, const T* x, int64_t i, bool count_padding) {
  const Window down = window(s.rows, i % s.rows.out);
  const int64_t first = i / s.rows.out * s.rows.in + down.at + down.first * s.rows.dilation;
  return {i * s.columns.out * s.c, x + first * s.columns.in * s.c, down, divisor(s.rows, down, count_padding)};
}

// f(taps, element, y, n, divisor) for the vectors of an output row: n elements from y on; element(i, j) loads what row
// i and column j of their windows are. The divisor of an average is `given` or, where that is 0, its window's.
template <class T, class F>
PYNN_INLINE void for_pixels_of_row(const PoolShape& s, const Row<T>& row, bool count_padding, int64_t given,
                                   const F& f) {
  const PoolAxis &rows = s.rows, &columns = s.columns;
  for_spans<T>(columns, s.c, columns.in, count_padding, [&](const Span& span) PYNN_LAMBDA {
    const Taps taps = {row.down.count,
                       span.count,
                       rows.dilation * columns.in * s.c,
                       columns.dilation * s.c,
                       row.down.first * columns.kernel + span.first,
                       columns.kernel};
    const Divisor<T> divisor(given ? given : row.divisor * span.divisor);
    with_taps(taps, [&](const Taps& t) PYNN_LAMBDA {
      for (int64_t k = 0; k < span.pixels; k++)
        for_channels<T>(s.c, span.room, [&](int64_t channel, int n, int) PYNN_LAMBDA {
          const T* x = row.x + (span.column + k * columns.stride) * s.c + channel;
          const auto element = [&](int64_t i, int64_t j)
                                   PYNN_LAMBDA { return load_some(x + i * t.row_step + j * t.column_step, n); };
          f(t, element, row.y + (span.j + k) * s.c + channel, n, divisor);
        });
    });
  });
}

// The same of pairs of columns.
template <class T, class F>
PYNN_INLINE void for_pairs_of_row(const PoolShape& s, const Row<T>& row, const Pairs<T>& pairs, int64_t given,
                                  const F& f) {
  const Taps taps = {row.down.count, 2, s.rows.dilation * s.columns.in * s.c, s.c, row.down.first * 2, 2};
  const Divisor<T> divisor(given ? given : row.divisor * 2);
  with_taps(taps, [&](const Taps& t) PYNN_LAMBDA {
    for_pairs(s, pairs, [&](const PairSpan& span) PYNN_LAMBDA {
      const auto element = [&](int64_t i, int64_t j) PYNN_LAMBDA {
        const T* x = row.x + 2 * span.at + i * t.row_step;
        return permute(load_some(x, span.first), load_some(x + lanes<T>, span.second), pairs.element[j]);
      };
      f(t, element, row.y + span.at, span.n, divisor);
    });
  });
}

// f for the vectors of all output rows.
template <class T, class F>
PYNN_INLINE void for_pixels(const PoolShape& shape, const T* all_x, bool count_padding, int64_t given,
                            const F& given_f) {
  const bool paired = has_pairs<T>(shape);
  const int64_t outputs = shape.columns.out, taps = shape.rows.kernel * shape.columns.kernel;
  const double cost = pool_row_cost<T>(shape, paired ? ceil_div(outputs, lanes<T> / shape.c) : outputs, taps);
  parallel_ranges(shape.n * shape.rows.out, 1, cost, [&](int64_t begin, int64_t end) {
    // Copies: what lies in memory would be read again after every store.
    const PoolShape s = shape;
    const F f = given_f;
    const T* const x = all_x;
    const auto for_rows = [&](const auto& body) PYNN_LAMBDA {
      for (int64_t i = begin; i < end; i++) body(row_of(s, x, i, count_padding));
    };
    if constexpr (kPermutes<T>) {
      if (paired) {
        const Pairs<T> pairs(s.c);
        for_rows([&](const Row<T>& row) PYNN_LAMBDA { for_pairs_of_row(s, row, pairs, given, f); });
        return;
      }
    }
    for_rows([&](const Row<T>& row) PYNN_LAMBDA { for_pixels_of_row(s, row, count_padding, given, f); });
  });
}

template <class T, class I, class Element>
PYNN_INLINE void largest(const Taps& taps, const Element& element, T* y, I* index, int n) {
  using Int = typename IntOf<T>::type;
  Vec<T> best = element(0, 0);
  VecInt<T> number = broadcast(Int(taps.number));
  for (int64_t i = 0; i < taps.rows; i++)
    for (int64_t j = i == 0; j < taps.columns; j++) {
      const Vec<T> value = element(i, j);
      const auto better = (value > best) | (value != value);
      best = better ? value : best;
      number = better ? broadcast(Int(taps.number + i * taps.row_number + j)) : number;
    }
  store_some(y, best, n);
  if (index) store_some_index<T>(index, number, n);
}

template <class T, class I, bool indexed>
void max_as(const MaxPool2d& p) {
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  I* index = static_cast<I*>(p.index);
  for_pixels<T>(p.shape, x, false, 0,
                [=](const Taps& taps, const auto& element, int64_t out, int n, const Divisor<T>&)
                    PYNN_LAMBDA { largest<T>(taps, element, y + out, indexed ? index + out : nullptr, n); });
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
template <class T, class Element>
PYNN_INLINE Vec<T> sum(const Taps& taps, const Element& element) {
  Vec<T> total{};
  for (int64_t i = 0; i < taps.rows; i++)
    for (int64_t run = 0; run < taps.columns; run += kRun) {
      Vec<T> chain = element(i, run);
      for (int64_t j = run + 1; j < min_of(run + kRun, taps.columns); j++) chain = chain + element(i, j);
      total = total + chain;
    }
  return total;
}

// For windows of many elements and channels: row by row of the input, with the totals in y, where f above would read a
// line here and a line there. The same bits; 32 x 256 x 7 x 7 1.46, 32 x 1024 x 14 x 14 1.64 times as fast (Zen 5).
template <class T>
void average_wide(const AveragePool2d& p) {
  const double cost = pool_row_cost<T>(p.shape, p.shape.columns.out, p.shape.rows.kernel * p.shape.columns.kernel);
  parallel_ranges(p.shape.n * p.shape.rows.out, 1, cost, [&](int64_t begin, int64_t end) {
    const PoolShape s = p.shape;
    const int64_t column = s.columns.dilation * s.c, next = s.rows.dilation * s.columns.in * s.c;
    for (int64_t i = begin; i < end; i++) {
      const Row<T> row = row_of(s, static_cast<const T*>(p.x), i, p.count_padding);
      for (int64_t j = 0; j < s.columns.out; j++) {
        const Window across = window(s.columns, j);
        const T* x = row.x + across.at * s.c + across.first * column;
        T* y = static_cast<T*>(p.y) + row.y + j * s.c;
        const Divisor<T> mean(p.divisor ? p.divisor : row.divisor * divisor(s.columns, across, p.count_padding));
        for (int64_t left = row.down.count; left > 0; left--, x += next)
          for (int64_t channel = 0; channel < s.c; channel += lanes<T>) {
            const int n = int(min_of(lanes<T>, s.c - channel));
            Vec<T> chain = load_some(x + channel, n);
            for (int64_t k = 1; k < across.count; k++) chain = chain + load_some(x + k * column + channel, n);
            const Vec<T> total = (left == row.down.count ? Vec<T>{} : load_some(y + channel, n)) + chain;
            store_some(y + channel, left > 1 ? total : mean(total), n);
          }
      }
    }
  });
}

template <class T>
Status average_as(const AveragePool2d& p) {
  const PoolAxis& columns = p.shape.columns;
  if (p.shape.c >= 4 * lanes<T> && columns.kernel >= 4 && columns.in <= kRun) return average_wide<T>(p), Status::ok;
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  for_pixels<T>(p.shape, x, p.count_padding, p.divisor,
                [=](const Taps& taps, const auto& element, int64_t out, int n, const Divisor<T>& divisor)
                    PYNN_LAMBDA { store_some(y + out, divisor(sum<T>(taps, element)), n); });
  return Status::ok;
}

Status average(const AveragePool2d& p) {
  return p.shape.dtype == DType::float64 ? average_as<double>(p) : average_as<float>(p);
}

}  // namespace

extern const Pool2dKernels pool2d_kernels;
const Pool2dKernels pool2d_kernels = {max,     max_pool_backward,     max_pool_places,
                                      average, average_pool_backward, average_pool_backward_in_place,
                                      unpool,  unpool_backward};

}  // namespace pynn::PYNN_ISA
