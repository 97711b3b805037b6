// Rows by index, as they are or normalised to float32.
#include "ops/gather.h"

#include "simd/parallel.h"

namespace pynn::PYNN_ISA {
namespace {

// Nanoseconds on one core, rows scattered over the last cache.
constexpr double kByteCost = 0.03, kElementCost = 0.1;

Status check_index(const int64_t* index, int64_t n, int64_t rows) {
  bool inside = true;
  for (int64_t i = 0; i < n; i++) inside &= index[i] >= -rows && index[i] < rows;
  return inside ? Status::ok : Status::index_out_of_range;
}

PYNN_INLINE int64_t wrapped(int64_t index, int64_t rows) { return index < 0 ? index + rows : index; }

// copy(to, from) for each row; a constant size spares the labels of a batch a call each.
template <class CopyRow>
PYNN_INLINE void for_each_row(const GatherRows& p, const CopyRow& copy) {
  parallel_ranges(p.n, 1, kByteCost * double(p.row_bytes), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++)
      copy(static_cast<char*>(p.y) + i * p.row_bytes,
           static_cast<const char*>(p.x) + wrapped(p.index[i], p.x_rows) * p.x_stride);
  });
}

Status gather_rows(const GatherRows& p) {
  const Status status = check_index(p.index, p.n, p.x_rows);
  if (status != Status::ok) return status;
  if (p.row_bytes == 8) {
    for_each_row(p, [](char* y, const char* x) PYNN_LAMBDA { __builtin_memcpy(y, x, 8); });
  } else {
    for_each_row(p, [&](char* y, const char* x) PYNN_LAMBDA { __builtin_memcpy(y, x, size_t(p.row_bytes)); });
  }
  return Status::ok;
}

// One vector of any dtype as floats. GCC 12 widens bytes one by one unless told how.
template <class X>
PYNN_INLINE Vec<float> load_float(const X* x) {
  constexpr int L = lanes<float>;
  typedef X Few __attribute__((vector_size(L * sizeof(X))));
  Few few;
  __builtin_memcpy(&few, x, sizeof few);
  if constexpr (sizeof(X) == 1) {
#if defined(__AVX512F__)
    return (Vec<float>)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32((__m128i)few));
#elif defined(__AVX2__)
    return (Vec<float>)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)few)));
#elif defined(__SSE4_1__)
    return (Vec<float>)_mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128((int)few)));
#endif
  }
  return __builtin_convertvector(few, Vec<float>);
}
template <class X>
PYNN_INLINE Vec<float> load_float(const X* x, int n) {
  alignas(kVectorBytes) float lane[lanes<float>] = {};
  for (int i = 0; i < n; i++) lane[i] = float(x[i]);
  return load(lane);
}

// n elements; vector v of them takes scale(v) and shift(v).
template <class X, class Table>
PYNN_INLINE void normalize_run(const X* x, float* y, int64_t n, const Table& scale, const Table& shift) {
  constexpr int L = lanes<float>;
  int64_t i = 0;
  for (; i + L <= n; i += L) store(y + i, fma(load_float(x + i), scale(i), shift(i)));
  if (i < n) {
    const int rest = int(n - i);
    store(y + i, fma(load_float(x + i, rest), scale(i), shift(i)), rest);
  }
}

template <class X>
PYNN_INLINE void normalize_row(const GatherNormalized& p, const X* x, float* y) {
  if (p.inner == 1 && p.channels > 1) {
    const auto at = [](const float* table) { return [=](int64_t i) PYNN_LAMBDA { return load(table + i); }; };
    const int64_t period = p.channels * kGatherLanes, n = p.outer * p.channels;
    for (int64_t i = 0; i < n; i += period)
      normalize_run(x + i, y + i, min_of(period, n - i), at(p.scale), at(p.shift));
    return;
  }
  const auto all = [](float value) { return [=](int64_t) PYNN_LAMBDA { return broadcast(value); }; };
  for (int64_t run = 0; run < p.outer * p.channels; run++, x += p.inner, y += p.inner) {
    const int64_t c = run % p.channels;
    normalize_run(x, y, p.inner, all(p.scale[c]), all(p.shift[c]));
  }
}

// Rows scattered over memory: one begins before its neighbours in memory tell the hardware where it goes on.
constexpr int64_t kRowsAhead = 2;
template <class X>
PYNN_INLINE void prefetch_row(const X* x, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / int64_t(sizeof(X))) __builtin_prefetch(x + i);
}

template <class X>
Status normalized_as(const GatherNormalized& p) {
  const int64_t row = p.outer * p.channels * p.inner;
  const X* x = static_cast<const X*>(p.x);
  parallel_ranges(p.n, 1, kElementCost * double(row), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      if (i + kRowsAhead < end) prefetch_row(x + wrapped(p.index[i + kRowsAhead], p.x_rows) * p.x_stride, row);
      normalize_row(p, x + wrapped(p.index[i], p.x_rows) * p.x_stride, p.y + i * row);
    }
  });
  return Status::ok;
}

Status gather_normalized(const GatherNormalized& p) {
  const Status status = check_index(p.index, p.n, p.x_rows);
  if (status != Status::ok) return status;
  switch (p.x_type) {
    case DType::float32: return normalized_as<float>(p);
    case DType::float64: return normalized_as<double>(p);
    case DType::int64: return normalized_as<int64_t>(p);
    case DType::int32: return normalized_as<int32_t>(p);
    case DType::uint8:
    case DType::boolean: return normalized_as<uint8_t>(p);
  }
  __builtin_unreachable();
}

}  // namespace

extern const GatherKernels gather_kernels;
const GatherKernels gather_kernels = {gather_rows, gather_normalized};

}  // namespace pynn::PYNN_ISA
