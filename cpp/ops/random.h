// Random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011), a function of (seed, stream, counter) alone.
//
// 128-bit counters: the lower half counts, the upper half is the stream; the key is the seed. 16 counters give a block
// of 64 words, word w of counter 16b + j being element 64b + 16w + j, so that vectors of counters store without a
// shuffle. Every call starts at a whole block, `state[2]`, and advances it by the blocks it used: a recorded call draws
// new numbers in each replay. Bits do not depend on the threads; uniform, integers and permutation not on the
// instruction set either.
#pragma once
#include "runtime/launch.h"

namespace pynn {

constexpr int kRandomBlock = 64;                 // words a block
enum RandomState { seed, stream, block, size };  // of the state array, as bits of int64

enum class Distribution : uint8_t {
  uniform,           // [low, high): low + u * (high - low), u of 24 (float64: 53) bits
  normal,            // mean low, deviation high: Box and Muller (1958), a pair of words (float64: two pairs) for two
  truncated_normal,  // mean low, deviation high, conditioned on [lower, upper]: inverse distribution function,
                     // which does not tell bounds apart where it has rounded to 1 (float32: beyond about 5 deviations)
  bernoulli,         // 1 with probability low, else 0
};

// y[i], n contiguous elements of float32 (a word each) or float64 (two words each)
struct RandomFill {
  static constexpr const char* name = "random_fill";
  static constexpr bool arithmetic = true;
  Distribution distribution;
  DType dtype;
  int64_t n;
  double low, high, lower, upper;
  int64_t* state;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(state, Access::write);
    f(y, Access::write);
  }
};

// y[i] in [low, low + range), two words each: the upper half of word * range, so a value's probability is off by at
// most 2^-64
struct RandomIntegers {
  static constexpr const char* name = "random_integers";
  static constexpr bool arithmetic = false;
  int64_t n, low;
  uint64_t range;
  int64_t* state;
  int64_t* y;
  template <class F>
  void pointers(F&& f) {
    f(state, Access::write);
    f(y, Access::write);
  }
};

// y: 0 ... n-1 in random order (Fisher and Yates, Durstenfeld 1964), two words each
struct RandomPermutation {
  static constexpr const char* name = "random_permutation";
  static constexpr bool arithmetic = false;
  int64_t n;
  int64_t* state;
  int64_t* y;
  template <class F>
  void pointers(F&& f) {
    f(state, Access::write);
    f(y, Access::write);
  }
};

struct RandomKernels {
  Kernel<RandomFill> fill;
  Kernel<RandomIntegers> integers;
  Kernel<RandomPermutation> permutation;
};

}  // namespace pynn
