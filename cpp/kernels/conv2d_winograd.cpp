// Winograd's minimal filtering (Lavin and Gray 2016): a tile of 6 x 6 inputs gives 4 x 4 outputs of 3 x 3 taps by 36
// multiplications a channel instead of 144, or 2 x 2 outputs of 5 x 5 taps instead of 100. Interpolation points 0,
// +-3/4, +-3/2 and infinity: the usual 0, +-1, +-2 have four times the largest error.
#include "kernels/conv2d_paths.h"
#include "kernels/gemm_pack.h"

namespace pynn::PYNN_ISA {
namespace {

using V = Vec<float>;
constexpr int64_t L = lanes<float>, W = kTileColumns<float>;
constexpr int kIn = 6, kSlices = kIn * kIn;
template <int taps>
constexpr int kOut = kIn - taps + 1;
constexpr float kA = 0.75f, kB = 1.5f, kA2 = kA * kA, kB2 = kB * kB;

PYNN_INLINE V scaled_add(float factor, V x, V y) { return fma(broadcast(factor), x, y); }

// B^T d of one row or column of inputs.
PYNN_INLINE void transform_input(V (&d)[kIn]) {
  const V even_a = scaled_add(-kB2, d[2], d[4]), odd_a = scaled_add(-kB2, d[1], d[3]);
  const V even_b = scaled_add(-kA2, d[2], d[4]), odd_b = scaled_add(-kA2, d[1], d[3]);
  d[0] = scaled_add(kA2 * kB2, d[0], scaled_add(-(kA2 + kB2), d[2], d[4]));
  d[5] = scaled_add(kA2 * kB2, d[1], scaled_add(-(kA2 + kB2), d[3], d[5]));
  d[1] = scaled_add(kA, odd_a, even_a);
  d[2] = scaled_add(-kA, odd_a, even_a);
  d[3] = scaled_add(kB, odd_b, even_b);
  d[4] = scaled_add(-kB, odd_b, even_b);
}

// A^T m of one row or column of products: the first four, or two.
template <int taps>
PYNN_INLINE void transform_output(V (&m)[kIn]) {
  const V sum_a = m[1] + m[2], difference_a = m[1] - m[2], sum_b = m[3] + m[4], difference_b = m[3] - m[4];
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
PYNN_INLINE void transform_weight(const V (&g)[taps], V (&u)[kIn]) {
  constexpr float kFirst = 64 / 81.f, kAtA = -128 / 243.f, kAtB = 32 / 243.f;
  V even_a = g[taps - 1], even_b = g[taps - 1], odd_a = g[taps - 2], odd_b = g[taps - 2];
  if constexpr (taps == 5) {
    even_a = scaled_add(kA2, even_a, g[2]);
    even_b = scaled_add(kB2, even_b, g[2]);
    odd_a = scaled_add(kA2, odd_a, g[1]);
    odd_b = scaled_add(kB2, odd_b, g[1]);
  }
  even_a = scaled_add(kA2, even_a, g[0]);
  even_b = scaled_add(kB2, even_b, g[0]);
  u[0] = broadcast(kFirst) * g[0];
  u[1] = broadcast(kAtA) * scaled_add(kA, odd_a, even_a);
  u[2] = broadcast(kAtA) * scaled_add(-kA, odd_a, even_a);
  u[3] = broadcast(kAtB) * scaled_add(kB, odd_b, even_b);
  u[4] = broadcast(kAtB) * scaled_add(-kB, odd_b, even_b);
  u[5] = g[taps - 1];
}

// u[36] of the vectors at w + tap * step; `turned` takes the taps in reverse.
template <int taps>
PYNN_INLINE void transform_taps(const float* w, int64_t step, bool turned, int n, V (&u)[kIn][kIn]) {
  V half[kIn][taps];
  PYNN_UNROLL
  for (int j = 0; j < taps; j++) {
    V g[taps], column[kIn];
    PYNN_UNROLL
    for (int i = 0; i < taps; i++) g[i] = load(w + (turned ? taps * taps - 1 - taps * i - j : taps * i + j) * step, n);
    transform_weight<taps>(g, column);
    PYNN_UNROLL
    for (int i = 0; i < kIn; i++) half[i][j] = column[i];
  }
  PYNN_UNROLL
  for (int i = 0; i < kIn; i++) transform_weight<taps>(half[i], u[i]);
}

// Panel `first` of every slice from weights (o, taps, taps, c): rows c, columns o from `first` on. Vectors lie along c,
// so blocks are turned in registers on their way.
template <int taps>
void pack_forward(const Winograd& s, int64_t first, int64_t slice, float* u, float* block) {
  const int64_t columns = min_of(W, s.o - first), width = ceil_div(columns, L) * L;
  for (int64_t c = 0; c < s.c; c += L) {
    const int n = int(min_of(L, s.c - c));
    for (int64_t o = 0; o < columns; o++) {
      V slices[kIn][kIn];
      transform_taps<taps>(s.weight + (first + o) * taps * taps * s.c + c, s.c, false, n, slices);
      PYNN_UNROLL
      for (int i = 0; i < kSlices; i++) store(block + (i * W + o) * L, slices[i / kIn][i % kIn]);
    }
    for (int i = 0; i < kSlices; i++)
      pack_transposed(u + i * slice + first * s.c + c * width, width, block + i * W * L, L, columns, n);
  }
}

// The same for the data gradient, weights (c, taps, taps, o): rows c, columns o, which the vectors lie along.
template <int taps>
void pack_turned(const Winograd& s, int64_t first, int64_t slice, float* u) {
  const int64_t columns = min_of(W, s.o - first), width = ceil_div(columns, L) * L;
  for (int64_t c = 0; c < s.c; c++)
    for (int64_t v = 0; v < width; v += L) {
      V slices[kIn][kIn];
      transform_taps<taps>(s.weight + c * taps * taps * s.o + first + v, s.o, true, int(min_of(L, columns - v)),
                           slices);
      PYNN_UNROLL
      for (int i = 0; i < kSlices; i++) store(u + i * slice + first * s.c + c * width + v, slices[i / kIn][i % kIn]);
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
    const Place place(s, begin, kOut<taps>);
    const float* pixels[kIn][kIn];
    for (int i = 0; i < kIn; i++)
      for (int j = 0; j < kIn; j++) {
        const int64_t row = place.row - s.top + i, column = place.column - s.left + j;
        const bool inside = row >= 0 && row < s.h && column >= 0 && column < s.w;
        pixels[i][j] = inside ? s.x + ((place.image * s.h + row) * s.w + column) * s.c : zeros;
      }
    for (int64_t c = 0; c < s.c; c += L) {
      const int n = int(min_of(L, s.c - c));
      V d[kIn][kIn];
      PYNN_UNROLL
      for (int j = 0; j < kIn; j++) {
        V column[kIn];
        PYNN_UNROLL
        for (int i = 0; i < kIn; i++) {
          column[i] = n == L ? load(pixels[i][j] + c) : load(pixels[i][j] + c, n);
          // The columns that the next tile adds (3.9 -> 2.0 ms of 12 at 64 channels, 56 x 56).
          if (j >= kIn - kOut<taps>) __builtin_prefetch(pixels[i][j] + c + kOut<taps> * s.c);
        }
        transform_input(column);
        PYNN_UNROLL
        for (int i = 0; i < kIn; i++) d[i][j] = column[i];
      }
      PYNN_UNROLL
      for (int i = 0; i < kIn; i++) {
        transform_input(d[i]);
        PYNN_UNROLL
        for (int j = 0; j < kIn; j++) store(v + (i * kIn + j) * slice + c, d[i][j]);
      }
    }
  }
}

template <int taps>
void scatter_outputs(const Winograd& s, int64_t begin, int64_t end, int64_t step, int64_t slice, const float* m) {
  for (; begin < end; begin++, m += step) {
    const Place place(s, begin, kOut<taps>);
    const int64_t rows = min_of(kOut<taps>, s.oh - place.row), columns = min_of(kOut<taps>, s.ow - place.column);
    float* y = s.y + ((place.image * s.oh + place.row) * s.ow + place.column) * s.o;
    for (int64_t o = 0; o < s.o; o += L) {
      const int n = int(min_of(L, s.o - o));
      const V bias = s.bias ? load(s.bias + o, n) : V{};
      V d[kOut<taps>][kIn];
      PYNN_UNROLL
      for (int j = 0; j < kIn; j++) {
        V column[kIn];
        PYNN_UNROLL
        for (int i = 0; i < kIn; i++) column[i] = load(m + (i * kIn + j) * slice + o);
        transform_output<taps>(column);
        PYNN_UNROLL
        for (int i = 0; i < kOut<taps>; i++) d[i][j] = column[i];
      }
      PYNN_UNROLL
      for (int i = 0; i < kOut<taps>; i++) {
        transform_output<taps>(d[i]);
        PYNN_UNROLL
        for (int j = 0; j < kOut<taps>; j++)
          if (i < rows && j < columns) store(y + (i * s.ow + j) * s.o + o, s.bias ? d[i][j] + bias : d[i][j], n);
      }
    }
    for (int64_t i = 0; i < rows; i++) activate_tile(1, columns * s.o, y + i * s.ow * s.o, 0, s.activation);
  }
}

template <int taps>
Status winograd_of(const Winograd& s) {
  // Of the packed weights: a line more than a power of two, or the stores of 36 slices would share a set of L1.
  const int64_t slice = ceil_div(s.o, W) * W * s.c + L;
  float* u = scratch_of<float>(Scratch::pack_b, kSlices * slice);
  if (!u) return Status::out_of_memory;
  int failed = 0;
  parallel_tasks(ceil_div(s.o, W), 36 * pack_cost(s.o * s.c), [&](int64_t panel) {
    if (s.turned) return pack_turned<taps>(s, panel * W, slice, u);
    float* block = scratch_of<float>(Scratch::row, kSlices * W * L);
    if (!block) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    pack_forward<taps>(s, panel * W, slice, u, block);
  });
  if (failed) return Status::out_of_memory;

  // Rows that are no multiple of 1 KB apart, so that those of a tile of the product share L1.
  const int64_t v_step = ceil_div(s.c, L) * L + L, m_step = ceil_div(s.o, L) * L + L;
  const int64_t tiles_count = s.n * ceil_div(s.oh, kOut<taps>) * ceil_div(s.ow, kOut<taps>);
  if (tiles_count == 0) return Status::ok;
  const double cost = 0.75 / kVectorBytes * kSlices * double(s.c) * double(s.o);
  // Tiles that are transformed, multiplied and transformed back at a time. With many channels the weights are too large
  // for the cache and have to serve more tiles (256 x 256: 112 tiles 18 ms, 28 tiles 26 ms).
  const int64_t each = balanced(tiles_count, s.c * s.o >= 128 * 128 ? 112 : 56);
  parallel_ranges(ceil_div(tiles_count, each), 1, cost * double(each), [&](int64_t block, int64_t block_end) {
    const int64_t v_slice = each * v_step + L, m_slice = each * m_step + L;
    float* v = scratch_of<float>(Scratch::pack_a, kSlices * v_slice);
    float* m = scratch_of<float>(Scratch::partial, kSlices * m_slice);
    float* zeros = scratch_of<float>(Scratch::row, s.c + L);
    if (!v || !m || !zeros) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    __builtin_memset(zeros, 0, size_t(s.c + L) * sizeof(float));
    for (; block < block_end; block++) {
      const int64_t begin = block * each, end = min_of(tiles_count, begin + each), count = end - begin;
      gather_inputs<taps>(s, begin, end, v_step, v_slice, zeros, v);
      const int64_t rows = balanced(count, kTileRows);
      for (int i = 0; i < kSlices; i++)
        for (int64_t o = 0; o < s.o; o += W) {
          const int64_t vectors = ceil_div(min_of(W, s.o - o), L);
          for (int64_t t = 0; t < count; t += rows)
            tiles(float{}).by_rows[min_of(rows, count - t)][vectors](
                {s.c}, v + i * v_slice + t * v_step, v_step, u + i * slice + o * s.c, vectors * L,
                m + i * m_slice + t * m_step + o, m_step, int(vectors * L), false, nullptr);
        }
      scatter_outputs<taps>(s, begin, end, m_step, m_slice, m);
    }
  });
  return failed ? Status::out_of_memory : Status::ok;
}

}  // namespace

bool winograd_pays(int64_t taps, int64_t c, int64_t o, int64_t oh, int64_t ow) {
  const int64_t size = kIn - taps + 1, tiles = ceil_div(oh, size) * ceil_div(ow, size);
  return c >= 32 && o >= 32 && tiles >= 4 && 2 * tiles * size * size <= 3 * oh * ow;
}

Status winograd(const Winograd& s) { return s.taps == 3 ? winograd_of<3>(s) : winograd_of<5>(s); }

}  // namespace pynn::PYNN_ISA
