// Lanes of numbers kept in memory as uint8 or int32.
#pragma once
#include "simd/vec.h"

namespace pynn::PYNN_ISA {

// One vector. GCC 12 widens bytes one by one unless told how.
template <class T, class I>
PYNN_INLINE VecInt<T> load_index(const I* p) {
  typedef I Few __attribute__((vector_size(lanes<T> * sizeof(I))));
  Few few;
  __builtin_memcpy(&few, p, sizeof few);
  if constexpr (sizeof(I) == 1 && sizeof(T) == 4) {
#if defined(__AVX512F__)
    return (VecInt<T>)_mm512_maskz_cvtepu8_epi32(__mmask16(-1), (__m128i)few);
#elif defined(__AVX2__)
    return (VecInt<T>)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)few));
#elif defined(__SSE4_1__)
    return (VecInt<T>)_mm_cvtepu8_epi32(_mm_cvtsi32_si128((int)few));
#endif
  }
  return __builtin_convertvector(few, VecInt<T>);
}
// Numbers that fit into I.
template <class T, class I>
PYNN_INLINE void store_index(I* p, VecInt<T> v) {
  if constexpr (sizeof(I) == 1 && sizeof(T) == 4) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
    _mm_storel_epi64((__m128i*)p, _mm_packus_epi16(words, words));
    return;
#elif defined(__SSE4_1__) && !defined(__AVX2__)
    const __m128i words = _mm_packus_epi32((__m128i)v, (__m128i)v);
    const int bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    __builtin_memcpy(p, &bytes, sizeof bytes);
    return;
#endif
  }
  typedef I Few __attribute__((vector_size(lanes<T> * sizeof(I))));
  const Few few = __builtin_convertvector(v, Few);
  __builtin_memcpy(p, &few, sizeof few);
}

// The first n lanes; the others read as zero and are not written.
template <class T, class I>
PYNN_INLINE VecInt<T> load_index(const I* p, int n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(I) == 1 && sizeof(T) == 4)
    return (VecInt<T>)_mm512_maskz_cvtepu8_epi32(__mmask16(-1), _mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1), p));
#endif
  alignas(kVectorBytes) I lane[lanes<T>] = {};
  for (int i = 0; i < n; i++) lane[i] = p[i];
  return load_index<T>(lane);
}
template <class T, class I>
PYNN_INLINE void store_index(I* p, VecInt<T> v, int n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(I) == 1 && sizeof(T) == 4) {
    _mm512_mask_cvtepi32_storeu_epi8(p, (__mmask16)((1u << n) - 1), (__m512i)v);
    return;
  }
#endif
  alignas(kVectorBytes) I lane[lanes<T>];
  store_index<T>(lane, v);
  for (int i = 0; i < n; i++) p[i] = lane[i];
}

// n lanes where n is mostly all of them, as load_some and store_some.
template <class T, class I>
PYNN_INLINE VecInt<T> load_some_index(const I* p, int n) {
  return n == lanes<T> ? load_index<T>(p) : load_index<T>(p, n);
}
template <class T, class I>
PYNN_INLINE void store_some_index(I* p, VecInt<T> v, int n) {
  n == lanes<T> ? store_index<T>(p, v) : store_index<T>(p, v, n);
}

}  // namespace pynn::PYNN_ISA
