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
  return (!(smallest ? x >= y : x <= y)) & (y == y);
}

// The better of two where neither is NaN: one instruction. Of -0 and 0 it is y.
template <bool smallest>
struct Better {
  template <class V>
  PYNN_INLINE V operator()(V x, V y) const {
    return (smallest ? x < y : x > y) ? x : y;
  }
};

// The lanes of a mask as bytes in two words, in their order: 255 where true.
struct MaskBytes {
  uint64_t words[2] = {};
};
template <class T>
PYNN_INLINE MaskBytes mask_bytes(Mask<T> mask) {
  const auto narrow = __builtin_convertvector(mask, Narrow<int8_t, lanes<T>>);
  MaskBytes bytes;
  __builtin_memcpy(bytes.words, &narrow, lanes<T>);
  return bytes;
}
template <class T>
PYNN_INLINE bool any(Mask<T> mask) {
  const MaskBytes bytes = mask_bytes<T>(mask);
  return bytes.words[0] | bytes.words[1];
}

// The first place of `value` in x[0 .. n-1], where it is; any NaN is the place of NaN.
template <class T>
int64_t place_of(T value, const T* x, int64_t n) {
  constexpr int L = lanes<T>;
  const Vec<T> wanted = broadcast(value);
  for (int64_t i = 0; i < n; i += L) {
    const Vec<T> v = i + L <= n ? load(x + i) : load(x + i, int(n - i));
    const MaskBytes found = mask_bytes<T>((v == wanted) | ((v != v) & (wanted != wanted)));
    if (found.words[0]) return i + __builtin_ctzll(found.words[0]) / 8;
    if (found.words[1]) return i + 8 + __builtin_ctzll(found.words[1]) / 8;
  }
  return 0;
}

// The best of x[0 .. n-1], n >= 1: in 4 x 16 lanes whatever the instruction set, so that even of -0 and 0 the same
// wins. NaN is looked for beside, which costs half of carrying it through every comparison.
template <class T, bool smallest>
T best_of(const T* x, int64_t n) {
  constexpr Better<smallest> better;
  const T fill = neutral<T, smallest>();
  Lanes<T> best[kChains];
  Mask<T> is_nan{};
  const auto take = [&](Lanes<T>& to, const Lanes<T>& v) PYNN_LAMBDA {
    to = map_lanes(better, v, to);
    PYNN_UNROLL
    for (int k = 0; k < v.vectors; k++) is_nan |= v.v[k] != v.v[k];
  };
  best[0] = broadcast_lanes(fill);
  int64_t i = 0;
  if (n >= kChains * kLanes) {
    PYNN_UNROLL
    for (int c = 1; c < kChains; c++) best[c] = best[0];
    for (; i + kChains * kLanes <= n; i += kChains * kLanes) {
      PYNN_UNROLL
      for (int c = 0; c < kChains; c++) take(best[c], load_lanes(x + i + c * kLanes));
    }
    best[0] = map_lanes(better, map_lanes(better, best[0], best[1]), map_lanes(better, best[2], best[3]));
  }
  for (; i + kLanes <= n; i += kLanes) take(best[0], load_lanes(x + i));
  if (i < n) take(best[0], load_lanes(x + i, int(n - i), fill));
  if (any<T>(is_nan)) [[unlikely]]
    return x[place_of(T(__builtin_nanf("")), x, n)];
  return fold(best[0], better);
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

// The same for `vectors` vectors of neighbouring columns, the last of them with n columns. Places count from `begin`,
// so they fit a lane.
template <class T, bool smallest, bool indexed, int vectors>
PYNN_INLINE void best_of_strip(const T* x, int64_t stride, int64_t begin, int64_t end, int n, Best<T> to) {
  constexpr int L = lanes<T>;
  const auto load_columns = [=](const T* p, int k) PYNN_LAMBDA { return load_some(p + k * L, n); };
  Vec<T> best[vectors];
  Mask<T> place[vectors];
  x += begin * stride;
  PYNN_UNROLL
  for (int k = 0; k < vectors; k++) {
    best[k] = load_columns(x, k);
    place[k] = Mask<T>{};
  }
  for (int32_t i = 1; i < end - begin; i++) {
    x += stride;
    PYNN_UNROLL
    for (int k = 0; k < vectors; k++) {
      const Vec<T> v = load_columns(x, k);
      const Mask<T> better = beats<smallest>(v, best[k]);
      best[k] = better ? v : best[k];
      if constexpr (indexed) place[k] = better ? Mask<T>{} + i : place[k];
    }
  }
  for (int k = 0; k < vectors; k++) {
    store(to.value + k * L, best[k], n);
    if constexpr (indexed)
      for (int lane = 0; lane < n; lane++) to.index[k * L + lane] = begin + place[k][lane];
  }
}

template <class T, bool smallest, bool indexed>
void best_of_columns(const T* x, int64_t stride, int64_t begin, int64_t end, int64_t columns, Best<T> to) {
  constexpr int L = lanes<T>;
  int64_t j = 0;
  const auto from = [&] { return Best<T>{to.value + j, indexed ? to.index + j : nullptr}; };
  for (; j + kChains * L <= columns; j += kChains * L)
    best_of_strip<T, smallest, indexed, kChains>(x + j, stride, begin, end, L, from());
  for (; j < columns; j += L)
    best_of_strip<T, smallest, indexed, 1>(x + j, stride, begin, end, int(min_of(L, columns - j)), from());
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
