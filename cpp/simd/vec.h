// The vector API of the kernels: one source on the compiler's vector extensions, compiled once per instruction set
// into its own namespace. Nothing here or in a kernel may come from a std template: an inline function compiled with
// AVX-512 and merged by the linker would then run on a CPU without it.
#pragma once
#include <cstddef>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define PYNN_INLINE inline __attribute__((always_inline))
#define PYNN_LAMBDA __attribute__((always_inline))
#define PYNN_UNROLL _Pragma("GCC unroll 32")

namespace pynn::PYNN_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct VecTypes {
  typedef T aligned __attribute__((vector_size(kVectorBytes)));
  typedef T unaligned __attribute__((vector_size(kVectorBytes), aligned(sizeof(T)), may_alias));
};
template <class T>
using Vec = typename VecTypes<T>::aligned;
template <class T>
constexpr int lanes = kVectorBytes / int(sizeof(T));

template <class T>
struct IntOf;
template <>
struct IntOf<float> {
  using type = int32_t;
};
template <>
struct IntOf<double> {
  using type = int64_t;
};
template <class T>
using VecInt = Vec<typename IntOf<T>::type>;  // as many lanes as Vec<T>; what comparisons give

template <class T>
PYNN_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename VecTypes<T>::unaligned*>(p);
}
template <class T>
PYNN_INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename VecTypes<T>::unaligned*>(p) = v;
}
// `x - 0` folds to a broadcast; `x + 0` would keep a real addition for the sign of zero.
template <class T>
PYNN_INLINE Vec<T> broadcast(T x) {
  return x - Vec<T>{};
}

// Loaded once: GCC would read an operand of several shuffles again and again, each time across a cache line.
template <class T>
PYNN_INLINE Vec<T> in_register(Vec<T> v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
  return v;
}

// The first n lanes, 0 <= n <= lanes; the others read as zero and are not written. No memory beyond p[n-1] is touched.
template <class T>
PYNN_INLINE Vec<T> load(const T* p, int n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    return (Vec<T>)_mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1), p);
  } else if constexpr (sizeof(T) == 8) {
    return (Vec<T>)_mm512_maskz_loadu_epi64((__mmask8)((1u << n) - 1), p);
  }
#endif
  if (n == lanes<T>) return load(p);
  alignas(kVectorBytes) T lane[lanes<T>] = {};
  for (int i = 0; i < n; i++) lane[i] = p[i];
  return load(lane);
}
template <class T>
PYNN_INLINE void store(T* p, Vec<T> v, int n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_epi32(p, (__mmask16)((1u << n) - 1), (__m512i)v);
    return;
  } else if constexpr (sizeof(T) == 8) {
    _mm512_mask_storeu_epi64(p, (__mmask8)((1u << n) - 1), (__m512i)v);
    return;
  }
#endif
  if (n == lanes<T>) return store(p, v);
  alignas(kVectorBytes) T lane[lanes<T>];
  store(lane, v);
  for (int i = 0; i < n; i++) p[i] = lane[i];
}

// n lanes where n is mostly all of them: whole vectors need no mask.
template <class T>
PYNN_INLINE Vec<T> load_some(const T* p, int n) {
  return n == lanes<T> ? load(p) : load(p, n);
}
template <class T>
PYNN_INLINE void store_some(T* p, Vec<T> v, int n) {
  n == lanes<T> ? store(p, v) : store(p, v, n);
}

// a*b + c with one rounding wherever the instruction set has it; baseline x86-64-v2 rounds twice.
PYNN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__AVX512F__)
  return (Vec<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (Vec<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}
PYNN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(__AVX512F__)
  return (Vec<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
  return (Vec<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
  return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
  return a * b + c;
#endif
}
PYNN_INLINE float fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
PYNN_INLINE double fma(double a, double b, double c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

// sum + *x * v with the broadcast of *x inside the instruction, where there is such a one: one instruction to issue
// instead of two, but a load for each use.
PYNN_INLINE Vec<float> fma_broadcast(const float* x, Vec<float> v, Vec<float> sum) {
#if defined(__AVX512F__) && !defined(PYNN_SANITIZED)
  asm("vfmadd231ps %1%{1to16%}, %2, %0" : "+v"(sum) : "m"(*x), "v"(v));  // GCC would broadcast once for several uses
  return sum;
#else
  return fma(broadcast(*x), v, sum);
#endif
}
PYNN_INLINE Vec<double> fma_broadcast(const double* x, Vec<double> v, Vec<double> sum) {
#if defined(__AVX512F__) && !defined(PYNN_SANITIZED)
  asm("vfmadd231pd %1%{1to8%}, %2, %0" : "+v"(sum) : "m"(*x), "v"(v));
  return sum;
#else
  return fma(broadcast(*x), v, sum);
#endif
}

// sum + x * v in the register of the sum. GCC moves sums about where it holds many: a tile of 14 x 2 took 186
// instructions for 112 of these, and takes 162 (256^3 1.06, 4096 x 64 x 576 1.04 times as fast).
PYNN_INLINE Vec<float> fma_in_place(Vec<float> x, Vec<float> v, Vec<float> sum) {
#if defined(__AVX512F__) && !defined(PYNN_SANITIZED)
  asm("vfmadd231ps %1, %2, %0" : "+v"(sum) : "v"(x), "v"(v));
  return sum;
#else
  return fma(x, v, sum);
#endif
}
PYNN_INLINE Vec<double> fma_in_place(Vec<double> x, Vec<double> v, Vec<double> sum) {
#if defined(__AVX512F__) && !defined(PYNN_SANITIZED)
  asm("vfmadd231pd %1, %2, %0" : "+v"(sum) : "v"(x), "v"(v));
  return sum;
#else
  return fma(x, v, sum);
#endif
}

// The second operand where either is NaN, as the machine's own min and max, which GCC 12 does not find for itself.
template <class V>
PYNN_INLINE V max(V a, V b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64 && sizeof(a[0]) == 4)
    return (V)_mm512_maskz_max_ps(__mmask16(-1), (__m512)a, (__m512)b);
#endif
  return a > b ? a : b;
}
template <class V>
PYNN_INLINE V min(V a, V b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64 && sizeof(a[0]) == 4)
    return (V)_mm512_maskz_min_ps(__mmask16(-1), (__m512)a, (__m512)b);
#endif
  return a < b ? a : b;
}
// NaN stays.
template <class V, class T>
PYNN_INLINE V clamp(V x, T low, T high) {
  return min(broadcast(high), max(broadcast(low), x));
}

PYNN_INLINE VecInt<float> bits(Vec<float> x) { return (VecInt<float>)x; }
PYNN_INLINE VecInt<double> bits(Vec<double> x) { return (VecInt<double>)x; }
PYNN_INLINE Vec<float> from_bits(VecInt<float> x) { return (Vec<float>)x; }
PYNN_INLINE Vec<double> from_bits(VecInt<double> x) { return (Vec<double>)x; }
PYNN_INLINE Vec<float> abs(Vec<float> x) { return from_bits(bits(x) & 0x7fffffff); }
PYNN_INLINE Vec<double> abs(Vec<double> x) { return from_bits(bits(x) & 0x7fffffffffffffff); }
PYNN_INLINE Vec<float> sqrt(Vec<float> x) {
#if defined(__AVX512F__)
  return (Vec<float>)_mm512_maskz_sqrt_ps(__mmask16(-1), (__m512)x);  // the plain one warns in GCC 12
#elif defined(__AVX2__)
  return (Vec<float>)_mm256_sqrt_ps((__m256)x);
#elif defined(__x86_64__)
  return (Vec<float>)_mm_sqrt_ps((__m128)x);
#else
  Vec<float> y;
  PYNN_UNROLL
  for (int i = 0; i < lanes<float>; i++) y[i] = __builtin_sqrtf(x[i]);
  return y;
#endif
}
PYNN_INLINE Vec<double> sqrt(Vec<double> x) {
#if defined(__AVX512F__)
  return (Vec<double>)_mm512_maskz_sqrt_pd(__mmask8(-1), (__m512d)x);
#elif defined(__AVX2__)
  return (Vec<double>)_mm256_sqrt_pd((__m256d)x);
#elif defined(__x86_64__)
  return (Vec<double>)_mm_sqrt_pd((__m128d)x);
#else
  Vec<double> y;
  PYNN_UNROLL
  for (int i = 0; i < lanes<double>; i++) y[i] = __builtin_sqrt(x[i]);
  return y;
#endif
}

}  // namespace pynn::PYNN_ISA
