#include "kernels/conv2d_row_tile.h"

namespace pynn::PYNN_ISA {
namespace {

template <int Taps, int Stride, int Vectors, int Pixels>
void row_tile(const RowTerms& terms, const float* x, const float* weight, float* y, int64_t y_step, int columns,
              const float* bias) {
  constexpr int kSeen = (Pixels - 1) * Stride + Taps, kPointers = (kSeen + 2) / 3, L = lanes<float>;
  Vec<float> sums[Pixels][Vectors] = {};
  for (int64_t row = terms.count; row > 0; row--, x += terms.x_pitch, weight += Taps * terms.tap_step) {
    const float *pixels[kPointers], *channel = weight;
    PYNN_UNROLL
    for (int g = 0; g < kPointers; g++) pixels[g] = x + 3 * g * terms.x_step;
    for (int64_t c = terms.c; c > 0; c--, channel += terms.channel_step) {
      Vec<float> taps[Taps][Vectors];
      PYNN_UNROLL
      for (int u = 0; u < Taps; u++) {
        PYNN_UNROLL
        for (int v = 0; v < Vectors; v++) taps[u][v] = in_register<float>(load(channel + u * terms.tap_step + v * L));
      }
      PYNN_UNROLL
      for (int j = 0; j < kSeen; j++) {
        const Vec<float> pixel = in_register<float>(broadcast(pixels[j / 3][j % 3 * terms.x_step]));
        PYNN_UNROLL
        for (int u = j % Stride; u < Taps; u += Stride) {
          if (u > j || (j - u) / Stride >= Pixels) continue;
          PYNN_UNROLL
          for (int v = 0; v < Vectors; v++) {
            Vec<float>& sum = sums[(j - u) / Stride][v];
            sum = fma_in_place(pixel, taps[u][v], sum);
          }
        }
      }
      PYNN_UNROLL
      for (int g = 0; g < kPointers; g++) pixels[g]++;
    }
  }
  PYNN_UNROLL
  for (int v = 0; v < Vectors; v++) {
    const int n = v + 1 < Vectors ? L : columns - v * L;
    const Vec<float> summand = bias ? load(bias + v * L, n) : Vec<float>{};
    PYNN_UNROLL
    for (int i = 0; i < Pixels; i++) store(y + i * y_step + v * L, bias ? sums[i][v] + summand : sums[i][v], n);
  }
}

template <int Taps, int Stride, int Vectors>
struct RowTileTable {
  static constexpr int kMost = most_row_pixels(Taps, Stride, Vectors);
  RowTile of[kMost + 1] = {};
  template <int Pixels = kMost>
  constexpr void fill() {
    of[Pixels] = row_tile<Taps, Stride, Vectors, Pixels>;
    if constexpr (Pixels > 1) fill<Pixels - 1>();
  }
  constexpr RowTileTable() { fill(); }
};
template <int Taps, int Stride, int Vectors>
constexpr RowTileTable<Taps, Stride, Vectors> row_tile_table;

template <int Taps>
RowTile tile_of(int64_t stride, int64_t vectors, int64_t pixels) {
  if (vectors == 2) return row_tile_table<Taps, 1, kMostRowVectors>.of[pixels];
  return stride == 1 ? row_tile_table<Taps, 1, 1>.of[pixels] : row_tile_table<Taps, 2, 1>.of[pixels];
}

}  // namespace

RowTile row_tile_of(int64_t taps, int64_t stride, int64_t vectors, int64_t pixels) {
  return taps == 3 ? tile_of<3>(stride, vectors, pixels) : tile_of<5>(stride, vectors, pixels);
}

}  // namespace pynn::PYNN_ISA
