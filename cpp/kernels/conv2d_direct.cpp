// The direct convolution: tiles over the pixels of an output row, all taps of the kernel in registers.
#include "kernels/conv2d_row_tile.h"
#include "simd/stream.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t kBandBytes = 256 * 1024;    // of input rows with their border, in L2
constexpr int64_t kWeightBytes = 384 * 1024;  // up to here all weights stay in L2 while the rows pass

// Input rows as the windows see them: column 0 is that of the first tap of the first window.
template <class T>
struct Rows {
  const T* first;
  int64_t number, pitch;  // of the first row; between rows
  const T* at(int64_t row) const { return first + (row - number) * pitch; }
};

template <class T>
struct Plan {
  int64_t span;     // columns that the windows of a row see
  bool copies;      // the input has no room for the border
  int64_t rows;     // output rows of a band
  int64_t tile;     // pixels of a tile
  int row_vectors;  // of channels in a tile whose taps share the loads of a pixel; 0: tiles of gemm
  bool whole_rows;  // a row of taps is one run
  bool rows_outer;
  bool streams;  // y goes around the caches
  explicit Plan(const Correlation<T>& s) {
    span = max_of(1, (s.ow - 1) * s.stride_w + (s.kw - 1) * s.dilation_w + 1);
    copies = s.terms() > 0 && (s.left > 0 || span - s.left > s.w);
    const int64_t row_bytes = max_of(1, span * s.channels * int64_t(sizeof(T))), reach = (s.kh - 1) * s.dilation_h;
    rows = max_of(1, min_of(s.oh, (kBandBytes / row_bytes - reach - 1) / s.stride_h + 1));
    row_vectors = row_tiles_pay(s) ? 1 : 0;
    whole_rows = s.groups == 1 && (s.dilation_w == 1 || s.kw == 1);
    streams = whole_rows && !row_vectors && s.activation == Activation::none &&
              streams_pay(s.y, s.n * s.oh * s.ow, s.o, s.column_step);
    if (!streams && row_tile_pairs_pay(s)) row_vectors = 2;
    tile = balanced(s.ow, row_vectors ? most_row_pixels(int(s.kw), int(s.stride_w), row_vectors) : kTileRows<T>);
    rows_outer = s.groups * s.group_size() * int64_t(sizeof(T)) <= kWeightBytes;
  }
  int64_t band_elements(const Correlation<T>& s) const {
    return ((rows - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1) * span * s.channels;
  }
};

// Copies input rows [begin, end) of an image between the zeros that are already in `band`.
template <class T>
void fill_band(const Correlation<T>& s, int64_t span, T* band, int64_t image, int64_t begin, int64_t end) {
  const int64_t from = max_of(0, -s.left), to = min_of(s.w, span - s.left);
  if (from >= to) return;
  for (int64_t row = begin; row < end; row++) {
    const T* x = s.x + ((image * s.h + row) * s.w + from) * s.channels;
    T* y = band + ((row - begin) * span + from + s.left) * s.channels;
    __builtin_memcpy(y, x, size_t((to - from) * s.channels) * sizeof(T));
  }
}

// The rows of taps that lie inside for output row i, from the input row `start` on.
template <class T>
struct TapRows {
  int64_t start, first, last;
  PYNN_INLINE TapRows(const Correlation<T>& s, int64_t i) : start(i * s.stride_h - s.top) {
    first = max_of(0, min_of(s.kh, ceil_div(-start, s.dilation_h)));
    last = max_of(first, min_of(s.kh, start < s.h ? (s.h - start - 1) / s.dilation_h + 1 : 0));
  }
};

// Panel `o` of group `g` of output row i.
template <class T>
PYNN_INLINE void correlate_row(const Correlation<T>& s, const Plan<T>& plan, const Rows<T>& in, int64_t i, int64_t g,
                               int64_t o, T* y) {
  constexpr int64_t L = lanes<T>;
  const TapRows<T> taps(s, i);
  const int64_t first = taps.first, last = taps.last;
  const int64_t columns = min_of(kTileColumns<T>, s.o - o), width = ceil_div(columns, L) * L;
  const T* panel = s.packed + g * s.group_size() + o * s.terms() + first * s.kw * s.c * width;
  const T* bias = s.bias ? s.bias + g * s.o + o : nullptr;
  const int64_t step = s.stride_w * s.channels;
  y += g * s.o + o;

  if constexpr (sizeof(T) == 4) {
    if (plan.row_vectors) {
      const RowTerms terms = {last - first, s.c, s.channels, s.dilation_h * in.pitch, s.c * width, width};
      for (int64_t j = 0; j < s.ow; j += plan.tile) {
        const int64_t pixels = min_of(plan.tile, s.ow - j);
        const float* a = in.at(taps.start + first * s.dilation_h) + j * step;
        prefetch_tile(y + j * s.column_step, pixels, s.column_step);
        for (int64_t v = 0; v < width; v += plan.row_vectors * L) {
          const int64_t vectors = min_of(plan.row_vectors, (width - v) / L);
          row_tile_of(s.kw, s.stride_w, vectors, pixels)(terms, a, panel + v, y + j * s.column_step + v, s.column_step,
                                                         int(min_of(vectors * L, columns - v)),
                                                         bias ? bias + v : nullptr);
        }
      }
      return;
    }
  }
  const auto run_tile = [&](int64_t j, int64_t rows) PYNN_LAMBDA {
    const auto tile = tiles(T{}).by_rows[rows][ceil_div(columns, L)];
    const T* a = in.at(taps.start + first * s.dilation_h) + j * step + g * s.c;
    T* c = y + j * s.column_step;
    if (!plan.streams) prefetch_tile(c, rows, s.column_step);
    if (plan.whole_rows || first == last) {
      const int64_t length = s.kw * s.c;
      tile({length, last - first, s.dilation_h * in.pitch - length, 0}, a, step, panel, width, c, s.column_step,
           int(columns), plan.streams ? Output::stream : Output::store, bias);
    } else {
      const Runs taps_of_row = {s.c, s.kw, s.dilation_w * s.channels - s.c, 0};
      for (int64_t t = 0; t < last - first; t++)
        tile(taps_of_row, a + t * s.dilation_h * in.pitch, step, panel + t * s.kw * s.c * width, width, c,
             s.column_step, int(columns), output_of(t > 0), t + 1 == last - first ? bias : nullptr);
    }
  };
  for (int64_t j = 0; j < s.ow; j += plan.tile) run_tile(j, min_of(plan.tile, s.ow - j));
}

template <class T>
void correlate_band(const Correlation<T>& s, const Plan<T>& plan, const Rows<T>& in, int64_t begin, int64_t end, T* y) {
  constexpr int64_t W = kTileColumns<T>;
  const auto each_panel = [&](const auto& body) PYNN_LAMBDA {
    for (int64_t g = 0; g < s.groups; g++)
      for (int64_t o = 0; o < s.o; o += W) body(g, o);
  };
  if (plan.rows_outer) {
    for (int64_t i = begin; i < end; i++) {
      T* row = y + i * s.row_step;
      each_panel([&](int64_t g, int64_t o) { correlate_row(s, plan, in, i, g, o, row); });
      finish_row(s, row);
    }
  } else {
    each_panel([&](int64_t g, int64_t o) {
      for (int64_t i = begin; i < end; i++) correlate_row(s, plan, in, i, g, o, y + i * s.row_step);
    });
    for (int64_t i = begin; i < end; i++) finish_row(s, y + i * s.row_step);
  }
}

}  // namespace

template <class T>
Status correlate(const Correlation<T>& s) {
  if (s.oh <= 0 || s.ow <= 0) return Status::ok;
  const Plan<T> plan(s);
  const double row_cost = fma_cost<T>(double(s.ow * s.groups * s.o * s.terms()));
  int failed = 0;
  parallel_ranges(s.n * s.oh, 1, row_cost, [&](int64_t row, int64_t end) {
    T* band = nullptr;
    if (plan.copies) {
      const int64_t elements = plan.band_elements(s);
      band = scratch_of<T>(Scratch::row, elements);
      if (!band) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      __builtin_memset(band, 0, size_t(elements) * sizeof(T));
    }
    while (row < end) {
      const int64_t image = row / s.oh, i = row % s.oh, stop = min_of(min_of(s.oh, i + end - row), i + plan.rows);
      Rows<T> in = {s.x + image * s.h * s.w * s.channels - s.left * s.channels, 0, s.w * s.channels};
      if (band) {
        const int64_t from = max_of(0, i * s.stride_h - s.top);
        const int64_t to = min_of(s.h, (stop - 1) * s.stride_h - s.top + (s.kh - 1) * s.dilation_h + 1);
        fill_band(s, plan.span, band, image, from, to);
        in = {band, from, plan.span * s.channels};
      }
      correlate_band(s, plan, in, i, stop, s.y + image * s.image_step);
      row += stop - i;
    }
    if (plan.streams) end_streams();
  });
  return failed ? Status::out_of_memory : Status::ok;
}
template Status correlate(const Correlation<float>&);
template Status correlate(const Correlation<double>&);

}  // namespace pynn::PYNN_ISA
