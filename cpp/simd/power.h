// x^y on vectors. float32 goes through exp2(y log2 |x|) in float64, so that the result is within 0.51 ulp whatever the
// exponent; float64 is the C library's pow.
#pragma once
#include "simd/math.h"

namespace pynn::PYNN_ISA {

// log2 of x > 0 that float32 can hold as a normal number; relative error below 1e-13. x = m * 2^e with m in
// [sqrt(1/2), sqrt(2)); log m = 2 artanh s with s = (m - 1) / (m + 1), |s| < 0.172, as a series up to s^15. Exponents
// stay unsigned and become doubles by their bits: AVX2 has neither a 64-bit arithmetic shift nor a conversion.
PYNN_INLINE Vec<double> log2_wide(Vec<double> x) {
  constexpr int64_t kBias = 1024;
  const VecInt<double> shifted = bits(x) - 0x3fe6a09e667f3bcd + (kBias << 52);
  const VecInt<double> e = (VecInt<double>)((Vec<uint64_t>)shifted >> 52);
  const Vec<double> n = from_bits(e | 0x4330000000000000) - (4503599627370496.0 + double(kBias));
  const Vec<double> m = from_bits(bits(x) - ((e - kBias) << 52));
  const Vec<double> s = (m - 1.0) / (m + 1.0), z = s * s;
  Vec<double> p = broadcast(1.0 / 15);
  p = fma(p, z, broadcast(1.0 / 13));
  p = fma(p, z, broadcast(1.0 / 11));
  p = fma(p, z, broadcast(1.0 / 9));
  p = fma(p, z, broadcast(1.0 / 7));
  p = fma(p, z, broadcast(1.0 / 5));
  p = fma(p, z, broadcast(1.0 / 3));
  p = fma(p, z, broadcast(1.0));
  return fma(s * p, broadcast(2.8853900817779268), n);  // 2 / log 2
}

// 2^t, t clamped to [-200, 200]; NaN stays. Taylor to degree 9 on [-1/2, 1/2]: relative error below 1e-11.
PYNN_INLINE Vec<double> exp2_wide(Vec<double> t) {
  const Vec<double> round = broadcast(6755399441055744.0);  // 1.5 * 2^52: adding it rounds to an integer
  t = clamp(t, -200.0, 200.0);
  const Vec<double> shifted = t + round;
  const Vec<double> u = (t - (shifted - round)) * 0.6931471805599453;
  Vec<double> p = broadcast(1.0 / 362880);
  p = fma(p, u, broadcast(1.0 / 40320));
  p = fma(p, u, broadcast(1.0 / 5040));
  p = fma(p, u, broadcast(1.0 / 720));
  p = fma(p, u, broadcast(1.0 / 120));
  p = fma(p, u, broadcast(1.0 / 24));
  p = fma(p, u, broadcast(1.0 / 6));
  p = fma(p, u, broadcast(0.5));
  p = fma(p, u, broadcast(1.0));
  p = fma(p, u, broadcast(1.0));
  return p * from_bits((bits(shifted) - bits(round) + 1023) << 52);
}

// a^y for a >= 0, in one half of the lanes of a float vector
PYNN_INLINE Vec<double> power_wide(Vec<double> a, Vec<double> y) {
  const double infinity = __builtin_inf();
  Vec<double> l = log2_wide(a);
  l = a == 0.0 ? broadcast(-infinity) : l;
  l = a < infinity ? l : a;  // infinity and NaN
  Vec<double> t = y * l;
  t = ((a == 1.0) & (y == y)) ? Vec<double>{} : t;  // 1^infinity
  return exp2_wide(t);
}

// The cases of C's pow: x^0 = 1^y = 1, odd integers keep the sign, a finite negative x has no other powers.
PYNN_INLINE Vec<float> power(Vec<float> x, Vec<float> y) {
  typedef float Half __attribute__((vector_size(kVectorBytes / 2)));
  const Vec<float> a = abs(x);
  struct Halves {
    Half low, high;
  } base, exponent, result;
  __builtin_memcpy(&base, &a, sizeof a);
  __builtin_memcpy(&exponent, &y, sizeof y);
  result.low = __builtin_convertvector(
      power_wide(__builtin_convertvector(base.low, Vec<double>), __builtin_convertvector(exponent.low, Vec<double>)),
      Half);
  result.high = __builtin_convertvector(
      power_wide(__builtin_convertvector(base.high, Vec<double>), __builtin_convertvector(exponent.high, Vec<double>)),
      Half);
  Vec<float> p;
  __builtin_memcpy(&p, &result, sizeof p);

  const VecInt<float> huge = abs(y) >= 16777216.f;  // even integers from here on
  const Vec<float> small = huge ? Vec<float>{} : y;
  const VecInt<float> k = __builtin_convertvector(small, VecInt<float>);
  const VecInt<float> integer = huge | (__builtin_convertvector(k, Vec<float>) == y);
  const VecInt<float> odd = integer & ~huge & -(k & 1);
  p = from_bits(bits(p) | (bits(x) & odd & int32_t(0x80000000)));
  p = ((x < 0.f) & (a < __builtin_inff()) & ~integer) ? broadcast(__builtin_nanf("")) : p;
  return ((x == 1.f) | (y == 0.f)) ? broadcast(1.f) : p;
}
PYNN_INLINE Vec<double> power(Vec<double> x, Vec<double> y) {
  Vec<double> p;
  for (int i = 0; i < lanes<double>; i++) p[i] = ::pow(x[i], y[i]);
  return p;
}

}  // namespace pynn::PYNN_ISA
