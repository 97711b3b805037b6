// Dropout: the mask of a block of random numbers, applied while it is in the cache.
#include "ops/dropout.h"

#include "kernels/random_stream.h"
#include "simd/index.h"
#include "simd/parallel.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr double kDrawCost = 0.3, kApplyCost = 0.15;  // ns an element on one core at AVX-512
constexpr int64_t kGrain = 64;                        // blocks a task

// 1 where the number is kept, n <= 64 of them.
PYNN_INLINE void draw_mask(const Stream& s, int64_t block, float p, uint8_t* mask, int64_t n) {
  constexpr int L = lanes<float>;
  PYNN_UNROLL
  for (int v = 0; v < kVectors; v++) {
    Words words[4];
    draw(s, block, v, words);
    PYNN_UNROLL
    for (int w = 0; w < 4; w++) {
      const int64_t at = w * kCounters + v * L, left = n - at;
      const VecInt<float> keep = (VecInt<float>)(unit(words[w]) >= p) & 1;
      if (left >= L)
        store_index<float>(mask + at, keep);
      else if (left > 0)
        store_index<float>(mask + at, keep, int(left));
    }
  }
}

template <class T>
PYNN_INLINE void apply(const T* x, const uint8_t* mask, T* y, int64_t n, T scale) {
  constexpr int L = lanes<T>;
  const auto factor = [=](VecInt<T> keep) PYNN_LAMBDA { return keep != 0 ? broadcast(scale) : Vec<T>{}; };
  int64_t i = 0;
  for (; i + L <= n; i += L) store(y + i, load(x + i) * factor(load_index<T>(mask + i)));
  if (i < n) {
    const int rest = int(n - i);
    store(y + i, load(x + i, rest) * factor(load_index<T>(mask + i, rest)), rest);
  }
}

template <class T>
Status forward_as(const Dropout& p) {
  const Stream stream = take(p.state, ceil_div(p.n, kRandomBlock));
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  const float probability = float(p.p);
  const double cost = item_cost(kDrawCost + kApplyCost, p.n, 2 * sizeof(T) + 1) * kRandomBlock;
  parallel_ranges(ceil_div(p.n, kRandomBlock), kGrain, cost, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block++) {
      const int64_t at = block * kRandomBlock, n = min_of(kRandomBlock, p.n - at);
      draw_mask(stream, block, probability, p.mask + at, n);
      apply(x + at, p.mask + at, y + at, n, T(p.scale));
    }
  });
  return Status::ok;
}

template <class T>
Status backward_as(const DropoutBackward& p) {
  const T* dy = static_cast<const T*>(p.dy);
  T* dx = static_cast<T*>(p.dx);
  const double cost = item_cost(kApplyCost, p.n, 2 * sizeof(T) + 1);
  parallel_ranges(p.n, kGrain * kRandomBlock, cost, [&](int64_t begin, int64_t end) {
    apply(dy + begin, p.mask + begin, dx + begin, end - begin, T(p.scale));
  });
  return Status::ok;
}

Status forward(const Dropout& p) { return p.dtype == DType::float64 ? forward_as<double>(p) : forward_as<float>(p); }

Status backward(const DropoutBackward& p) {
  return p.dtype == DType::float64 ? backward_as<double>(p) : backward_as<float>(p);
}

}  // namespace

extern const DropoutKernels dropout_kernels;
const DropoutKernels dropout_kernels = {forward, backward};

}  // namespace pynn::PYNN_ISA
