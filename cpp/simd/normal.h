// What turns uniform numbers into normal ones: sine and cosine of a random angle, the inverse error function.
#pragma once
#include "simd/math.h"

namespace pynn::PYNN_ISA {

// Sine and cosine of 2 pi turn / 2^32. The nearest multiple of a quarter turn is exact in integers; the rest, within
// pi/4, goes through the minimax polynomials of Cephes (Moshier). Absolute error below 1e-7.
PYNN_INLINE void sincos_turn(Vec<uint32_t> turn, Vec<float>& sine, Vec<float>& cosine) {
  const Vec<uint32_t> quarter = (turn + 0x20000000u) >> 30;
  const VecInt<float> rest = (VecInt<float>)(turn - (quarter << 30));
  const Vec<float> t = __builtin_convertvector(rest, Vec<float>) * 1.46291807926715968e-9f;  // 2 pi / 2^32
  const Vec<float> z = t * t;
  Vec<float> s = broadcast(-1.9515295891e-4f);
  s = fma(s, z, broadcast(8.3321608736e-3f));
  s = fma(s, z, broadcast(-1.6666654611e-1f));
  s = fma(s * z, t, t);
  Vec<float> c = broadcast(2.443315711809948e-5f);
  c = fma(c, z, broadcast(-1.388731625493765e-3f));
  c = fma(c, z, broadcast(4.166664568298827e-2f));
  c = fma(c * z, z, fma(z, broadcast(-0.5f), broadcast(1.f)));
  const VecInt<float> q = (VecInt<float>)quarter, odd = -(q & 1);
  const Vec<float> sine_part = odd ? c : s, cosine_part = odd ? s : c;
  sine = from_bits(bits(sine_part) ^ ((q & 2) << 30));
  cosine = from_bits(bits(cosine_part) ^ (((q + 1) & 2) << 30));
}

// Inverse of erf on [-1, 1], +-inf at the ends: Giles, "Approximating the erfinv function" (2012), two polynomials of
// degree 8 in w = -log(1 - x^2), within 4 ulp.
PYNN_INLINE Vec<float> erfinv(Vec<float> x) {
  constexpr float center[9] = {2.81022636e-08f, 3.43273939e-07f, -3.5233877e-06f, -4.39150654e-06f, 0.00021858087f,
                               -0.00125372503f, -0.00417768164f, 0.246640727f,    1.50140941f};
  constexpr float tail[9] = {-0.000200214257f, 0.000100950558f, 0.00134934322f, -0.00367342844f, 0.00573950773f,
                             -0.0076224613f,   0.00943887047f,  1.00167406f,    2.83297682f};
  const Vec<float> w = -log((1.f - x) * (1.f + x));
  const VecInt<float> near = w < 5.f;
  const Vec<float> t = near ? w - 2.5f : sqrt(w) - 3.f;
  Vec<float> p = near ? broadcast(center[0]) : broadcast(tail[0]);
  PYNN_UNROLL
  for (int i = 1; i < 9; i++) p = fma(p, t, near ? broadcast(center[i]) : broadcast(tail[i]));
  p = abs(x) == 1.f ? broadcast(__builtin_inff()) : p;
  return p * x;
}

// Two Newton steps from the float32 value, exact to some ulp of float64.
PYNN_INLINE double erfinv(double x) {
  if (!(x > -1 && x < 1)) return x == 1 || x == -1 ? x * double(__builtin_inff()) : double(__builtin_nanf(""));
  double y = double(erfinv(broadcast(float(x)))[0]);
  if (y > 6) y = 6;  // float(x) rounded to 1
  if (y < -6) y = -6;
  for (int step = 0; step < 2; step++) y -= (::erf(y) - x) * 0.886226925452758 * ::exp(y * y);  // sqrt(pi) / 2
  return y;
}

}  // namespace pynn::PYNN_ISA
