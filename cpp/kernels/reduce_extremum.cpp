// The largest or smallest value along an axis, and its first place.
#include "ops/reduce.h"
#include "runtime/workspace.h"
#include "simd/lanes.h"
#include "simd/parallel.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t kChunk = 1 << 15;     // terms of one task
constexpr int64_t kSearchBlock = 2048;  // in L1 still when the place of its best value is looked up
constexpr int kChains = 4;

template <class T>
using Mask = decltype(Vec<T>{} > Vec<T>{});

// The value that no other one loses to, for lanes beyond the end.
template <class T, bool smallest>
PYNN_INLINE T neutral() {
  if constexpr (T(0.5) != T(0)) {
    return smallest ? T(__builtin_inff()) : -T(__builtin_inff());
  } else {
    constexpr T highest = T(~uint64_t(0) >> (65 - 8 * sizeof(T)));
    return smallest ? highest : T(-highest - 1);
  }
}

// Whether x is a better extremum than y, for scalars and vectors; NaN beats every number.
template <bool smallest, class V>
PYNN_INLINE auto beats(V x, V y) {
  return (smallest ? x < y : x > y) | ((x != x) & (y == y));
}

template <bool smallest>
struct Better {
  template <class V>
  PYNN_INLINE V operator()(V x, V y) const {
    return beats<smallest>(y, x) ? y : x;
  }
};

// The best of x[0 .. n-1], n >= 1: in 4 x 16 lanes whatever the instruction set, so that even of -0 and 0 the same
// wins.
template <class T, bool smallest>
T best_of(const T* x, int64_t n) {
  constexpr Better<smallest> better;
  const T fill = neutral<T, smallest>();
  Lanes<T> best[kChains];
  PYNN_UNROLL
  for (int c = 0; c < kChains; c++) best[c] = broadcast_lanes(fill);
  int64_t i = 0;
  for (; i + kChains * kLanes <= n; i += kChains * kLanes) {
    PYNN_UNROLL
    for (int c = 0; c < kChains; c++) best[c] = map_lanes(better, best[c], load_lanes(x + i + c * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) best[0] = map_lanes(better, best[0], load_lanes(x + i));
  if (i < n) best[0] = map_lanes(better, best[0], load_lanes(x + i, int(n - i), fill));
  return fold(map_lanes(better, map_lanes(better, best[0], best[1]), map_lanes(better, best[2], best[3])), better);
}

// The first place of `value` in x[0 .. n-1], where it is; any NaN is the place of NaN.
template <class T>
int64_t place_of(T value, const T* x, int64_t n) {
  constexpr int L = lanes<T>;
  const Vec<T> wanted = broadcast(value);
  for (int64_t i = 0; i < n; i += L) {
    const Vec<T> v = i + L <= n ? load(x + i) : load(x + i, int(n - i));
    const auto found = __builtin_convertvector((v == wanted) | ((v != v) & (wanted != wanted)), Narrow<int8_t, L>);
    uint64_t bytes[2] = {};
    __builtin_memcpy(bytes, &found, L);
    if (bytes[0]) return i + __builtin_ctzll(bytes[0]) / 8;
    if (bytes[1]) return i + 8 + __builtin_ctzll(bytes[1]) / 8;
  }
  return 0;
}

template <class T>
struct Best {
  T* value;
  int64_t* index;
};

// The best of a row's terms [begin, end)
template <class T, bool smallest, bool indexed>
void best_of_row(const T* x, int64_t begin, int64_t end, Best<T> to) {
  if constexpr (!indexed) {
    *to.value = best_of<T, smallest>(x + begin, end - begin);
  } else {
    T best = x[begin];
    int64_t block = begin;
    for (int64_t i = begin; i < end; i += kSearchBlock) {
      const T value = best_of<T, smallest>(x + i, min_of(kSearchBlock, end - i));
      if (i == begin || beats<smallest>(value, best)) best = value, block = i;
    }
    *to.value = best;
    *to.index = block + place_of(best, x + block, min_of(kSearchBlock, end - block));
  }
}

// The same for `columns` neighbouring columns, a vector at a time. Places count from `begin`, so they fit a lane.
template <class T, bool smallest, bool indexed>
void best_of_columns(const T* x, int64_t stride, int64_t begin, int64_t end, int64_t columns, Best<T> to) {
  for (int64_t j = 0; j < columns; j += lanes<T>) {
    const int n = int(min_of(lanes<T>, columns - j));
    const T* p = x + begin * stride + j;
    Vec<T> best = n == lanes<T> ? load(p) : load(p, n);
    Mask<T> place{};
    for (int32_t i = 1; i < end - begin; i++) {
      p += stride;
      const Vec<T> v = n == lanes<T> ? load(p) : load(p, n);
      const Mask<T> better = beats<smallest>(v, best);
      best = better ? v : best;
      if constexpr (indexed) place = better ? Mask<T>{} + i : place;
    }
    store(to.value + j, best, n);
    if constexpr (indexed)
      for (int k = 0; k < n; k++) to.index[j + k] = begin + place[k];
  }
}

// Tasks are chunks of terms; of chunks that are equally good the first wins.
template <class T, bool smallest, bool indexed>
Status extremum_as(const ReduceExtremum& p) {
  const ReduceSpace s = p.space;
  const T* x = static_cast<const T*>(p.x);
  int64_t terms = kChunk;
  while (terms > 32 && terms * s.inner > 2 * kChunk) terms /= 2;
  const int64_t chunks = ceil_div(s.count, terms), results = s.outer * s.inner;
  Best<T> to = {static_cast<T*>(p.y), p.index};
  const int64_t values = chunks > 1 || !p.y ? chunks * results : 0, indices = chunks > 1 && indexed ? values : 0;
  if (values) {
    char* memory = static_cast<char*>(scratch(Scratch::partial, size_t(indices) * 8 + size_t(values) * sizeof(T)));
    if (!memory) return Status::out_of_memory;
    to.value = reinterpret_cast<T*>(memory + indices * 8);
    if (indices) to.index = reinterpret_cast<int64_t*>(memory);
  }
  const double cost = kReduceCost * double(s.count) * double(results);
  const double each = cost / double(s.outer * chunks) + 5;
  parallel_ranges(s.outer * chunks, 1, each, [=](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; t++) {
      const int64_t begin = t % chunks * terms, end = min_of(s.count, begin + terms);
      const T* row = x + t / chunks * s.outer_stride;
      const Best<T> here = {to.value + t * s.inner, indexed ? to.index + t * s.inner : nullptr};
      if (s.inner == 1)
        best_of_row<T, smallest, indexed>(row, begin, end, here);
      else
        best_of_columns<T, smallest, indexed>(row, s.stride, begin, end, s.inner, here);
    }
  });
  for (int64_t r = 0; chunks > 1 && r < results; r++) {
    int64_t best = r / s.inner * chunks * s.inner + r % s.inner;
    const int64_t end = best + chunks * s.inner;
    for (int64_t t = best + s.inner; t < end; t += s.inner)
      if (beats<smallest>(to.value[t], to.value[best])) best = t;
    if (p.y) static_cast<T*>(p.y)[r] = to.value[best];
    if constexpr (indexed) p.index[r] = to.index[best];
  }
  return Status::ok;
}

template <class T>
Status extremum_typed(const ReduceExtremum& p) {
  if (p.smallest) return p.index ? extremum_as<T, true, true>(p) : extremum_as<T, true, false>(p);
  return p.index ? extremum_as<T, false, true>(p) : extremum_as<T, false, false>(p);
}

}  // namespace

Status extremum(const ReduceExtremum& p) {
  switch (p.dtype) {
    case DType::float32: return extremum_typed<float>(p);
    case DType::float64: return extremum_typed<double>(p);
    case DType::int32: return extremum_typed<int32_t>(p);
    default: return extremum_typed<int64_t>(p);
  }
}

}  // namespace pynn::PYNN_ISA
