// What the two ways over columns share: the elements that a pixel of dy sends to dx, in vectors of every instruction
// set.
#pragma once
#include "kernels/conv2d_paths.h"
#include "simd/lanes.h"
#include "simd/permute.h"

namespace pynn::PYNN_ISA {

constexpr int64_t kMostColumnChannels = 8;
constexpr int kBlockVectors = kLanes / lanes<float>;  // of 16 elements

// sums moves down by c lanes, and zeros come in. Narrow vectors have no permutation and go through memory.
template <int Vectors>
PYNN_INLINE void shift(Vec<float> (&sums)[Vectors], int64_t c) {
  constexpr int L = lanes<float>;
  if constexpr (kPermutes<float>) {
    const VecInt<float> from = __builtin_convertvector(lane_numbers<float>(), VecInt<float>) + int32_t(c);
    PYNN_UNROLL
    for (int k = 0; k < Vectors; k++) sums[k] = permute(sums[k], k + 1 < Vectors ? sums[k + 1] : Vec<float>{}, from);
  } else {
    alignas(kVectorBytes) float all[Vectors * L + kMostColumnChannels] = {};
    PYNN_UNROLL
    for (int k = 0; k < Vectors; k++) store(all + k * L, sums[k]);
    PYNN_UNROLL
    for (int k = 0; k < Vectors; k++) sums[k] = load(all + c + k * L);
  }
}

// Stores the first 8 elements, as many as a pixel may have: a wider store would mostly cross cache lines.
template <int Vectors>
PYNN_INLINE void store_channels(float* pixel, const Vec<float> (&sums)[Vectors]) {
  static_assert(kMostColumnChannels == 8);
#if defined(__AVX512F__)
  _mm256_storeu_ps(pixel, _mm512_castps512_ps256((__m512)sums[0]));
#else
  PYNN_UNROLL
  for (int k = 0; k * lanes<float> < 8; k++) store(pixel + k * lanes<float>, sums[k]);
#endif
}

// f(x + bias) of a row of pixels of c channels.
PYNN_INLINE void finish_pixels(float* x, int64_t pixels, int64_t c, const float* bias, Activation activation) {
  if (bias)
    for (int64_t j = 0; j < pixels * c; j += c)
      for (int64_t i = 0; i < c; i++) x[j + i] += bias[i];
  activate_tile(1, pixels * c, x, 0, activation);
}

}  // namespace pynn::PYNN_ISA
