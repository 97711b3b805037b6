// The register tile of a convolution whose taps of a row the compiler knows, for one vector of output channels: a pixel
// is broadcast once for all taps that see it. 14 pixels and 5 taps need 18 + 5 loads for 70 multiply-adds, a tile of
// gemm one for each, which limits it (measured: 16 to 16 channels, 3x3 and 5x5, 1.24 times).
#pragma once
#include "kernels/conv2d_paths.h"

namespace pynn::PYNN_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kVectorRegisters = 32;
#else
constexpr int kVectorRegisters = 16;
#endif
// Output pixels of a tile: the sums are in registers beside the taps and a pixel. With a stride of 2, 8 of them see 19
// pixels, whose 7 pointers take half of the machine's registers.
constexpr int most_row_pixels(int taps, int stride) {
  const int free = kVectorRegisters - taps - 1, most = stride == 1 ? 14 : 8;
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

template <int Taps, int Stride, int Pixels>
void row_tile(const RowTerms& terms, const float* x, const float* weight, float* y, int64_t y_step, int columns,
              const float* bias) {
  constexpr int kSeen = (Pixels - 1) * Stride + Taps, kPointers = (kSeen + 2) / 3;
  Vec<float> sums[Pixels] = {};
  for (int64_t row = terms.count; row > 0; row--, x += terms.x_pitch, weight += Taps * terms.tap_step) {
    const float *pixels[kPointers], *channel = weight;
    PYNN_UNROLL
    for (int g = 0; g < kPointers; g++) pixels[g] = x + 3 * g * terms.x_step;
    for (int64_t c = terms.c; c > 0; c--, channel += terms.channel_step) {
      Vec<float> taps[Taps];
      PYNN_UNROLL
      for (int u = 0; u < Taps; u++) taps[u] = in_register<float>(load(channel + u * terms.tap_step));
      PYNN_UNROLL
      for (int j = 0; j < kSeen; j++) {
        const Vec<float> pixel = in_register<float>(broadcast(pixels[j / 3][j % 3 * terms.x_step]));
        PYNN_UNROLL
        for (int u = j % Stride; u < Taps; u += Stride)
          if (u <= j && (j - u) / Stride < Pixels) sums[(j - u) / Stride] = fma(pixel, taps[u], sums[(j - u) / Stride]);
      }
      PYNN_UNROLL
      for (int g = 0; g < kPointers; g++) pixels[g]++;
    }
  }
  const Vec<float> summand = bias ? load(bias, columns) : Vec<float>{};
  PYNN_UNROLL
  for (int i = 0; i < Pixels; i++) store(y + i * y_step, bias ? sums[i] + summand : sums[i], columns);
}

template <int Taps, int Stride>
struct RowTileTable {
  static constexpr int kMost = most_row_pixels(Taps, Stride);
  RowTile of[kMost + 1] = {};
  template <int Pixels = kMost>
  constexpr void fill() {
    of[Pixels] = row_tile<Taps, Stride, Pixels>;
    if constexpr (Pixels > 1) fill<Pixels - 1>();
  }
  constexpr RowTileTable() { fill(); }
};
template <int Taps, int Stride>
constexpr RowTileTable<Taps, Stride> row_tile_table;

// The tile of `pixels` outputs.
PYNN_INLINE RowTile row_tile_of(int64_t taps, int64_t stride, int64_t pixels) {
  if (taps == 3) return stride == 1 ? row_tile_table<3, 1>.of[pixels] : row_tile_table<3, 2>.of[pixels];
  return stride == 1 ? row_tile_table<5, 1>.of[pixels] : row_tile_table<5, 2>.of[pixels];
}

// The same for every instruction set: it decides on the order of the sums. More channels fill a tile of gemm, fewer
// mostly lie in planes.
template <class T>
bool row_tiles_pay(const Correlation<T>& s) {
  return sizeof(T) == 4 && s.groups == 1 && s.o > 8 && s.o <= 16 && (s.kw == 3 || s.kw == 5) && s.stride_w <= 2 &&
         s.dilation_w == 1;
}

}  // namespace pynn::PYNN_ISA
