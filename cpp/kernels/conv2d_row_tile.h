// The register tile of a convolution whose taps of a row the compiler knows: a pixel is broadcast once for all taps
// that see it. With one vector of output channels 14 pixels and 5 taps need 18 + 5 loads for 70 multiply-adds, a tile
// of gemm one for each, which limits it (measured: 16 to 16 channels, 3x3 and 5x5, 1.24 times). With two vectors it
// pays for one input channel, where a tile of gemm spends its time on runs of a few terms.
#pragma once
#include "kernels/conv2d_paths.h"

namespace pynn::PYNN_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kVectorRegisters = 32;
#else
constexpr int kVectorRegisters = 16;
#endif
constexpr int kMostRowVectors = kVectorRegisters == 32 ? 2 : 1;
// Output pixels of a tile: the sums are in registers beside the taps and a pixel. With a stride of 2, 8 of them see 19
// pixels, whose 7 pointers take half of the machine's registers.
constexpr int most_row_pixels(int taps, int stride, int vectors = 1) {
  const int free = (kVectorRegisters - taps * vectors - 1) / vectors, most = stride == 1 ? 14 : 8;
  return free < most ? free : most;
}

// `count` rows of taps. x has pixels of c channels, x_step apart in a row, and x_pitch between the rows of taps; weight
// (row, tap, channel, lane) has tap_step between taps and channel_step between channels.
struct RowTerms {
  int64_t count, c, x_step, x_pitch, tap_step, channel_step;
};

// y[i * y_step + lane] = the sum over rows of taps, channels and taps, in this order, of x * weight, + bias[lane]
// unless bias is null, for `columns` lanes.
using RowTile = void (*)(const RowTerms& terms, const float* x, const float* weight, float* y, int64_t y_step,
                         int columns, const float* bias);

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
            sum = fma(pixel, taps[u][v], sum);
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

// The tile of `pixels` outputs and one vector of channels, or two.
template <int Vectors = 1>
PYNN_INLINE RowTile row_tile_of(int64_t taps, int64_t stride, int64_t pixels) {
  if (taps == 3)
    return stride == 1 ? row_tile_table<3, 1, Vectors>.of[pixels] : row_tile_table<3, 2, Vectors>.of[pixels];
  return stride == 1 ? row_tile_table<5, 1, Vectors>.of[pixels] : row_tile_table<5, 2, Vectors>.of[pixels];
}

template <class T>
bool has_row_tiles(const Correlation<T>& s) {
  return sizeof(T) == 4 && s.groups == 1 && (s.kw == 3 || s.kw == 5) && s.stride_w <= 2 && s.dilation_w == 1;
}

// The same for every instruction set: it decides on the order of the sums. More channels fill a tile of gemm, fewer
// mostly lie in planes.
template <class T>
bool row_tiles_pay(const Correlation<T>& s) {
  return has_row_tiles(s) && s.o > 8 && s.o <= 16;
}

// Two vectors of output channels (1 to 32 channels, 5x5: 1.15, 1 to 64, 3x3: 1.2 times as fast; with a stride of 2
// 0.97). One input channel's sums have the same order either way, so that an instruction set may do without.
template <class T>
bool row_tile_pairs_pay(const Correlation<T>& s) {
  return kMostRowVectors == 2 && has_row_tiles(s) && s.stride_w == 1 && s.c == 1 && s.o > lanes<T>;
}

}  // namespace pynn::PYNN_ISA
