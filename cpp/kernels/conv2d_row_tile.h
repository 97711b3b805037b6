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
// unless bias is null, for `columns` lanes, of which the last vector has one at least.
using RowTile = void (*)(const RowTerms& terms, const float* x, const float* weight, float* y, int64_t y_step,
                         int columns, const float* bias);

// The tile of so many output pixels, at most most_row_pixels(), and vectors of channels, at most kMostRowVectors and
// only one with a stride of 2; 3 or 5 taps.
RowTile row_tile_of(int64_t taps, int64_t stride, int64_t vectors, int64_t pixels);

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
