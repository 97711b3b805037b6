// Philox4x32-10 on vectors: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
#pragma once
#include "simd/vec.h"

namespace pynn::PYNN_ISA {

using Words = Vec<uint32_t>;
using Wide = Vec<uint64_t>;

// The products of the lower halves of each lane.
PYNN_INLINE Wide multiply_halves(Wide a, Wide b) {
#if defined(__AVX512F__)
  return (Wide)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);  // the plain one sets off a warning of GCC 12
#elif defined(__AVX2__)
  return (Wide)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
  return (Wide)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xffffffff) * (b & 0xffffffff);
#endif
}

// The upper 64 bits of a * b.
PYNN_INLINE Wide multiply_high(Wide a, Wide b) {
  const Wide a_upper = a >> 32, b_upper = b >> 32;
  const Wide cross = multiply_halves(a_upper, b) + (multiply_halves(a, b) >> 32);
  const Wide other = multiply_halves(a, b_upper) + (cross & 0xffffffff);
  return multiply_halves(a_upper, b_upper) + (cross >> 32) + (other >> 32);
}

// Word w of counter (counter + j, stream) goes to lane j of words[w]. The lanes are computed as two vectors of 64-bit
// lanes, even and odd counters: a product then has its place, and only the lower halves count.
PYNN_INLINE void philox(uint64_t seed, uint64_t stream, uint64_t counter, Words (&words)[4]) {
  const Wide multiplier0 = broadcast<uint64_t>(0xD2511F53), multiplier1 = broadcast<uint64_t>(0xCD9E8D57);
  Wide state[2][4];
  PYNN_UNROLL
  for (int odd = 0; odd < 2; odd++) {
    Wide step;
    PYNN_UNROLL
    for (int i = 0; i < lanes<uint64_t>; i++) step[i] = uint64_t(2 * i + odd);
    const Wide count = broadcast(counter) + step;
    state[odd][0] = count;
    state[odd][1] = count >> 32;
    state[odd][2] = broadcast(stream);
    state[odd][3] = broadcast(stream >> 32);
  }
  uint32_t key0 = uint32_t(seed), key1 = uint32_t(seed >> 32);
  PYNN_UNROLL
  for (int round = 0; round < 10; round++) {
    PYNN_UNROLL
    for (int odd = 0; odd < 2; odd++) {
      Wide(&s)[4] = state[odd];
      const Wide product0 = multiply_halves(s[0], multiplier0), product1 = multiply_halves(s[2], multiplier1);
      s[0] = (product1 >> 32) ^ s[1] ^ broadcast<uint64_t>(key0);
      s[1] = product1;
      s[2] = (product0 >> 32) ^ s[3] ^ broadcast<uint64_t>(key1);
      s[3] = product0;
    }
    key0 += 0x9E3779B9, key1 += 0xBB67AE85;
  }
  PYNN_UNROLL
  for (int w = 0; w < 4; w++) words[w] = (Words)((state[0][w] & 0xffffffff) | (state[1][w] << 32));
}

}  // namespace pynn::PYNN_ISA
