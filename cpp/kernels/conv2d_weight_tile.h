// The register tile of a weight gradient whose taps of a row the compiler knows, for one vector of output channels: as
// in conv2d_row_tile.h a pixel of the input is broadcast once for all taps that see it.
#pragma once
#include "kernels/conv2d_row_tile.h"

namespace pynn::PYNN_ISA {

constexpr int kWeightPixels = kVectorRegisters == 32 ? 6 : 4;  // of dy in registers
constexpr int most_weight_channels(int taps) { return (kVectorRegisters - kWeightPixels - 1) / taps; }

// `rows` rows of `columns` pixels of dy, dy_step apart, and those of x, of c channels.
struct WeightTerms {
  int64_t rows, columns, c, x_pitch, dy_step, dy_pitch;
};

// sum[u * tap_step + q * channel_step + lane] (+)= the sum over the pixels, in their order, of x[pixel + u][q] * dy;
// dy has `columns` lanes, all of them where kReadsRaggedRows is false.
using WeightTile = void (*)(const WeightTerms& terms, const float* x, const float* dy, int columns, float* sum,
                            int64_t tap_step, int64_t channel_step, bool goes_on);

// One address at a time: GCC would keep the distances of all pixels, more than there are registers.
PYNN_INLINE const float* in_register(const float* p) {
  asm("" : "+r"(p));
  return p;
}

template <int Taps, int Channels, int Pixels>
PYNN_INLINE void add_pixels(Vec<float> (&sums)[Taps][Channels], const float* x, int64_t c, const float* dy,
                            int64_t dy_step, int columns) {
  Vec<float> gradients[Pixels];
  PYNN_UNROLL
  for (int i = 0; i < Pixels; i++, dy = in_register(dy + dy_step))
    gradients[i] = in_register<float>(kReadsRaggedRows ? load_some(dy, columns) : load(dy));
  PYNN_UNROLL
  for (int j = 0; j < Pixels + Taps - 1; j++, x = in_register(x + c)) {
    PYNN_UNROLL
    for (int q = 0; q < Channels; q++) {
      const Vec<float> pixel = in_register<float>(broadcast(x[q]));
      PYNN_UNROLL
      for (int u = 0; u < Taps; u++)
        if (u <= j && j - u < Pixels) sums[u][q] = fma_in_place(pixel, gradients[j - u], sums[u][q]);
    }
  }
}

template <int Taps, int Channels>
void weight_tile(const WeightTerms& terms, const float* x, const float* dy, int columns, float* sum, int64_t tap_step,
                 int64_t channel_step, bool goes_on) {
  const int64_t c = terms.c, step = terms.dy_step;
  Vec<float> sums[Taps][Channels] = {};
  if (goes_on) {
    PYNN_UNROLL
    for (int u = 0; u < Taps; u++) {
      PYNN_UNROLL
      for (int q = 0; q < Channels; q++) sums[u][q] = load(sum + u * tap_step + q * channel_step);
    }
  }
  for (int64_t row = 0; row < terms.rows; row++) {
    const float *a = x + row * terms.x_pitch, *b = dy + row * terms.dy_pitch;
    int64_t left = terms.columns;
    const auto add = [&](auto pixels) PYNN_LAMBDA {
      constexpr int n = decltype(pixels)::value;
      for (; left >= n; left -= n, a += n * c, b += n * step)
        add_pixels<Taps, Channels, n>(sums, a, c, b, step, columns);
    };
    add(Count<kWeightPixels>{});
    if (kWeightPixels > 4) add(Count<4>{});
    add(Count<2>{});
    add(Count<1>{});
  }
  PYNN_UNROLL
  for (int u = 0; u < Taps; u++) {
    PYNN_UNROLL
    for (int q = 0; q < Channels; q++) store(sum + u * tap_step + q * channel_step, sums[u][q]);
  }
}

template <int Taps>
struct WeightTileTable {
  static constexpr int kMost = most_weight_channels(Taps);
  WeightTile of[kMost + 1] = {};
  template <int Channels = kMost>
  constexpr void fill() {
    of[Channels] = weight_tile<Taps, Channels>;
    if constexpr (Channels > 1) fill<Channels - 1>();
  }
  constexpr WeightTileTable() { fill(); }
};
template <int Taps>
constexpr WeightTileTable<Taps> weight_tile_table;

}  // namespace pynn::PYNN_ISA
