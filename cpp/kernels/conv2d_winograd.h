// Winograd's minimal filtering (Lavin and Gray 2016), one axis: 6 inputs give 4 outputs of 3 taps by 6 multiplications
// instead of 12, or 2 outputs of 5 taps instead of 10. Interpolation points 0, +-3/4, +-3/2 and infinity: the usual 0,
// +-1, +-2 have four times the largest error in two dimensions.
#pragma once
#include "runtime/workspace.h"
#include "simd/parallel.h"

namespace pynn::PYNN_ISA {

constexpr int kPoints = 6;  // inputs of a tile, and products
template <int taps>
constexpr int kTileOutputs = kPoints - taps + 1;
constexpr float kA = 0.75f, kB = 1.5f, kA2 = kA * kA, kB2 = kB * kB;
constexpr float kAtZero = 64 / 81.f, kAtA = -128 / 243.f, kAtB = 32 / 243.f;  // of G, which has the divisors

PYNN_INLINE Vec<float> scaled_add(float factor, Vec<float> x, Vec<float> y) { return fma(broadcast(factor), x, y); }

// B^T d of one row or column of inputs.
PYNN_INLINE void transform_input(Vec<float> (&d)[kPoints]) {
  const Vec<float> even_a = scaled_add(-kB2, d[2], d[4]), odd_a = scaled_add(-kB2, d[1], d[3]);
  const Vec<float> even_b = scaled_add(-kA2, d[2], d[4]), odd_b = scaled_add(-kA2, d[1], d[3]);
  d[0] = scaled_add(kA2 * kB2, d[0], scaled_add(-(kA2 + kB2), d[2], d[4]));
  d[5] = scaled_add(kA2 * kB2, d[1], scaled_add(-(kA2 + kB2), d[3], d[5]));
  d[1] = scaled_add(kA, odd_a, even_a);
  d[2] = scaled_add(-kA, odd_a, even_a);
  d[3] = scaled_add(kB, odd_b, even_b);
  d[4] = scaled_add(-kB, odd_b, even_b);
}

// B v, the transpose of transform_input: what the products of a tile send to its inputs.
PYNN_INLINE void transform_back(Vec<float> (&v)[kPoints]) {
  const Vec<float> sum_a = v[1] + v[2], difference_a = broadcast(kA) * (v[1] - v[2]);
  const Vec<float> sum_b = v[3] + v[4], difference_b = broadcast(kB) * (v[3] - v[4]);
  const Vec<float> first = v[0], last = v[5];
  v[0] = broadcast(kA2 * kB2) * first;
  v[1] = scaled_add(-kB2, difference_a, scaled_add(-kA2, difference_b, broadcast(kA2 * kB2) * last));
  v[2] = scaled_add(-kB2, sum_a, scaled_add(-kA2, sum_b, broadcast(-(kA2 + kB2)) * first));
  v[3] = scaled_add(-(kA2 + kB2), last, difference_a + difference_b);
  v[4] = first + sum_a + sum_b;
}

// A^T m of one row or column of products: the first four, or two.
template <int taps>
PYNN_INLINE void transform_output(Vec<float> (&m)[kPoints]) {
  const Vec<float> sum_a = m[1] + m[2], difference_a = m[1] - m[2], sum_b = m[3] + m[4], difference_b = m[3] - m[4];
  m[0] = m[0] + sum_a + sum_b;
  if constexpr (taps == 3) {
    m[1] = scaled_add(kA, difference_a, broadcast(kB) * difference_b);
    m[2] = scaled_add(kA2, sum_a, broadcast(kB2) * sum_b);
    m[3] = scaled_add(kA2 * kA, difference_a, scaled_add(kB2 * kB, difference_b, m[5]));
  } else {
    m[1] = scaled_add(kA, difference_a, scaled_add(kB, difference_b, m[5]));
  }
}

// G g of one row or column of weights.
template <int taps>
PYNN_INLINE void transform_weight(const Vec<float> (&g)[taps], Vec<float> (&u)[kPoints]) {
  Vec<float> even_a = g[taps - 1], even_b = g[taps - 1], odd_a = g[taps - 2], odd_b = g[taps - 2];
  if constexpr (taps == 5) {
    even_a = scaled_add(kA2, even_a, g[2]);
    even_b = scaled_add(kB2, even_b, g[2]);
    odd_a = scaled_add(kA2, odd_a, g[1]);
    odd_b = scaled_add(kB2, odd_b, g[1]);
  }
  even_a = scaled_add(kA2, even_a, g[0]);
  even_b = scaled_add(kB2, even_b, g[0]);
  u[0] = broadcast(kAtZero) * g[0];
  u[1] = broadcast(kAtA) * scaled_add(kA, odd_a, even_a);
  u[2] = broadcast(kAtA) * scaled_add(-kA, odd_a, even_a);
  u[3] = broadcast(kAtB) * scaled_add(kB, odd_b, even_b);
  u[4] = broadcast(kAtB) * scaled_add(-kB, odd_b, even_b);
  u[5] = g[taps - 1];
}

// u[point * slice + i] = G g of the taps g[j] = from[j * step + i], i < count in whole vectors.
template <int taps>
PYNN_INLINE void transform_weights(const float* from, int64_t step, int64_t count, float* u, int64_t slice) {
  for (int64_t i = 0; i < count; i += lanes<float>) {
    Vec<float> g[taps], points[kPoints];
    PYNN_UNROLL
    for (int j = 0; j < taps; j++) g[j] = load(from + j * step + i);
    transform_weight<taps>(g, points);
    PYNN_UNROLL
    for (int p = 0; p < kPoints; p++) store(u + p * slice + i, points[p]);
  }
}

// A dy, the transpose of transform_output, of the gradients of the outputs of a tile.
template <int taps>
PYNN_INLINE void transform_gradient(const Vec<float> (&dy)[kTileOutputs<taps>], Vec<float> (&v)[kPoints]) {
  Vec<float> even_a = dy[0], even_b = dy[0], odd_a = dy[1], odd_b = dy[1];
  if constexpr (taps == 3) {
    even_a = scaled_add(kA2, dy[2], even_a);
    even_b = scaled_add(kB2, dy[2], even_b);
    odd_a = scaled_add(kA2, dy[3], odd_a);
    odd_b = scaled_add(kB2, dy[3], odd_b);
  }
  v[0] = dy[0];
  v[1] = scaled_add(kA, odd_a, even_a);
  v[2] = scaled_add(-kA, odd_a, even_a);
  v[3] = scaled_add(kB, odd_b, even_b);
  v[4] = scaled_add(-kB, odd_b, even_b);
  v[5] = dy[kTileOutputs<taps> - 1];
}

// v[point * slice] = A dy of n channels of a tile whose first `inside` pixels, `step` apart, lie in the row; dy keeps
// them, and zeros.
template <int taps>
PYNN_INLINE void transform_tile(const float* pixel, int64_t step, int64_t inside, int n, float* v, int64_t slice,
                                Vec<float> (&dy)[kTileOutputs<taps>]) {
  Vec<float> points[kPoints];
  PYNN_UNROLL
  for (int j = 0; j < kTileOutputs<taps>; j++) dy[j] = load(pixel + j * step, j < inside ? n : 0);
  transform_gradient<taps>(dy, points);
  PYNN_UNROLL
  for (int p = 0; p < kPoints; p++) store(v + p * slice, points[p]);
}

// G^T m, the transpose of transform_weight: the gradients of the taps.
template <int taps>
PYNN_INLINE void transform_sums(const Vec<float> (&m)[kPoints], Vec<float> (&g)[taps]) {
  const Vec<float> even_a = broadcast(kAtA) * (m[1] + m[2]), odd_a = broadcast(kAtA * kA) * (m[1] - m[2]);
  const Vec<float> even_b = broadcast(kAtB) * (m[3] + m[4]), odd_b = broadcast(kAtB * kB) * (m[3] - m[4]);
  g[0] = scaled_add(kAtZero, m[0], even_a + even_b);
  g[1] = odd_a + odd_b;
  g[2] = scaled_add(kA2, even_a, broadcast(kB2) * even_b);
  if constexpr (taps == 5) {
    g[3] = scaled_add(kA2, odd_a, broadcast(kB2) * odd_b);
    g[4] = scaled_add(kA2 * kA2, even_a, broadcast(kB2 * kB2) * even_b);
  }
  g[taps - 1] = g[taps - 1] + m[5];
}

// Tiles of a row of outputs.
PYNN_INLINE int64_t tiles_across(int64_t taps, int64_t ow) { return ceil_div(ow, kPoints - taps + 1); }

// Whether few of the outputs that the tiles of a row compute are beyond its end, and few of the rows of x that they
// need are those of the border.
PYNN_INLINE bool winograd_tiles_fit(int64_t taps, int64_t oh, int64_t ow) {
  return oh >= 8 && 4 * tiles_across(taps, ow) * (kPoints - taps + 1) <= 5 * ow;
}

// The rows of an image (h, w, step) as the tiles of a row see them, transformed: `across` tiles of `outputs` pixels
// each, the first one beginning `left` pixels before the row, and c of their channels. Pixels of one place in their
// tiles lie together between zeros, a phase, so that vectors go over tiles and channels alike.
template <int taps>
struct RowInputs {
  static constexpr int64_t L = lanes<float>;
  static constexpr int kOutputs = kTileOutputs<taps>;
  int64_t h, w, step, c, left, across;

  int64_t row_size() const { return across * c; }
  int64_t phase_size() const { return (across + (kPoints - 1) / kOutputs) * c; }
  // Elements of scratch memory for so many rows, beside room for a vector.
  int64_t split_size(int64_t rows) const { return rows * kOutputs * phase_size() + L + w * step; }

  // u[point * slice + (row * across + tile) * c + channel] for rows [begin, end) of x, zeros where these lie outside;
  // up to a vector is written behind them, and read behind a row where that is before x_end.
  void transform(const float* x, const float* x_end, int64_t begin, int64_t end, float* scratch, float* u,
                 int64_t slice) const {
    const int64_t phase = phase_size(), tile = c, split_row = kOutputs * phase, size = row_size();
    for (int64_t row = begin; row < end; row++) {
      float* const phases = scratch + (row - begin) * split_row;
      const bool inside = row >= 0 && row < h;
      const float* pixels = x + row * w * step;
      if (inside && w > 0 && pixels + w * step + L > x_end) {
        float* const copy = scratch + (end - begin) * split_row + L;
        __builtin_memcpy(copy, pixels, size_t((w - 1) * step + c) * sizeof(float));
        pixels = copy;
      }
      split(pixels, inside, phases);
    }
    for (int64_t row = begin; row < end; row++, u += size, scratch += split_row)
      for (int64_t i = 0; i < size; i += L) {
        Vec<float> d[kPoints];
        PYNN_UNROLL
        for (int j = 0; j < kPoints; j++) d[j] = load(scratch + j % kOutputs * phase + j / kOutputs * tile + i);
        transform_input(d);
        PYNN_UNROLL
        for (int p = 0; p < kPoints; p++) store(u + p * slice + i, d[p]);
      }
  }

 private:
  // The phases of a row. Whole vectors are stored in the order of memory, each over the end of the one before.
  void split(const float* x, bool inside, float* phases) const {
    const int64_t channels = c, next = kOutputs * step, size = phase_size(), tiles = size / c;
    for (int64_t place = 0; place < kOutputs; place++, phases += size) {
      const auto pixels_before = [&](int64_t column) PYNN_LAMBDA {
        return max_of(0, min_of(ceil_div(column - place, kOutputs), tiles));
      };
      const int64_t first = inside ? pixels_before(left) : 0, last = inside ? pixels_before(left + w) : 0;
      const float* from = x + (first * kOutputs + place - left) * step;
      float *to = phases, *const pixels = phases + first * channels, *const zeros = phases + last * channels;
      for (; to < pixels; to += L) store(to, Vec<float>{});
      for (to = pixels; to < zeros; from += next, to += channels)
        for (int64_t v = 0; v < channels; v += L) store(to + v, load(from + v));
      for (to = zeros; to < phases + size; to += L) store(to, Vec<float>{});
    }
  }
};

}  // namespace pynn::PYNN_ISA
