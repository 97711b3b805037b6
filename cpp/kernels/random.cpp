// Uniform, normal, truncated normal and Bernoulli numbers, integers and permutations from Philox counters.
#include "ops/random.h"

#include "kernels/random_stream.h"
#include "simd/normal.h"
#include "simd/parallel.h"

namespace pynn::PYNN_ISA {
namespace {

// Nanoseconds an element on one core at AVX-512.
constexpr double kUniformCost = 0.3, kNormalCost = 0.6, kDoubleCost = 20, kIntegerCost = 1;
constexpr int64_t kGrain = 64;  // blocks a task

// produce(block, out) writes the `size` elements of a block; the last one goes through a buffer where y ends in it.
template <int size, class T, class Produce>
PYNN_INLINE void for_blocks(T* y, int64_t n, double ns_per_element, const Produce& produce) {
  parallel_ranges(ceil_div(n, size), kGrain, ns_per_element * size, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block++) {
      const int64_t left = n - block * size;
      if (left >= size) {
        produce(block, y + block * size);
      } else {
        T rest[size];
        produce(block, rest);
        __builtin_memcpy(y + block * size, rest, size_t(left) * sizeof(T));
      }
    }
  });
}

PYNN_INLINE Vec<float> words_to_float(Words w) { return __builtin_convertvector((VecInt<float>)w, Vec<float>); }

// f(words, y) turns the four words of the counters in one vector into four vectors, at y, y + 16, y + 32, y + 48.
template <class F>
PYNN_INLINE void fill_float(const RandomFill& p, double cost, const F& f) {
  const Stream s = take(p.state, ceil_div(p.n, kRandomBlock));
  for_blocks<kRandomBlock>(static_cast<float*>(p.y), p.n, cost, [&](int64_t block, float* y) {
    PYNN_UNROLL
    for (int v = 0; v < kVectors; v++) {
      Words words[4];
      draw(s, block, v, words);
      f(words, y + v * lanes<float>);
    }
  });
}

// f(u) of one uniform number each
template <class F>
PYNN_INLINE void map_uniform(const RandomFill& p, double cost, const F& f) {
  fill_float(p, cost, [&](const Words(&words)[4], float* y) PYNN_LAMBDA {
    PYNN_UNROLL
    for (int w = 0; w < 4; w++) store(y + w * kCounters, f(unit(words[w])));
  });
}

void uniform(const RandomFill& p) {
  // Two roundings rather than an fma: baseline has none. The sum may round up to `high`, which is not in the range.
  const float low = float(p.low), high = float(p.high), range = high - low;
  const float highest = range > 0 ? __builtin_nextafterf(high, low) : low;
  map_uniform(p, kUniformCost,
              [=](Vec<float> u) PYNN_LAMBDA { return min(u * range + broadcast(low), broadcast(highest)); });
}

void bernoulli(const RandomFill& p) {
  const float probability = float(p.low);
  map_uniform(p, kUniformCost,
              [=](Vec<float> u) PYNN_LAMBDA { return u < probability ? broadcast(1.f) : Vec<float>{}; });
}

void normal(const RandomFill& p) {
  const Vec<float> mean = broadcast(float(p.low)), deviation = broadcast(float(p.high));
  fill_float(p, kNormalCost, [=](const Words(&words)[4], float* y) PYNN_LAMBDA {
    PYNN_UNROLL
    for (int pair = 0; pair < 2; pair++) {
      // 31 bits on [2^-32, 1]: values up to 6.7 deviations
      const Vec<float> u = fma(words_to_float(words[2 * pair] >> 1), broadcast(0x1p-31f), broadcast(0x1p-32f));
      const Vec<float> radius = deviation * sqrt(-2.f * log(u));
      Vec<float> sine, cosine;
      sincos_turn(words[2 * pair + 1], sine, cosine);
      store(y + 2 * pair * kCounters, fma(radius, cosine, mean));
      store(y + (2 * pair + 1) * kCounters, fma(radius, sine, mean));
    }
  });
}

// erf at the bounds, in units of the deviation
void erf_bounds(const RandomFill& p, double& low, double& high) {
  const double unit = 1 / (p.high * 1.4142135623730951);
  low = ::erf((p.lower - p.low) * unit);
  high = ::erf((p.upper - p.low) * unit);
}

void truncated_normal(const RandomFill& p) {
  double erf_low, erf_high;
  erf_bounds(p, erf_low, erf_high);
  const Vec<float> low = broadcast(float(erf_low)), range = broadcast(float(erf_high - erf_low));
  const Vec<float> mean = broadcast(float(p.low)), scale = broadcast(float(p.high * 1.4142135623730951));
  const Vec<float> lower = broadcast(float(p.lower)), upper = broadcast(float(p.upper));
  map_uniform(p, kNormalCost, [=](Vec<float> u) PYNN_LAMBDA {
    const Vec<float> x = max(min(fma(u, range, low), broadcast(1.f)), broadcast(-1.f));
    return max(min(fma(erfinv(x), scale, mean), upper), lower);
  });
}

// 64-bit numbers, 32 a block: element 16 h + j from words 2h (upper half) and 2h + 1 of counter j.
constexpr int kLongs = kRandomBlock / 2;

PYNN_INLINE void draw_longs(const Stream& s, int64_t block, uint64_t* out) {
  alignas(64) uint32_t words[4][kCounters];
  PYNN_UNROLL
  for (int v = 0; v < kVectors; v++) {
    Words drawn[4];
    draw(s, block, v, drawn);
    PYNN_UNROLL
    for (int w = 0; w < 4; w++) store(words[w] + v * lanes<uint32_t>, drawn[w]);
  }
  PYNN_UNROLL
  for (int h = 0; h < 2; h++)
    for (int j = 0; j < kCounters; j++) out[h * kCounters + j] = uint64_t(words[2 * h][j]) << 32 | words[2 * h + 1][j];
}

// f(numbers, y) for each block of float64
template <class F>
PYNN_INLINE void fill_double(const RandomFill& p, const F& f) {
  const Stream s = take(p.state, ceil_div(p.n, kLongs));
  for_blocks<kLongs>(static_cast<double*>(p.y), p.n, kDoubleCost, [&](int64_t block, double* y) {
    uint64_t numbers[kLongs];
    draw_longs(s, block, numbers);
    f(numbers, y);
  });
}

PYNN_INLINE double unit(uint64_t number) { return double(number >> 11) * 0x1p-53; }

template <class F>
PYNN_INLINE void map_double(const RandomFill& p, const F& f) {
  fill_double(p, [&](const uint64_t* numbers, double* y) PYNN_LAMBDA {
    for (int i = 0; i < kLongs; i++) y[i] = f(unit(numbers[i]));
  });
}

void fill_double_of(const RandomFill& p) {
  const double low = p.low, high = p.high, range = high - low;
  switch (p.distribution) {
    case Distribution::uniform: {
      const double highest = range > 0 ? __builtin_nextafter(high, low) : low;
      return map_double(p, [=](double u) PYNN_LAMBDA {
        const double value = u * range + low;
        return value < highest ? value : highest;
      });
    }
    case Distribution::bernoulli: return map_double(p, [=](double u) PYNN_LAMBDA { return u < low ? 1. : 0.; });
    case Distribution::truncated_normal: {
      double erf_low, erf_high;
      erf_bounds(p, erf_low, erf_high);
      return map_double(p, [=](double u) PYNN_LAMBDA {
        const double value = low + high * 1.4142135623730951 * erfinv(erf_low + u * (erf_high - erf_low));
        return value < p.lower ? p.lower : value > p.upper ? p.upper : value;
      });
    }
    case Distribution::normal:
      return fill_double(p, [=](const uint64_t* numbers, double* y) PYNN_LAMBDA {
        for (int j = 0; j < kCounters; j++) {
          const double radius = high * ::sqrt(-2 * ::log(1 - unit(numbers[j])));
          const double angle = 6.283185307179586 * unit(numbers[kCounters + j]);
          y[j] = radius * ::cos(angle) + low;
          y[kCounters + j] = radius * ::sin(angle) + low;
        }
      });
  }
}

Status fill(const RandomFill& p) {
  if (p.dtype == DType::float64) {
    fill_double_of(p);
    return Status::ok;
  }
  switch (p.distribution) {
    case Distribution::uniform: uniform(p); break;
    case Distribution::normal: normal(p); break;
    case Distribution::truncated_normal: truncated_normal(p); break;
    case Distribution::bernoulli: bernoulli(p); break;
  }
  return Status::ok;
}

Status integers(const RandomIntegers& p) {
  const Stream s = take(p.state, ceil_div(p.n, kLongs));
  const Wide range = broadcast(p.range), low = broadcast(uint64_t(p.low));
  for_blocks<kLongs>(p.y, p.n, kIntegerCost, [&](int64_t block, int64_t* y) {
    uint64_t numbers[kLongs];
    draw_longs(s, block, numbers);
    PYNN_UNROLL
    for (int i = 0; i < kLongs; i += lanes<uint64_t>) {
      const Wide value = multiply_high(load(numbers + i), range) + low;
      store(y + i, (Vec<int64_t>)value);
    }
  });
  return Status::ok;
}

// One swap after the other: the order decides the result.
Status permutation(const RandomPermutation& p) {
  const Stream s = take(p.state, ceil_div(p.n, kLongs));
  for (int64_t i = 0; i < p.n; i++) p.y[i] = i;
  int64_t left = p.n;
  for (int64_t block = 0; left > 0; block++) {
    uint64_t numbers[kLongs];
    draw_longs(s, block, numbers);
    for (int i = 0; i < min_of(kLongs, p.n - block * kLongs); i++, left--) {
      const int64_t chosen = int64_t((unsigned __int128)numbers[i] * uint64_t(left) >> 64);
      const int64_t value = p.y[chosen];
      p.y[chosen] = p.y[left - 1];
      p.y[left - 1] = value;
    }
  }
  return Status::ok;
}

}  // namespace

extern const RandomKernels random_kernels;
const RandomKernels random_kernels = {fill, integers, permutation};

}  // namespace pynn::PYNN_ISA
