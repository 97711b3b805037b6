// The transpose of a square block in registers.
#pragma once
#include "simd/vec.h"

namespace pynn::PYNN_ISA {

// One zip stage: the elements of a and b in turn, first those of the lower halves, then those of the upper.
#define PYNN_ZIP_2 0, 2
#define PYNN_ZIP_4 0, 4, 1, 5
#define PYNN_ZIP_8 0, 8, 1, 9, 2, 10, 3, 11
#define PYNN_ZIP_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define PYNN_ZIP_UPPER_2 1, 3
#define PYNN_ZIP_UPPER_4 2, 6, 3, 7
#define PYNN_ZIP_UPPER_8 4, 12, 5, 13, 6, 14, 7, 15
#define PYNN_ZIP_UPPER_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

// The zips of a and b within each of their 128-bit quarters.
template <class V>
PYNN_INLINE V zip_lower_pairs(V a, V b) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
  static_assert(sizeof(a[0]) == 4);
  if constexpr (n == 4) return __builtin_shufflevector(a, b, PYNN_ZIP_4);
  if constexpr (n == 8) return __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
  if constexpr (n == 16) return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
}
template <class V>
PYNN_INLINE V zip_upper_pairs(V a, V b) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
  static_assert(sizeof(a[0]) == 4);
  if constexpr (n == 4) return __builtin_shufflevector(a, b, PYNN_ZIP_UPPER_4);
  if constexpr (n == 8) return __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
  if constexpr (n == 16)
    return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}

template <class V>
PYNN_INLINE V zip_lower(V a, V b) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
#if defined(__AVX2__) && !defined(__AVX512F__)
  // GCC sends 8-lane zips through memory; those of the halves and one exchange of halves stay in registers.
  if constexpr (n == 8)
    return __builtin_shufflevector(zip_lower_pairs(a, b), zip_upper_pairs(a, b), 0, 1, 2, 3, 8, 9, 10, 11);
#endif
  if constexpr (n == 2) return __builtin_shufflevector(a, b, PYNN_ZIP_2);
  if constexpr (n == 4) return __builtin_shufflevector(a, b, PYNN_ZIP_4);
  if constexpr (n == 8) return __builtin_shufflevector(a, b, PYNN_ZIP_8);
  if constexpr (n == 16) return __builtin_shufflevector(a, b, PYNN_ZIP_16);
}
template <class V>
PYNN_INLINE V zip_upper(V a, V b) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
#if defined(__AVX2__) && !defined(__AVX512F__)
  if constexpr (n == 8)
    return __builtin_shufflevector(zip_lower_pairs(a, b), zip_upper_pairs(a, b), 4, 5, 6, 7, 12, 13, 14, 15);
#endif
  if constexpr (n == 2) return __builtin_shufflevector(a, b, PYNN_ZIP_UPPER_2);
  if constexpr (n == 4) return __builtin_shufflevector(a, b, PYNN_ZIP_UPPER_4);
  if constexpr (n == 8) return __builtin_shufflevector(a, b, PYNN_ZIP_UPPER_8);
  if constexpr (n == 16) return __builtin_shufflevector(a, b, PYNN_ZIP_UPPER_16);
}

#if defined(__AVX2__) && !defined(__AVX512F__)
// Three stages within the halves and one exchange, instead of one in each zip.
PYNN_INLINE void transpose_8x8(Vec<float> (&rows)[8]) {
  Vec<float> pairs[8], fours[8];
  PYNN_UNROLL
  for (int i = 0; i < 4; i++) {
    pairs[2 * i] = zip_lower_pairs(rows[2 * i], rows[2 * i + 1]);
    pairs[2 * i + 1] = zip_upper_pairs(rows[2 * i], rows[2 * i + 1]);
  }
  PYNN_UNROLL
  for (int i = 0; i < 4; i++) {
    const Vec<float> a = pairs[i / 2 * 4 + i % 2], b = pairs[i / 2 * 4 + i % 2 + 2];
    fours[2 * i] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
    fours[2 * i + 1] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  }
  PYNN_UNROLL
  for (int i = 0; i < 4; i++) {
    rows[i] = __builtin_shufflevector(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    rows[i + 4] = __builtin_shufflevector(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}
#endif

// rows[i][j] becomes rows[j][i]: log2(lanes) stages, each zipping row i with row i + lanes/2.
template <class T>
PYNN_INLINE void transpose(Vec<T> (&rows)[lanes<T>]) {
  constexpr int L = lanes<T>;
#if defined(__AVX2__) && !defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return transpose_8x8(rows);
#endif
  Vec<T> zipped[L];
  PYNN_UNROLL
  for (int stage = 1; stage < L; stage *= 2) {
    PYNN_UNROLL
    for (int i = 0; i < L / 2; i++) {
      zipped[2 * i] = zip_lower(rows[i], rows[i + L / 2]);
      zipped[2 * i + 1] = zip_upper(rows[i], rows[i + L / 2]);
    }
    PYNN_UNROLL
    for (int i = 0; i < L; i++) rows[i] = zipped[i];
  }
}

// block[q][i] = x[i * ldx + q] for q < n and i < rows, 1 <= n, rows <= lanes: reads nothing else. The lanes i >= rows
// repeat the last row, the vectors q >= n are zero.
template <class T>
PYNN_INLINE void load_transposed(Vec<T> (&block)[lanes<T>], const T* x, int64_t ldx, int rows, int n) {
  PYNN_UNROLL
  for (int i = 0; i < lanes<T>; i++) block[i] = load(x + (i < rows ? i : rows - 1) * ldx, n);
  transpose<T>(block);
}

// x[0 .. 3], x[4 * step ...], x[8 * step ...] and so on.
template <int n>
PYNN_INLINE auto load_quarters(const float* x, int64_t step) {
  typedef float Some __attribute__((vector_size(n * 4)));
  if constexpr (n == 4) {
    Some quarter;
    __builtin_memcpy(&quarter, x, sizeof quarter);
    return quarter;
  } else {
    const auto low = load_quarters<n / 2>(x, step), high = load_quarters<n / 2>(x + n / 2 * step, step);
    if constexpr (n == 8)
      return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
    else
      return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  }
}

// columns[q][i] = x[i * step + q] for q < 4 and all lanes i.
PYNN_INLINE void load_columns(Vec<float> (&columns)[4], const float* x, int64_t step) {
  Vec<float> rows[4];
  PYNN_UNROLL
  for (int i = 0; i < 4; i++) rows[i] = load_quarters<lanes<float>>(x + i * step, step);
  const Vec<float> even = zip_lower_pairs(rows[0], rows[2]), odd = zip_lower_pairs(rows[1], rows[3]);
  columns[0] = zip_lower_pairs(even, odd);
  columns[1] = zip_upper_pairs(even, odd);
  const Vec<float> even_upper = zip_upper_pairs(rows[0], rows[2]), odd_upper = zip_upper_pairs(rows[1], rows[3]);
  columns[2] = zip_lower_pairs(even_upper, odd_upper);
  columns[3] = zip_upper_pairs(even_upper, odd_upper);
}

}  // namespace pynn::PYNN_ISA
