// exp, log, log1p, sigmoid and tanh on vectors. float32: polynomials, the same bits on avx2 and avx512. float64: the C
// library's functions lane by lane, exact enough for gradient checks, no speed bar.
#pragma once
#include <math.h>

#include "simd/vec.h"

namespace pynn::PYNN_ISA {

PYNN_INLINE Vec<double> each_lane(Vec<double> x, double (*f)(double)) {
  Vec<double> y{};
  for (int i = 0; i < lanes<double>; i++) y[i] = f(x[i]);
  return y;
}

// e^x = p * 2^n with p in [sqrt(1/2), sqrt(2)]: Cody-Waite reduction, degree 6 (Cephes, Moshier).
PYNN_INLINE void exp_parts(Vec<float> x, Vec<float>& p, Vec<float>& n) {
  const Vec<float> round = broadcast(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer
  n = fma(x, broadcast(1.44269504088896341f), round) - round;
  Vec<float> r = fma(n, broadcast(-0.693359375f), x);
  r = fma(n, broadcast(2.12194440e-4f), r);
  p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p * r, r, r) + 1.f;
}

// Within 1.01 ulp; overflow gives inf, NaN stays NaN. Results below 2^-126 are subnormal, so zero inside a kernel.
PYNN_INLINE Vec<float> exp(Vec<float> x) {
  x = clamp(x, -104.5f, 89.5f);
  Vec<float> p, n;
  exp_parts(x, p, n);
  const VecInt<float> k = __builtin_convertvector(n, VecInt<float>), half = k >> 1;
  return p * from_bits((half + 127) << 23) * from_bits((k - half + 127) << 23);
}
PYNN_INLINE Vec<double> exp(Vec<double> x) { return each_lane(x, ::exp); }

// log((1 + f) 2^n) with 1 + f in [sqrt(1/2), sqrt(2)): f - f^2/2 + f^3 P(f), degree 8 (Cephes, Moshier).
PYNN_INLINE Vec<float> log_of_parts(Vec<float> f, Vec<float> n) {
  const Vec<float> z = f * f;
  Vec<float> p = broadcast(7.0376836292e-2f);
  p = fma(p, f, broadcast(-1.1514610310e-1f));
  p = fma(p, f, broadcast(1.1676998740e-1f));
  p = fma(p, f, broadcast(-1.2420140846e-1f));
  p = fma(p, f, broadcast(1.4249322787e-1f));
  p = fma(p, f, broadcast(-1.6668057665e-1f));
  p = fma(p, f, broadcast(2.0000714765e-1f));
  p = fma(p, f, broadcast(-2.4999993993e-1f));
  p = fma(p, f, broadcast(3.3333331174e-1f)) * (f * z);
  p = fma(n, broadcast(-2.12194440e-4f), p);
  p = fma(z, broadcast(-0.5f), p);
  return fma(n, broadcast(0.693359375f), f + p);
}
constexpr int32_t kSqrtHalfBits = 0x3f3504f3;

// Within 0.9 ulp. log(0) is -inf, also for subnormals, which kernels take for zero; below zero it is NaN.
PYNN_INLINE Vec<float> log(Vec<float> x) {
  const VecInt<float> n = (bits(x) - kSqrtHalfBits) >> 23;
  const Vec<float> f = from_bits(bits(x) - (n << 23)) - 1.f;
  Vec<float> y = log_of_parts(f, __builtin_convertvector(n, Vec<float>));
  y = x > 3.40282347e38f ? x : y;
  y = x == 0.f ? broadcast(-__builtin_inff()) : y;
  return x >= 0.f ? y : broadcast(__builtin_nanf(""));
}
PYNN_INLINE Vec<double> log(Vec<double> x) { return each_lane(x, ::log); }

// log(1 + x), within 1.4 ulp: -inf at -1, NaN below. n is the exponent of 1 + x rounded; the reduced argument
// f = 2^-n x + (2^-n - 1) is made from x itself, so that nothing of a small x is lost.
PYNN_INLINE Vec<float> log1p(Vec<float> x) {
  const VecInt<float> n = (bits(x + 1.f) - kSqrtHalfBits) >> 23;
  const Vec<float> scale = from_bits(bits(broadcast(4.f)) - (n << 23));  // 4 * 2^-n is normal for n up to 128
  const Vec<float> f = from_bits(bits(x) - (n << 23)) + fma(scale, broadcast(0.25f), broadcast(-1.f));
  Vec<float> y = log_of_parts(f, __builtin_convertvector(n, Vec<float>));
  y = x > 3.40282347e38f ? x : y;
  y = x == -1.f ? broadcast(-__builtin_inff()) : y;
  return x >= -1.f ? y : broadcast(__builtin_nanf(""));
}
PYNN_INLINE Vec<double> log1p(Vec<double> x) { return each_lane(x, ::log1p); }

// Clamped to the normal range [-87.3, 88]: one integer addition scales.
PYNN_INLINE Vec<float> exp_clamped(Vec<float> x) {
  x = clamp(x, -87.3f, 88.f);
  Vec<float> p, n;
  exp_parts(x, p, n);
  return from_bits(bits(p) + (__builtin_convertvector(n, VecInt<float>) << 23));
}
PYNN_INLINE Vec<double> exp_clamped(Vec<double> x) { return exp(x); }

// 1 / (1 + e^-x), within 2.4 ulp.
template <class T>
PYNN_INLINE Vec<T> sigmoid(Vec<T> x) {
  return T(1) / (T(1) + exp_clamped(-x));
}

// An odd rational function of degree 13/6 on [-7.905, 7.905], where float32 tanh has reached 1: one division, within
// 5 ulp (3e-7 absolute). Both polynomials are 1024 times as large as they need be, so that a small x times the last
// coefficient, the same in both, is still a normal number.
PYNN_INLINE Vec<float> tanh(Vec<float> x) {
  constexpr float kBound = 7.90531110763549805f;
  const Vec<float> c = clamp(x, -kBound, kBound);
  const Vec<float> z = c * c;
  Vec<float> p = broadcast(-2.82702681e-13f);
  p = fma(p, z, broadcast(2.04819245e-10f));
  p = fma(p, z, broadcast(-8.81118396e-08f));
  p = fma(p, z, broadcast(5.24523239e-05f));
  p = fma(p, z, broadcast(0.0152137969f));
  p = fma(p, z, broadcast(0.652556241f));
  p = fma(p, z, broadcast(5.01096916f)) * c;
  Vec<float> q = broadcast(0.00122701656f);
  q = fma(q, z, broadcast(0.121379539f));
  q = fma(q, z, broadcast(2.32287717f));
  q = fma(q, z, broadcast(5.01096916f));
  return p / q;
}
PYNN_INLINE Vec<double> tanh(Vec<double> x) { return each_lane(x, ::tanh); }

}  // namespace pynn::PYNN_ISA
