// Strided copy with conversion, and fill. The destination is walked in the order of its memory; what remains of the
// source decides between runs (memcpy, conversion, fill), transposed blocks and single elements.
#include "ops/copy.h"

#include "simd/parallel.h"
#include "simd/transpose.h"

namespace pynn::PYNN_ISA {
namespace {

// Nanoseconds on one core from memory that is in cache.
constexpr double kRunCost = 0.02;      // a byte, in runs
constexpr double kElementCost = 0.7;   // an element, one at a time or transposed
constexpr int64_t kGrainBytes = 4096;  // of a run that threads share

enum class Boolean : uint8_t { no, yes };  // in memory any byte but 0 is true

// Moves see unsigned integers of the dtype's size, the transpose in registers the float of that size.
PYNN_INLINE uint8_t* lane_type(uint8_t* p) { return p; }
PYNN_INLINE float* lane_type(uint32_t* p) { return reinterpret_cast<float*>(p); }
PYNN_INLINE double* lane_type(uint64_t* p) { return reinterpret_cast<double*>(p); }

// The same copy in as few dimensions as possible, sorted so that the strides of y fall and none is negative.
Copy simplified(const Copy& given) {
  Copy p = given;
  p.dims = 0;
  int64_t x_offset = 0, y_offset = 0;
  for (int i = 0; i < given.dims; i++) {
    const int64_t n = given.shape[i];
    int64_t xs = given.x_strides[i], ys = given.y_strides[i];
    if (n == 1) continue;
    if (ys < 0) {
      x_offset += (n - 1) * xs, y_offset += (n - 1) * ys;
      xs = -xs, ys = -ys;
    }
    int at = p.dims++;
    for (; at > 0 && p.y_strides[at - 1] < ys; at--) {
      p.shape[at] = p.shape[at - 1];
      p.x_strides[at] = p.x_strides[at - 1];
      p.y_strides[at] = p.y_strides[at - 1];
    }
    p.shape[at] = n, p.x_strides[at] = xs, p.y_strides[at] = ys;
  }
  p.x = static_cast<const char*>(given.x) + x_offset * int64_t(item_size(given.x_type));
  p.y = static_cast<char*>(given.y) + y_offset * int64_t(item_size(given.y_type));

  int last = 0;  // dimensions that continue the one before them are merged into it
  for (int i = 1; i < p.dims; i++) {
    const bool continues =
        p.x_strides[last] == p.shape[i] * p.x_strides[i] && p.y_strides[last] == p.shape[i] * p.y_strides[i];
    if (continues)
      p.shape[last] *= p.shape[i];
    else
      last++, p.shape[last] = p.shape[i];
    p.x_strides[last] = p.x_strides[i];
    p.y_strides[last] = p.y_strides[i];
  }
  if (p.dims)
    p.dims = last + 1;
  else
    p.dims = 1, p.shape[0] = p.x_strides[0] = p.y_strides[0] = 1;
  return p;
}

// body(x, y, n) for every index of the dimensions before `dim`, in parallel; where these are few, dimension `dim`
// itself is cut into pieces of n, a multiple of `grain`. X and Y are the types that strides count.
template <class X, class Y, class Body>
PYNN_INLINE void for_each_row(const Copy& p, int dim, int64_t grain, double cost_ns, const Body& body) {
  int64_t rows = 1;
  for (int i = 0; i < dim; i++) rows *= p.shape[i];
  const int64_t wanted = plan_threads(cost_ns) == 1 ? 1 : ceil_div(4 * plan_threads(cost_ns), rows);
  const int64_t piece = ceil_div(ceil_div(p.shape[dim], wanted), grain) * grain;
  const int64_t pieces = ceil_div(p.shape[dim], piece), units = rows * pieces;
  parallel_ranges(units, 1, cost_ns / double(units), [&](int64_t begin, int64_t end) {
    int64_t index[kMaxDims];
    int64_t row = begin / pieces, part = begin % pieces;
    const X* x = static_cast<const X*>(p.x);
    Y* y = static_cast<Y*>(p.y);
    for (int i = dim - 1; i >= 0; i--) {
      index[i] = row % p.shape[i];
      row /= p.shape[i];
      x += index[i] * p.x_strides[i];
      y += index[i] * p.y_strides[i];
    }
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t first = part * piece;
      body(x + first * p.x_strides[dim], y + first * p.y_strides[dim], min_of(piece, p.shape[dim] - first));
      if (++part < pieces) continue;
      part = 0;
      for (int i = dim - 1; i >= 0; i--) {
        x += p.x_strides[i];
        y += p.y_strides[i];
        if (++index[i] < p.shape[i]) break;
        x -= index[i] * p.x_strides[i];
        y -= index[i] * p.y_strides[i];
        index[i] = 0;
      }
    }
  });
}

template <class T>
PYNN_INLINE void fill_run(T* y, T value, int64_t n) {
  if constexpr (sizeof(T) == 1) {
    __builtin_memset(y, int(value), size_t(n));
  } else {
    const Vec<T> v = broadcast(value);
    int64_t i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) store(y + i, v);
    if (i < n) store(y + i, v, int(n - i));
  }
}

// y[i * ys + j] = x[i + j * xs] for i < rows and j < columns, at most one register block.
template <class T>
PYNN_INLINE void transpose_block(const T* x, int64_t xs, T* y, int64_t ys, int rows, int columns) {
  constexpr int L = lanes<T>;
  Vec<T> block[L];
  if (rows == L && columns == L) {
    PYNN_UNROLL
    for (int j = 0; j < L; j++) block[j] = load(x + j * xs);
    transpose<T>(block);
    PYNN_UNROLL
    for (int i = 0; i < L; i++) store(y + i * ys, block[i]);
    return;
  }
  PYNN_UNROLL
  for (int j = 0; j < L; j++) block[j] = j < columns ? load(x + j * xs, rows) : Vec<T>{};
  transpose<T>(block);
  PYNN_UNROLL
  for (int i = 0; i < L; i++)
    if (i < rows) store(y + i * ys, block[i], columns);
}

// 16 x 16 bytes in 128-bit registers: four stages that zip row i with row i + 8.
PYNN_INLINE void transpose_bytes(const uint8_t* x, int64_t xs, uint8_t* y, int64_t ys) {
  typedef uint8_t Row __attribute__((vector_size(16)));
  Row block[16], zipped[16];
  PYNN_UNROLL
  for (int j = 0; j < 16; j++) __builtin_memcpy(&block[j], x + j * xs, 16);
  PYNN_UNROLL
  for (int stage = 0; stage < 4; stage++) {
    PYNN_UNROLL
    for (int i = 0; i < 8; i++) {
      zipped[2 * i] = zip_lower(block[i], block[i + 8]);
      zipped[2 * i + 1] = zip_upper(block[i], block[i + 8]);
    }
    PYNN_UNROLL
    for (int i = 0; i < 16; i++) block[i] = zipped[i];
  }
  PYNN_UNROLL
  for (int i = 0; i < 16; i++) __builtin_memcpy(y + i * ys, &block[i], 16);
}
PYNN_INLINE void transpose_block(const uint8_t* x, int64_t xs, uint8_t* y, int64_t ys, int rows, int columns) {
  if (rows == 16 && columns == 16) return transpose_bytes(x, xs, y, ys);
  for (int j = 0; j < columns; j++)
    for (int i = 0; i < rows; i++) y[i * ys + j] = x[i + j * xs];
}

// Blocks of y by way of a tile that stays in the first cache: both sides are then read and written in runs of several
// lines, where rows 4 KB apart would evict each other line by line (1024 x 1024: 3 times as fast). Few columns or rows
// are written at once.
template <class T>
void transpose_rows(T* x, int64_t xs, T* y, int64_t ys, int64_t rows, int64_t columns) {
  constexpr int L = sizeof(T) == 1 ? 16 : lanes<T>, kTile = sizeof(T) == 8 ? 32 : 64;
  if (sizeof(T) == 1 && rows < L) {  // channels of an image: longer runs beat small blocks
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < columns; j++) y[i * ys + j] = x[i + j * xs];
    return;
  }
  if (rows < kTile || columns < kTile) {
    for (int64_t i = 0; i < rows; i += L)
      for (int64_t j = 0; j < columns; j += L)
        transpose_block(x + i + j * xs, xs, y + i * ys + j, ys, int(min_of(L, rows - i)), int(min_of(L, columns - j)));
    return;
  }
  alignas(64) T tile[kTile * kTile];
  for (int64_t first = 0; first < rows; first += kTile)
    for (int64_t column = 0; column < columns; column += kTile) {
      const int64_t high = min_of(kTile, rows - first), wide = min_of(kTile, columns - column);
      for (int64_t j = 0; j < wide; j += L)
        for (int64_t i = 0; i < high; i += L)
          transpose_block(x + first + i + (column + j) * xs, xs, tile + i * kTile + j, kTile, int(min_of(L, high - i)),
                          int(min_of(L, wide - j)));
      for (int64_t i = 0; i < high; i++)
        __builtin_memcpy(y + (first + i) * ys + column, tile + i * kTile, size_t(wide) * sizeof(T));
    }
}

// T is the unsigned integer of the dtype's size.
template <class T>
void move(Copy p) {
  const int last = p.dims - 1;
  int64_t size = 1;
  int transposed = -1;  // the dimension along which x is contiguous where it is not the last
  for (int i = 0; i < p.dims; i++) {
    size *= p.shape[i];
    if (p.x_strides[i] == 1 && i != last) transposed = i;
  }
  const int64_t xs = p.x_strides[last], ys = p.y_strides[last], grain = kGrainBytes / int64_t(sizeof(T));
  const double run_cost = kRunCost * double(size) * sizeof(T);
  if (ys == 1 && xs == 1)
    return for_each_row<T, T>(p, last, grain, run_cost,
                              [](const T* x, T* y, int64_t n) { __builtin_memcpy(y, x, size_t(n) * sizeof(T)); });
  if (ys == 1 && xs == 0)
    return for_each_row<T, T>(p, last, grain, run_cost, [](const T* x, T* y, int64_t n) { fill_run(y, *x, n); });
  if (ys == 1 && transposed >= 0) {
    const int64_t rows = p.shape[transposed], rows_stride = p.y_strides[transposed], columns = p.shape[last];
    for (int i = transposed; i < last - 1; i++) {
      p.shape[i] = p.shape[i + 1];
      p.x_strides[i] = p.x_strides[i + 1];
      p.y_strides[i] = p.y_strides[i + 1];
    }
    p.shape[last - 1] = rows, p.x_strides[last - 1] = 1, p.y_strides[last - 1] = rows_stride;
    return for_each_row<T, T>(p, last - 1, 64, kElementCost * double(size), [=](const T* x, T* y, int64_t n) {
      transpose_rows(lane_type(const_cast<T*>(x)), xs, lane_type(y), rows_stride, n, columns);
    });
  }
  for_each_row<T, T>(p, last, grain, kElementCost * double(size), [=](const T* x, T* y, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i * ys] = x[i * xs];
  });
}

// The nearest value below 2^(bits-1) that X holds, where a conversion is still defined.
template <class X, class Y>
constexpr X kHighest = sizeof(Y) == 8   ? (sizeof(X) == 8 ? X(9223372036854774784.0) : X(9223371487098961920.0))
                       : sizeof(X) == 8 ? X(2147483647)
                                        : X(2147483520);

template <class Y, class X>
PYNN_INLINE Y converted(X x) {
  constexpr bool from_float = X(0.5) != X(0), to_float = Y(0.5) != Y(0);
  if constexpr (__is_same(Y, Boolean)) {
    return Boolean(x != X(0));
  } else if constexpr (__is_same(X, Boolean)) {
    return Y(x != X(0));
  } else if constexpr (from_float && !to_float) {
    using Wide = decltype(Y(0) + 0);  // bytes by way of int32, so that they wrap
    constexpr X highest = kHighest<X, Wide>, lowest = sizeof(Wide) == 8 ? X(INT64_MIN) : X(INT32_MIN);
    x = x > lowest ? x : lowest;  // NaN as well
    x = x < highest ? x : highest;
    return Y(Wide(x));
  } else {
    return Y(x);
  }
}

// y[i * ys] = x[i * xs], i < n. The 30 pairs of dtypes share one walk over the dimensions (rows in bytes): a walk each
// would take the compiler most of a minute.
using ConvertRow = void (*)(const void* x, int64_t xs, void* y, int64_t ys, int64_t n);

template <class X, class Y>
void convert_row(const void* from, int64_t xs, void* to, int64_t ys, int64_t n) {
  const X* __restrict x = static_cast<const X*>(from);
  Y* __restrict y = static_cast<Y*>(to);
  if (ys == 1 && xs == 1) {
    for (int64_t i = 0; i < n; i++) y[i] = converted<Y>(x[i]);
  } else {
    for (int64_t i = 0; i < n; i++) y[i * ys] = converted<Y>(x[i * xs]);
  }
}

template <class X>
ConvertRow convert_row_from(DType y_type) {
  switch (y_type) {
    case DType::float32: return convert_row<X, float>;
    case DType::float64: return convert_row<X, double>;
    case DType::int64: return convert_row<X, int64_t>;
    case DType::int32: return convert_row<X, int32_t>;
    case DType::uint8: return convert_row<X, uint8_t>;
    case DType::boolean: return convert_row<X, Boolean>;
  }
  __builtin_unreachable();
}

ConvertRow convert_row_of(DType x_type, DType y_type) {
  switch (x_type) {
    case DType::float32: return convert_row_from<float>(y_type);
    case DType::float64: return convert_row_from<double>(y_type);
    case DType::int64: return convert_row_from<int64_t>(y_type);
    case DType::int32: return convert_row_from<int32_t>(y_type);
    case DType::uint8: return convert_row_from<uint8_t>(y_type);
    case DType::boolean: return convert_row_from<Boolean>(y_type);
  }
  __builtin_unreachable();
}

void convert(Copy p) {
  const int last = p.dims - 1;
  const int64_t xs = p.x_strides[last], ys = p.y_strides[last];
  const int64_t x_bytes = int64_t(item_size(p.x_type)), y_bytes = int64_t(item_size(p.y_type));
  int64_t size = 1;
  for (int i = 0; i < p.dims; i++) {
    size *= p.shape[i];
    p.x_strides[i] *= x_bytes;
    p.y_strides[i] *= y_bytes;
  }
  const double cost = ys == 1 && xs == 1 ? kRunCost * double(x_bytes + y_bytes) : kElementCost;
  const ConvertRow row = convert_row_of(p.x_type, p.y_type);
  for_each_row<char, char>(p, last, kGrainBytes, cost * double(size),
                           [=](const char* x, char* y, int64_t n) { row(x, xs, y, ys, n); });
}

Status copy(const Copy& given) {
  for (int i = 0; i < given.dims; i++)
    if (given.shape[i] == 0) return Status::ok;
  const Copy p = simplified(given);
  if (p.x_type == p.y_type) {
    switch (item_size(p.x_type)) {
      case 1: move<uint8_t>(p); break;
      case 4: move<uint32_t>(p); break;
      case 8: move<uint64_t>(p); break;
    }
    return Status::ok;
  }
  convert(p);
  return Status::ok;
}

template <class T>
void fill_as(const Fill& p) {
  T value;
  __builtin_memcpy(&value, &p.value, sizeof(T));
  T* y = static_cast<T*>(p.y);
  parallel_ranges(p.n, kGrainBytes / int64_t(sizeof(T)), kRunCost * sizeof(T),
                  [=](int64_t begin, int64_t end) { fill_run(y + begin, value, end - begin); });
}

Status fill(const Fill& p) {
  switch (item_size(p.dtype)) {
    case 1: fill_as<uint8_t>(p); break;
    case 4: fill_as<uint32_t>(p); break;
    case 8: fill_as<uint64_t>(p); break;
  }
  return Status::ok;
}

}  // namespace

extern const CopyKernels copy_kernels;
const CopyKernels copy_kernels = {copy, fill};

}  // namespace pynn::PYNN_ISA
