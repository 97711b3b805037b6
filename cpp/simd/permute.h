// Lanes moved to places that are known at run time only. __builtin_shufflevector takes constants, and what GCC makes of
// a variable __builtin_shuffle goes through memory; so float32 on AVX2 and AVX-512 has the machine's own instructions.
#pragma once
#include "simd/vec.h"

namespace pynn::PYNN_ISA {

#if defined(__AVX2__)
template <class T>
constexpr bool kPermutes = sizeof(T) == 4;
#else
template <class T>
constexpr bool kPermutes = false;
#endif

#if defined(__AVX2__)
// Lane i of the result is lane `from[i]` of a, 0 <= from[i] < lanes.
PYNN_INLINE VecInt<float> permute(VecInt<float> a, VecInt<float> from) {
#if defined(__AVX512F__)
  return (VecInt<float>)_mm512_maskz_permutexvar_epi32(__mmask16(-1), (__m512i)from, (__m512i)a);
#else
  return (VecInt<float>)_mm256_permutevar8x32_epi32((__m256i)a, (__m256i)from);
#endif
}
PYNN_INLINE Vec<float> permute(Vec<float> a, VecInt<float> from) { return from_bits(permute(bits(a), from)); }

// The same of the lanes of a, then those of b: 0 <= from[i] < 2 * lanes.
PYNN_INLINE Vec<float> permute(Vec<float> a, Vec<float> b, VecInt<float> from) {
#if defined(__AVX512F__)
  return (Vec<float>)_mm512_permutex2var_ps((__m512)a, (__m512i)from, (__m512)b);
#else
  return from < lanes<float> ? permute(a, from) : permute(b, from & (lanes<float> - 1));
#endif
}
#endif

}  // namespace pynn::PYNN_ISA
