// The blocks of a random stream: 64 words from 16 counters, and the numbers on [0, 1) made of them.
#pragma once
#include "ops/random.h"
#include "simd/philox.h"

namespace pynn::PYNN_ISA {

constexpr int kCounters = 16;  // a block
constexpr int kVectors = kCounters / lanes<uint32_t>;

struct Stream {
  uint64_t seed, stream, block;
};

// Takes `blocks` from the state, in one step, so that threads may share it.
PYNN_INLINE Stream take(int64_t* state, int64_t blocks) {
  const int64_t first = __atomic_fetch_add(&state[RandomState::block], blocks, __ATOMIC_RELAXED);
  return {uint64_t(state[RandomState::seed]), uint64_t(state[RandomState::stream]), uint64_t(first)};
}

// Word w of lane j of vector v is the block's word 16 w + v * lanes + j.
PYNN_INLINE void draw(const Stream& s, int64_t block, int v, Words (&words)[4]) {
  philox(s.seed, s.stream, (s.block + uint64_t(block)) * kCounters + uint64_t(v * lanes<uint32_t>), words);
}

// 24 bits on [0, 1). Signed conversions: AVX2 has no others.
PYNN_INLINE Vec<float> unit(Words w) { return __builtin_convertvector((VecInt<float>)(w >> 8), Vec<float>) * 0x1p-24f; }

}  // namespace pynn::PYNN_ISA
