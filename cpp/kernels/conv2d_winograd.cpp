// Winograd's minimal filtering in both axes: a tile of 6 x 6 inputs gives 4 x 4 outputs of 3 x 3 taps by 36
// multiplications a channel instead of 144, or 2 x 2 outputs of 5 x 5 taps instead of 100.
#include "kernels/conv2d_winograd.h"

#include "kernels/conv2d_paths.h"
#include "kernels/gemm_pack.h"

namespace pynn::PYNN_ISA {
namespace {

using V = Vec<float>;
constexpr int64_t L = lanes<float>, W = kTileColumns<float>;
constexpr int kSlices = kPoints * kPoints;

// u[36] of the vectors at w + tap * step; `turned` takes the taps in reverse.
template <int taps>
PYNN_INLINE void transform_taps(const float* w, int64_t step, bool turned, int n, V (&u)[kPoints][kPoints]) {
  V half[kPoints][taps];
  PYNN_UNROLL
  for (int j = 0; j < taps; j++) {
    V g[taps], column[kPoints];
    PYNN_UNROLL
    for (int i = 0; i < taps; i++) g[i] = load(w + (turned ? taps * taps - 1 - taps * i - j : taps * i + j) * step, n);
    transform_weight<taps>(g, column);
    PYNN_UNROLL
    for (int i = 0; i < kPoints; i++) half[i][j] = column[i];
  }
  PYNN_UNROLL
  for (int i = 0; i < kPoints; i++) transform_weight<taps>(half[i], u[i]);
}

// Panel of the columns of o from `first` on, rows [begin, end) of c, in every slice of u. Vectors lie along o, as they
// do in turned weights; the others, (o, taps, taps, c), are transposed before: 9 or 25 vectors instead of 36.
template <int taps>
void pack_weights(const Winograd& s, int64_t first, int64_t begin, int64_t end, int64_t slice, float* u) {
  constexpr int kTaps = taps * taps;
  constexpr int64_t kAhead = 2;  // blocks or rows to prefetch, too far apart for the hardware (4 -> 2.6 ms, 512 x 512)
  const int64_t columns = min_of(W, s.o - first), width = ceil_div(columns, L) * L;
  alignas(64) float block[kTaps * L * W];  // (kTaps, L, width)
  for (; begin < end; begin += L, u += L * width) {
    const int64_t rows = min_of(L, end - begin);
    if (!s.turned)
      for (int64_t v = 0; v < width; v += L)
        for (int tap = 0; tap < kTaps; tap++) {
          const float* w = s.weight + ((first + v) * kTaps + tap) * s.c + begin;
          V turned[L];
          load_transposed<float>(turned, w, kTaps * s.c, int(min_of(L, columns - v)), int(rows));
          PYNN_UNROLL
          for (int i = 0; i < L; i++) {
            __builtin_prefetch(w + i * kTaps * s.c + kAhead * L, 0, 2);
            store(block + (tap * L + i) * width + v, turned[i]);
          }
        }
    for (int64_t c = 0; c < rows; c++)
      for (int64_t v = 0; v < width; v += L) {
        V slices[kPoints][kPoints];
        if (s.turned) {
          const float* w = s.weight + (begin + c) * kTaps * s.o + first + v;
          for (int tap = 0; tap < kTaps; tap++) __builtin_prefetch(w + (kAhead * kTaps + tap) * s.o, 0, 2);
          transform_taps<taps>(w, s.o, true, int(min_of(L, columns - v)), slices);
        } else {
          transform_taps<taps>(block + c * width + v, L * width, false, L, slices);
        }
        PYNN_UNROLL
        for (int i = 0; i < kSlices; i++) store(u + i * slice + c * width + v, slices[i / kPoints][i % kPoints]);
      }
  }
}

// Where a tile lies.
struct Place {
  int64_t image, row, column;
  Place(const Winograd& s, int64_t tile, int64_t size) {
    const int64_t across = ceil_div(s.ow, size), each = ceil_div(s.oh, size) * across;
    image = tile / each;
    row = tile % each / across * size;
    column = tile % across * size;
  }
};

// v[36] slices (tiles, step) of the inputs of tiles [begin, end). `zeros` stands for pixels outside.
template <int taps>
void gather_inputs(const Winograd& s, int64_t begin, int64_t end, int64_t step, int64_t slice, const float* zeros,
                   float* v) {
  for (; begin < end; begin++, v += step) {
    const Place place(s, begin, kTileOutputs<taps>);
    const float* pixels[kPoints][kPoints];
    for (int i = 0; i < kPoints; i++)
      for (int j = 0; j < kPoints; j++) {
        const int64_t row = place.row - s.top + i, column = place.column - s.left + j;
        const bool inside = row >= 0 && row < s.h && column >= 0 && column < s.w;
        pixels[i][j] = inside ? s.x + ((place.image * s.h + row) * s.w + column) * s.c : zeros;
      }
    for (int64_t c = 0; c < s.c; c += L) {
      const int n = int(min_of(L, s.c - c));
      V d[kPoints][kPoints];
      PYNN_UNROLL
      for (int j = 0; j < kPoints; j++) {
        V column[kPoints];
        PYNN_UNROLL
        for (int i = 0; i < kPoints; i++) {
          column[i] = load_some(pixels[i][j] + c, n);
          // The columns that the next tile adds (3.9 -> 2.0 ms of 12 at 64 channels, 56 x 56).
          if (j >= kPoints - kTileOutputs<taps>) __builtin_prefetch(pixels[i][j] + c + kTileOutputs<taps> * s.c);
        }
        transform_input(column);
        PYNN_UNROLL
        for (int i = 0; i < kPoints; i++) d[i][j] = column[i];
      }
      PYNN_UNROLL
      for (int i = 0; i < kPoints; i++) {
        transform_input(d[i]);
        PYNN_UNROLL
        for (int j = 0; j < kPoints; j++) store(v + (i * kPoints + j) * slice + c, d[i][j]);
      }
    }
  }
}

template <int taps>
void scatter_outputs(const Winograd& s, int64_t begin, int64_t end, int64_t step, int64_t slice, const float* m) {
  for (; begin < end; begin++, m += step) {
    const Place place(s, begin, kTileOutputs<taps>);
    const int64_t rows = min_of(kTileOutputs<taps>, s.oh - place.row),
                  columns = min_of(kTileOutputs<taps>, s.ow - place.column);
    float* y = s.y + ((place.image * s.oh + place.row) * s.ow + place.column) * s.o;
    for (int64_t o = 0; o < s.o; o += L) {
      const int n = int(min_of(L, s.o - o));
      const V bias = s.bias ? load(s.bias + o, n) : V{};
      V d[kTileOutputs<taps>][kPoints];
      PYNN_UNROLL
      for (int j = 0; j < kPoints; j++) {
        V column[kPoints];
        PYNN_UNROLL
        for (int i = 0; i < kPoints; i++) column[i] = load(m + (i * kPoints + j) * slice + o);
        transform_output<taps>(column);
        PYNN_UNROLL
        for (int i = 0; i < kTileOutputs<taps>; i++) d[i][j] = column[i];
      }
      PYNN_UNROLL
      for (int i = 0; i < kTileOutputs<taps>; i++) {
        transform_output<taps>(d[i]);
        PYNN_UNROLL
        for (int j = 0; j < kTileOutputs<taps>; j++)
          if (i < rows && j < columns) store(y + (i * s.ow + j) * s.o + o, s.bias ? d[i][j] + bias : d[i][j], n);
      }
    }
    for (int64_t i = 0; i < rows; i++) activate_tile(1, columns * s.o, y + i * s.ow * s.o, 0, s.activation);
  }
}

// Transformed inputs and products of up to `tiles` tiles. Rows are no multiple of 1 KB apart, so that those of a tile
// of the product share L1; slices are a line more than a power of two apart, or the stores of 36 of them would share a
// set.
struct Slices {
  int64_t v_row, v_slice, m_row, m_slice;
  float *v, *m, *zeros;
  Slices(const Winograd& s, int64_t tiles)
      : v_row(ceil_div(s.c, L) * L + L),
        v_slice(tiles * v_row + L),
        m_row(ceil_div(s.o, L) * L + L),
        m_slice(tiles * m_row + L),
        v(scratch_of<float>(Scratch::pack_a, kSlices * v_slice + s.c)),
        m(scratch_of<float>(Scratch::partial, kSlices * m_slice)),
        zeros(v ? v + kSlices * v_slice : nullptr) {
    if (zeros) __builtin_memset(zeros, 0, size_t(s.c) * sizeof(float));
  }
  bool failed() const { return !v || !m; }

  // Slice i, columns [first, end) of o: m (+)= v u with `terms` terms from c on; u is that of these, in panels.
  void multiply(int i, int64_t count, int64_t first, int64_t end, int64_t c, int64_t terms, const float* u) const {
    const int64_t rows = balanced(count, kTileRows<float>);
    for (int64_t o = first; o < end; o += W, u += W * terms) {
      const int64_t vectors = ceil_div(min_of(W, end - o), L);
      for (int64_t t = 0; t < count; t += rows)
        tiles(float{}).by_rows[min_of(rows, count - t)][vectors]({terms}, v + i * v_slice + t * v_row + c, v_row, u,
                                                                 vectors * L, m + i * m_slice + t * m_row + o, m_row,
                                                                 int(vectors * L), output_of(c > 0), nullptr);
    }
  }
};

int64_t packed_slice(const Winograd& s) { return ceil_div(s.o, W) * W * s.c + L; }

// The transformed weights, kSlices * packed_slice(s), or null.
template <int taps>
const float* packed_weights(const Winograd& s) {
  const int64_t slice = packed_slice(s);
  float* u = scratch_of<float>(Scratch::pack_b, kSlices * slice);
  if (u)
    parallel_tasks(ceil_div(s.o, W), kSlices * pack_cost(s.o * s.c),
                   [&](int64_t panel) { pack_weights<taps>(s, panel * W, 0, s.c, slice, u + panel * W * s.c); });
  return u;
}

PYNN_INLINE double product_cost(const Winograd& s, int64_t tiles) {
  return fma_cost<float>(kSlices * double(tiles) * double(s.c) * double(s.o));
}

// Small weights: every thread has blocks of tiles of its own.
template <int taps>
Status split_over_tiles(const Winograd& s, int64_t tiles_count) {
  const int64_t each = balanced(tiles_count, 56), slice = packed_slice(s);
  const float* u = packed_weights<taps>(s);
  if (!u) return Status::out_of_memory;
  int failed = 0;
  parallel_ranges(ceil_div(tiles_count, each), 1, product_cost(s, each), [&](int64_t block, int64_t block_end) {
    const Slices slices(s, each);
    if (slices.failed()) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    for (; block < block_end; block++) {
      const int64_t begin = block * each, end = min_of(tiles_count, begin + each);
      gather_inputs<taps>(s, begin, end, slices.v_row, slices.v_slice, slices.zeros, slices.v);
      for (int i = 0; i < kSlices; i++) slices.multiply(i, end - begin, 0, s.o, 0, s.c, u + i * slice);
      scatter_outputs<taps>(s, begin, end, slices.m_row, slices.m_slice, slices.m);
    }
  });
  return failed ? Status::out_of_memory : Status::ok;
}

// Weights that exceed L2: all threads share a block of many tiles, as it takes one pass over the weights. They are
// packed first, or where they are very large or serve few tiles, panel by panel as they are multiplied, so that they
// stay in L2 (512 x 512, 128 tiles: 18 ms instead of 21; 4 tiles: 2 ms instead of 5).
template <int taps>
Status split_over_weights(const Winograd& s, int64_t tiles_count) {
  const bool by_panels = s.c * s.o >= 512 * 256 || tiles_count <= 32;
  const int64_t each = balanced(tiles_count, 192), slice = packed_slice(s);
  const float* u = by_panels ? nullptr : packed_weights<taps>(s);
  const Slices slices(s, each);
  if (slices.failed() || !(u || by_panels)) return Status::out_of_memory;
  int failed = 0;
  for (int64_t begin = 0; begin < tiles_count; begin += each) {
    const int64_t count = min_of(each, tiles_count - begin);
    parallel_ranges(count, 1, pack_cost(kSlices * s.c), [&](int64_t t, int64_t end) {
      gather_inputs<taps>(s, begin + t, begin + end, slices.v_row, slices.v_slice, slices.zeros,
                          slices.v + t * slices.v_row);
    });
    if (by_panels) {
      // Blocks of c that suit the weights, or with many tiles the products, which are read again for each.
      const int64_t terms = balanced(s.c, count <= 32 ? 256 : 512), own_slice = W * terms + L;
      const double cost = product_cost(s, count) + kSlices * pack_cost(s.c * s.o);
      parallel_tasks(ceil_div(s.o, W), cost, [&](int64_t panel) {
        float* own = scratch_of<float>(Scratch::pack_b, kSlices * own_slice);
        if (!own) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
        for (int64_t c = 0; c < s.c; c += terms) {
          const int64_t end = min_of(s.c, c + terms);
          pack_weights<taps>(s, panel * W, c, end, own_slice, own);
          for (int i = 0; i < kSlices; i++)
            slices.multiply(i, count, panel * W, min_of(s.o, (panel + 1) * W), c, end - c, own + i * own_slice);
        }
      });
      if (failed) return Status::out_of_memory;
    } else {
      parallel_tasks(kSlices, product_cost(s, count),
                     [&](int64_t i) { slices.multiply(int(i), count, 0, s.o, 0, s.c, u + i * slice); });
    }
    parallel_ranges(count, 1, pack_cost(kSlices * s.o), [&](int64_t t, int64_t end) {
      scatter_outputs<taps>(s, begin + t, begin + end, slices.m_row, slices.m_slice, slices.m + t * slices.m_row);
    });
  }
  return Status::ok;
}

// Any way gives the same bits: an element of a product is one chain over c.
template <int taps>
Status winograd_of(const Winograd& s) {
  const int64_t tiles_count = s.n * ceil_div(s.oh, kTileOutputs<taps>) * ceil_div(s.ow, kTileOutputs<taps>);
  if (tiles_count == 0) return Status::ok;
  return s.c * s.o < 128 * 128 ? split_over_tiles<taps>(s, tiles_count) : split_over_weights<taps>(s, tiles_count);
}

}  // namespace

bool winograd_pays(int64_t taps, int64_t c, int64_t o, int64_t oh, int64_t ow) {
  const int64_t size = kPoints - taps + 1, tiles = ceil_div(oh, size) * ceil_div(ow, size);
  return c >= 32 && o >= 32 && tiles >= 4 && 2 * tiles * size * size <= 3 * oh * ow;
}

Status winograd(const Winograd& s) { return s.taps == 3 ? winograd_of<3>(s) : winograd_of<5>(s); }

}  // namespace pynn::PYNN_ISA
