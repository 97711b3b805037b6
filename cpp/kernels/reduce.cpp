// Sums in a fixed tree, whoever computes its branches.
#include "ops/reduce.h"

#include "runtime/workspace.h"
#include "simd/lanes.h"
#include "simd/parallel.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t kChunk = 1 << 15;  // terms of a row summed by one task: 64 blocks
constexpr int64_t kColumnBlock = 32;

template <class T>
PYNN_INLINE T finish(T sum, const ReduceSum& p) {
  if constexpr (T(0.5) != T(0)) return p.mean ? sum / T(p.space.count) : sum;
  return sum;
}

template <class T>
T sum_row(const T* x, int64_t begin, int64_t end) {
  return sum_range<T>(begin, end, [=](int64_t i, int n) PYNN_LAMBDA { return load_lanes(x + i, n); });
}

// sums[r] = the sum of row r, as sum_row's. A row of up to some blocks alone would wait for each of its additions.
template <class T, int rows>
void sum_short_rows(const T* x, int64_t stride, int64_t count, T* sums) {
  PairwiseSum<T> trees[rows];
  for (int64_t i = 0; i < count;) {
    const int64_t end = min_of(count, i + kBlockTerms);
    Lanes<T> sum[rows];
    PYNN_UNROLL
    for (int r = 0; r < rows; r++) sum[r] = broadcast_lanes(T(0));
    for (; i + kLanes <= end; i += kLanes) {
      PYNN_UNROLL
      for (int r = 0; r < rows; r++) sum[r] = sum[r] + load_lanes(x + r * stride + i);
    }
    if (i < end) {
      PYNN_UNROLL
      for (int r = 0; r < rows; r++) sum[r] = sum[r] + load_lanes(x + r * stride + i, int(end - i));
    }
    i = end;
    for (int r = 0; r < rows; r++) trees[r].add(fold_sum(sum[r]));
  }
  for (int r = 0; r < rows; r++) sums[r] = trees[r].total();
}

// A row of more than one chunk is summed chunk by chunk. Chunks are aligned branches of the tree, so that the sum is
// the one that a single pass would give.
template <class T>
Status sum_rows(const ReduceSum& p) {
  constexpr int kRows = 4 / Lanes<T>::vectors;  // 4 vectors of sums
  const ReduceSpace s = p.space;
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  const int64_t chunks = ceil_div(s.count, kChunk);
  if (chunks <= 1) {
    const double item = item_cost(kReduceCost, s.outer * s.count, sizeof(T));
    // With AVX-512 256 x 1024 1.5 times as fast; rows of fewer than 64 terms gain nothing, longer ones have 4 chains.
    const bool side_by_side = kRows > 1 && s.count >= 4 * kLanes && s.count < 4 * kBlockTerms;
    parallel_ranges(s.outer, 1, item * double(s.count) + 5, [=, &p](int64_t begin, int64_t end) {
      int64_t o = begin;
      for (; side_by_side && o + kRows <= end; o += kRows) {
        sum_short_rows<T, max_of(1, kRows)>(x + o * s.outer_stride, s.outer_stride, s.count, y + o);
        for (int r = 0; r < kRows; r++) y[o + r] = finish(y[o + r], p);
      }
      for (; o < end; o++) y[o] = finish(sum_row(x + o * s.outer_stride, 0, s.count), p);
    });
    return Status::ok;
  }
  T* partial = static_cast<T*>(scratch(Scratch::partial, size_t(s.outer * chunks) * sizeof(T)));
  if (!partial) return Status::out_of_memory;
  const double cost = item_cost(kReduceCost, s.outer * s.count, sizeof(T)) * double(s.outer * s.count);
  parallel_tasks(s.outer * chunks, cost, [=](int64_t t) {
    const int64_t o = t / chunks, begin = t % chunks * kChunk;
    partial[t] = sum_row(x + o * s.outer_stride, begin, min_of(s.count, begin + kChunk));
  });
  for (int64_t o = 0; o < s.outer; o++) {
    PairwiseSum<T> tree;
    for (int64_t c = 0; c < chunks; c++) tree.add(partial[o * chunks + c]);
    y[o] = finish(tree.total(), p);
  }
  return Status::ok;
}

// A strip of neighbouring columns, up to 64 bytes x 4 wide on every instruction set.
template <class T>
struct Strip {
  static constexpr int vectors = 256 / kVectorBytes, width = vectors * lanes<T>;
  Vec<T> v[vectors];

  PYNN_INLINE Strip operator+(const Strip& other) const {
    Strip sum;
    PYNN_UNROLL
    for (int k = 0; k < vectors; k++) sum.v[k] = v[k] + other.v[k];
    return sum;
  }
};

// One vector of columns, or a part of one.
template <class T>
struct Column {
  Vec<T> v;
  PYNN_INLINE Column operator+(const Column& other) const { return {v + other.v}; }
};

template <class T>
PYNN_INLINE void load_columns(Strip<T>& to, const T* p, int) {
  PYNN_UNROLL
  for (int k = 0; k < to.vectors; k++) to.v[k] = load(p + k * lanes<T>);
}
template <class T>
PYNN_INLINE void load_columns(Column<T>& to, const T* p, int n) {
  to.v = load_some(p, n);
}
template <class T>
PYNN_INLINE void store_columns(T* p, const Strip<T>& from, int) {
  PYNN_UNROLL
  for (int k = 0; k < from.vectors; k++) store(p + k * lanes<T>, from.v[k]);
}
template <class T>
PYNN_INLINE void store_columns(T* p, const Column<T>& from, int n) {
  store(p, from.v, n);
}

// to = the sum of rows [begin, end): chains of `block`, then the tree. n columns of a Column are real.
template <int64_t block, class S, class T>
void sum_strip(T* to, const T* x, int64_t stride, int64_t begin, int64_t end, int n) {
  constexpr int kChains = sizeof(S) > kVectorBytes ? 1 : 4;  // of additions in flight
  PairwiseSum<S> tree;
  int64_t i = begin;
  for (; i + kChains * block <= end; i += kChains * block) {
    S sum[kChains], row;
    PYNN_UNROLL
    for (int c = 0; c < kChains; c++) load_columns(sum[c], x + (i + c * block) * stride, n);
    for (int64_t r = 1; r < block; r++) {
      PYNN_UNROLL
      for (int c = 0; c < kChains; c++) {
        load_columns(row, x + (i + c * block + r) * stride, n);
        sum[c] = sum[c] + row;
      }
    }
    PYNN_UNROLL
    for (int c = 0; c < kChains; c++) tree.add(sum[c]);
  }
  while (i < end) {
    const int64_t stop = min_of(end, i + block);
    S sum, row;
    load_columns(sum, x + i * stride, n);
    for (i++; i < stop; i++) {
      load_columns(row, x + i * stride, n);
      sum = sum + row;
    }
    tree.add(sum);
  }
  store_columns(to, tree.total(), n);
}

// One chain of additions a column, row by row where they lie: strips of rows of 4 KB would read another page at each
// load, and take 1.3 to 1.7 times as long from 64 x 2048 to 512 x 2048.
template <class T>
void sum_chain(T* to, const T* x, int64_t stride, int64_t rows, int64_t columns) {
  const auto add = [](auto... v) PYNN_LAMBDA { return (... + v); };
  const auto next = [&](auto... sum) {
    if (rows >= 8) {
      map_range<T>(0, columns, add, to, sum..., x, x + stride, x + 2 * stride, x + 3 * stride, x + 4 * stride,
                   x + 5 * stride, x + 6 * stride, x + 7 * stride);
    } else {
      map_range<T>(0, columns, add, to, sum..., x);
    }
    const int64_t added = rows >= 8 ? 8 : 1;
    x += added * stride;
    rows -= added;
  };
  next();
  while (rows > 0) next(to);
}

template <int64_t block, class T>
void sum_columns_of(T* to, const T* x, int64_t stride, int64_t begin, int64_t end, int64_t columns) {
  int64_t j = 0;
  for (; j + Strip<T>::width <= columns; j += Strip<T>::width)
    sum_strip<block, Strip<T>>(to + j, x + j, stride, begin, end, 0);
  for (; j < columns; j += lanes<T>)
    sum_strip<block, Column<T>>(to + j, x + j, stride, begin, end, int(min_of(lanes<T>, columns - j)));
}

// Tasks are chunks of rows times groups of columns; chunks are aligned branches of the tree, as above.
template <class T>
Status sum_columns(const ReduceSum& p) {
  constexpr int64_t kGroup = 1024;
  const ReduceSpace s = p.space;
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  int64_t rows = kColumnBlock;
  while (rows * min_of(s.inner, kGroup) < kChunk) rows *= 2;
  const int64_t chunks = max_of(1, ceil_div(s.count, rows)), groups = ceil_div(s.inner, kGroup);
  T* partial = y;
  if (chunks > 1) partial = static_cast<T*>(scratch(Scratch::partial, size_t(s.outer * chunks * s.inner) * sizeof(T)));
  if (!partial) return Status::out_of_memory;
  const int64_t size = s.outer * s.count * s.inner;
  const double cost = item_cost(kReduceCost, size, sizeof(T)) * double(size);
  parallel_tasks(s.outer * chunks * groups, cost, [=](int64_t t) {
    const int64_t j = t % groups * kGroup, c = t / groups % chunks, o = t / groups / chunks;
    const int64_t begin = c * rows, end = min_of(s.count, begin + rows), columns = min_of(kGroup, s.inner - j);
    T* to = partial + (o * chunks + c) * s.inner + j;
    const T* from = x + o * s.outer_stride + j;
    if (rows == kColumnBlock)
      sum_chain(to, from + begin * s.stride, s.stride, end - begin, columns);
    else
      sum_columns_of<kColumnBlock>(to, from, s.stride, begin, end, columns);
  });
  for (int64_t o = 0; chunks > 1 && o < s.outer; o++)
    sum_columns_of<1>(y + o * s.inner, partial + o * chunks * s.inner, s.inner, 0, chunks, s.inner);
  if (p.mean) {
    const Vec<T> count = broadcast(T(s.count));
    map_range<T>(
        0, s.outer * s.inner, [=](Vec<T> v) PYNN_LAMBDA { return v / count; }, y, y);
  }
  return Status::ok;
}

template <class T>
Status sum_typed(const ReduceSum& p) {
  return p.space.inner == 1 ? sum_rows<T>(p) : sum_columns<T>(p);
}

Status sum(const ReduceSum& p) {
  switch (p.dtype) {
    case DType::float32: return sum_typed<float>(p);
    case DType::float64: return sum_typed<double>(p);
    default: return sum_typed<int64_t>(p);
  }
}

template <class T>
Status scatter_typed(const ReduceScatter& p) {
  const T* dy = static_cast<const T*>(p.dy);
  T* dx = static_cast<T*>(p.dx);
  for (int64_t r = 0; r < p.outer * p.inner; r++)
    if (p.index[r] < 0 || p.index[r] >= p.count) return Status::index_out_of_range;
  parallel_ranges(p.outer, 1, 0.1 * double(p.count) * double(p.inner), [=, &p](int64_t begin, int64_t end) {
    const int64_t plane = p.count * p.inner;
    map_range<T>(
        begin * plane, end * plane, []() PYNN_LAMBDA { return Vec<T>{}; }, dx);
    for (int64_t o = begin; o < end; o++)
      for (int64_t j = 0; j < p.inner; j++)
        dx[o * plane + p.index[o * p.inner + j] * p.inner + j] = dy[o * p.inner + j];
  });
  return Status::ok;
}

Status scatter(const ReduceScatter& p) {
  return p.dtype == DType::float64 ? scatter_typed<double>(p) : scatter_typed<float>(p);
}

}  // namespace

Status extremum(const ReduceExtremum& p);  // reduce_extremum.cpp

extern const ReduceKernels reduce_kernels;
const ReduceKernels reduce_kernels = {sum, extremum, scatter};

}  // namespace pynn::PYNN_ISA
