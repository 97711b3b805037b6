// The gradient of the weight: a tile holds rows (tap, input channel) x output channels and sums over pixels, read where
// they lie. Blocks of pixels pass one after the other, each through all tiles of a task while it is in the cache.
#include "kernels/conv2d_weight_tile.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t kChunkPixels = 128;       // of dy in one pass through the tiles: with 32 columns 16 KB, in L1
constexpr int64_t kSumBytes = 512 * 1024;   // of the sums of a task, in L2 beside a chunk of x and dy
constexpr int64_t kSharedSums = 16 * 1024;  // most sums where each task has all of them, of its pixels

// The sums of one tile column: `height` rows (of a tap's channels, or of a row of taps with theirs) from `first` on.
struct Part {
  int64_t group, panel, first, tap_h, tap_w, height, columns;
};

template <class T>
struct Gradient {
  static constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const ConvShape& s;
  const WeightBlocks blocks;
  const T *x, *dy;
  // With few input channels a row of taps is one part, and the input is copied between zeros where it has a border.
  bool whole_rows, copies;
  // Neighbours that act as one pixel with several times the channels, as in the forward pass: the vectors are fuller,
  // and the parts of the sum that belong to no pixel are dropped. The same for every instruction set.
  int64_t pixels = 1;
  int64_t length, height, width, strips, panels, taps, o, ow;
  int64_t span;
  int64_t tile_channels = 0;  // of the input, where a tile's taps share the loads of a pixel

  explicit Gradient(const Conv2dWeight& p)
      : s(p.shape), blocks(s), x(static_cast<const T*>(p.x)), dy(static_cast<const T*>(p.dy)) {
    const bool row_taps = sizeof(T) == 4 && s.stride_w == 1 && (s.kw == 3 || s.kw == 5) && s.o <= 16;
    whole_rows = s.groups == 1 && s.dilation_w == 1 && s.c < (row_taps ? 32 : 16);
    if (whole_rows && sizeof(T) == 4) {
      pixels = min_of(shared_pixels(s.o, s.kw, s.stride_w, s.ow, 16, 14), max_of(1, 16 / s.o));
      while (blocks.columns_count > 1 ? pixels > 1 : s.ow % pixels != 0) pixels--;
    }
    o = pixels * s.o;
    ow = s.ow / pixels;
    length = whole_rows ? (s.kw + (pixels - 1) * s.stride_w) * s.c : s.c;
    if (whole_rows && row_taps && pixels == 1 && s.o <= L)
      tile_channels = balanced(s.c, most_weight_channels(int(s.kw)));
    height = pixels > 1 || tile_channels ? length : balanced(length, 8 * kTileRows<T>);
    width = min_of(W, ceil_div(o, L) * L);
    strips = ceil_div(length, height);
    panels = ceil_div(o, W);
    taps = s.kh * (whole_rows ? 1 : s.kw);
    span = (s.ow - 1) * s.stride_w + (s.kw - 1) * s.dilation_w + 1;
    copies = whole_rows && (s.left > 0 || span - s.left > s.w);
  }
  int64_t parts() const { return s.groups * panels * strips * taps; }
  Part part(int64_t number) const {
    const int64_t tap = number % taps, strip = number / taps % strips, panel = number / taps / strips % panels;
    return {number / taps / strips / panels,
            panel * W,
            strip * height,
            whole_rows ? tap : tap / s.kw,
            whole_rows ? 0 : tap % s.kw,
            min_of(height, length - strip * height),
            min_of(W, o - panel * W)};
  }
  int64_t sum_size() const { return height * width; }
  int64_t part_tiles() const { return tile_channels ? ceil_div(s.c, tile_channels) : ceil_div(height, kTileRows<T>); }
};

// Pixels of one image that pass through all tiles of a task together, and their input rows where these were copied.
template <class T>
struct Chunk {
  int64_t image, row, row_end, column, column_end;
  const T *band, *packed;  // null, or the input between zeros; null, or a panel of dy as whole vectors
  int64_t band_row;        // the first input row in `band`
};

template <class T>
int64_t chunk_rows(const Gradient<T>& g) {
  return balanced(g.blocks.rows, max_of(1, kChunkPixels / g.blocks.columns));
}
template <class T>
int64_t panel_size(const Gradient<T>& g) {
  return chunk_rows(g) * g.blocks.columns * kTileColumns<T>;
}
template <class T>
int64_t band_size(const Gradient<T>& g) {
  return ((chunk_rows(g) - 1) * g.s.stride_h + (g.s.kh - 1) * g.s.dilation_h + 1) * g.span * g.s.c;
}

// The input rows of a chunk between zeros that are already in `band`.
template <class T>
void fill_band(const Gradient<T>& g, Chunk<T>& chunk, T* band) {
  const ConvShape& s = g.s;
  const int64_t from = max_of(0, chunk.row * s.stride_h - s.top);
  const int64_t to = min_of(s.h, (chunk.row_end - 1) * s.stride_h - s.top + (s.kh - 1) * s.dilation_h + 1);
  const int64_t first = max_of(0, -s.left), width = min_of(s.w, g.span - s.left) - first;
  chunk.band = band;
  chunk.band_row = from;
  for (int64_t row = from; row < to && width > 0; row++)
    __builtin_memcpy(band + ((row - from) * g.span + first + s.left) * s.c,
                     g.x + ((chunk.image * s.h + row) * s.w + first) * s.c, size_t(width * s.c) * sizeof(T));
}

// Panels [first, last) of all groups' columns as whole vectors, each chunk_rows * columns * W elements: the pixels are
// read once and in order, as memory likes it.
template <class T>
void pack_panels_of(const Gradient<T>& g, const Chunk<T>& chunk, int64_t first, int64_t last, T* packed) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const int64_t channels = g.s.groups * g.o, size = panel_size(g);
  for (int64_t i = chunk.row, pixel = 0; i < chunk.row_end; i++) {
    const T* dy = g.dy + ((chunk.image * g.s.oh + i) * g.ow + chunk.column) * channels;
    for (int64_t j = chunk.column; j < chunk.column_end; j++, pixel++, dy += channels)
      for (int64_t p = first; p < last; p++) {
        const int64_t at = p % g.panels * W, columns = min_of(W, g.o - at), width = ceil_div(columns, L) * L;
        const T* from = dy + p / g.panels * g.o + at;
        T* to = packed + (p - first) * size + pixel * width;
        for (int64_t v = 0; v < width; v += L) store(to + v, load(from + v, int(min_of(L, columns - v))));
      }
  }
}

// The input and dy of the next chunk, which lie behind those of this one, on their way into the second cache: so many
// lines with each tile (64 to 256 channels, 1x1: half of the time without).
struct Ahead {
  const char *x, *x_end, *dy, *dy_end;
  int64_t lines;
  PYNN_INLINE void fetch() {
    for (int64_t i = 0; i < lines && x < x_end; i++, x += 64) __builtin_prefetch(x, 0, 2);
    for (int64_t i = 0; i < lines && dy < dy_end; i++, dy += 64) __builtin_prefetch(dy, 0, 2);
  }
};

template <class T>
Ahead ahead_of(const Gradient<T>& g, const Chunk<T>& chunk, int64_t parts) {
  const ConvShape& s = g.s;
  const int64_t rows = chunk.row_end - chunk.row, x_row = s.w * s.groups * s.c, dy_row = g.ow * s.groups * g.o;
  const T* x =
      g.x + (chunk.image * s.h + min_of(s.h, chunk.row_end * s.stride_h + (s.kh - 1) * s.dilation_h - s.top)) * x_row;
  const T* dy = g.dy + (chunk.image * s.oh + chunk.row_end) * dy_row;
  Ahead ahead = {reinterpret_cast<const char*>(x), reinterpret_cast<const char*>(x + rows * s.stride_h * x_row),
                 reinterpret_cast<const char*>(dy), reinterpret_cast<const char*>(dy + rows * dy_row), 0};
  const int64_t bytes = max_of(ahead.x_end - ahead.x, ahead.dy_end - ahead.dy);
  ahead.lines = ceil_div(bytes, 64 * parts * g.part_tiles());
  return ahead;
}

// sum (height, width) = the products of a part over a chunk, added to those of the chunks before where `goes_on`.
template <class T>
void sum_chunk(const Gradient<T>& g, const Chunk<T>& chunk, const Part& part, bool goes_on, Ahead& ahead, T* sum) {
  constexpr int64_t L = lanes<T>;
  const ConvShape& s = g.s;
  const int64_t channels = s.groups * s.c, vectors = ceil_div(part.columns, L), step = s.stride_w * g.pixels * channels;
  // The pixels whose tap lies inside.
  const int64_t down = part.tap_h * s.dilation_h - s.top, right = part.tap_w * s.dilation_w - s.left;
  const int64_t row = max_of(chunk.row, ceil_div(-down, s.stride_h));
  const int64_t row_end = min_of(chunk.row_end, s.h > down ? (s.h - down - 1) / s.stride_h + 1 : 0);
  int64_t column = chunk.column, column_end = chunk.column_end;
  if (!g.whole_rows) {
    column = max_of(column, ceil_div(-right, s.stride_w));
    column_end = min_of(column_end, s.w > right ? (s.w - right - 1) / s.stride_w + 1 : 0);
  }
  Runs runs = {0, 0};
  const T *x = g.x, *dy = g.dy;
  const int64_t dy_step = chunk.packed ? vectors * L : s.groups * g.o;
  if (row < row_end && column < column_end) {
    const int64_t k = column_end - column, x_row = row * s.stride_h + down;
    const int64_t pitch = chunk.band ? g.span * s.c : s.w * channels;
    const int64_t dy_pitch = dy_step * (chunk.packed ? chunk.column_end - chunk.column : g.ow);
    runs = {k, row_end - row, s.stride_h * pitch - k * step, dy_pitch - k * dy_step};
    x = chunk.band ? chunk.band + (x_row - chunk.band_row) * pitch
                   : g.x + (chunk.image * s.h + x_row) * pitch + right * channels + part.group * s.c;
    x += column * step + part.first;
    dy = chunk.packed ? chunk.packed + (row - chunk.row) * dy_pitch + (column - chunk.column) * dy_step
                      : g.dy + (chunk.image * s.oh + row) * dy_pitch + column * dy_step + part.group * g.o + part.panel;
  }
  if constexpr (sizeof(T) == 4) {
    if (g.tile_channels) {
      const WeightTerms terms = {
          runs.count, runs.length, s.c, runs.length * s.c + runs.a_next, dy_step, runs.length * dy_step + runs.b_next};
      const WeightTile* const of = s.kw == 3 ? weight_tile_table<3>.of : weight_tile_table<5>.of;
      for (int64_t q = 0; q < s.c; q += g.tile_channels) {
        ahead.fetch();
        of[min_of(g.tile_channels, s.c - q)](terms, x + q, dy, int(part.columns), sum + q * g.width, s.c * g.width,
                                             g.width, goes_on);
      }
      return;
    }
  }
  const int64_t tile = balanced(part.height, kTileRows<T>);
  for (int64_t i = 0; i < part.height; i += tile) {
    ahead.fetch();
    tiles(T{}).by_columns[min_of(tile, part.height - i)][vectors](
        runs, x + i, step, dy, dy_step, sum + i * g.width, g.width, int(chunk.packed ? vectors * L : part.columns),
        output_of(goes_on), nullptr);
  }
}

template <class T>
void store_part(const Gradient<T>& g, const Part& part, const T* sum, T* dw) {
  constexpr int64_t L = lanes<T>;
  const ConvShape& s = g.s;
  const int64_t own = g.whole_rows ? s.kw * s.c : s.c;  // rows of dw that a part belongs to
  dw += (((part.group * s.kh + part.tap_h) * s.kw + part.tap_w) * s.c) * s.o;
  if (g.pixels == 1) {
    for (int64_t i = 0; i < part.height; i++)
      for (int64_t v = 0; v < part.columns; v += L)
        store(dw + (part.first + i) * s.o + part.panel + v, load(sum + i * g.width + v),
              int(min_of(L, part.columns - v)));
    return;
  }
  // What the pixels that share a vector have summed: there is one part for all their rows and channels.
  for (int64_t i = 0; i < own; i++)
    for (int64_t v = 0; v < s.o; v += L) {
      const int n = int(min_of(L, s.o - v));
      Vec<T> total = load(sum + i * g.width + v, n);
      for (int64_t q = 1; q < g.pixels; q++)
        total = total + load(sum + (i + q * s.stride_w * s.c) * g.width + q * s.o + v, n);
      store(dw + i * s.o + v, total, n);
    }
}

// Scratch memory of a task.
template <class T>
struct Buffers {
  T *stack, *packed = nullptr, *band = nullptr;
  bool complete;
  int64_t first_panel, last_panel;  // of all groups
  Buffers(const Gradient<T>& g, int64_t first, int64_t last, int64_t stack_size) {
    first_panel = first / (g.taps * g.strips);
    last_panel = (last - 1) / (g.taps * g.strips) + 1;
    // Where a pixel of dy holds more than a panel, or a vector could not be masked, panels are packed.
    const bool packs = g.s.groups * g.o > kTileColumns<T> || (!kReadsRaggedRows && g.o % lanes<T> != 0);
    stack = scratch_of<T>(Scratch::partial, stack_size);
    if (packs) packed = scratch_of<T>(Scratch::pack_b, (last_panel - first_panel) * panel_size(g));
    if (g.copies) band = scratch_of<T>(Scratch::row, band_size(g));
    complete = stack && (packed || !packs) && (band || !g.copies);
    if (!complete) return;
    if (!packs && g.o % lanes<T> != 0)
      __builtin_memset(stack, 0, size_t(stack_size) * sizeof(T));  // lanes beyond the columns are added too
    if (band) __builtin_memset(band, 0, size_t(band_size(g)) * sizeof(T));
  }
};

// sums (last - first, height, width) of the parts over one block.
template <class T>
void sum_block(const Gradient<T>& g, int64_t number, int64_t first, int64_t last, const Buffers<T>& buffers, T* sums) {
  const WeightBlocks& b = g.blocks;
  const int64_t column = number % b.columns_count * b.columns, row = number / b.columns_count % b.rows_count * b.rows;
  const int64_t begin = number / b.columns_count / b.rows_count * b.images, end = min_of(g.s.n, begin + b.images);
  const int64_t row_end = min_of(g.s.oh, row + b.rows), rows = chunk_rows(g);
  for (int64_t image = begin; image < end; image++)
    for (int64_t i = row; i < row_end; i += rows) {
      Chunk<T> chunk = {image,
                        i,
                        min_of(row_end, i + rows),
                        column / g.pixels,
                        min_of(g.s.ow, column + b.columns) / g.pixels,
                        nullptr,
                        nullptr,
                        0};
      if (buffers.band) fill_band(g, chunk, buffers.band);
      if (buffers.packed) pack_panels_of(g, chunk, buffers.first_panel, buffers.last_panel, buffers.packed);
      Ahead ahead = ahead_of(g, chunk, last - first);
      for (int64_t p = first; p < last; p++) {
        if (buffers.packed)
          chunk.packed = buffers.packed + (p / (g.taps * g.strips) - buffers.first_panel) * panel_size(g);
        sum_chunk(g, chunk, g.part(p), image > begin || i > row, ahead, sums + (p - first) * g.sum_size());
      }
    }
}

// The sums (last - first, height, width) of parts over the blocks [begin, end), in scratch memory; null when that is
// out.
template <class T>
T* sum_parts(const Gradient<T>& g, int64_t first, int64_t last, int64_t begin, int64_t end) {
  const int64_t size = (last - first) * g.sum_size();
  const Buffers<T> buffers(g, first, last, tree_levels(end - begin) * size);
  if (!buffers.complete) return nullptr;
  if (begin == end) __builtin_memset(buffers.stack, 0, size_t(size) * sizeof(T));
  sum_tree(begin, end, size, buffers.stack,
           [&](int64_t number, T* sums) { sum_block(g, number, first, last, buffers, sums); });
  return buffers.stack;
}

}  // namespace

template <class T>
Status weight_gradient(const Conv2dWeight& p) {
  if (!p.strict && weight_winograd_pays(p.shape)) return weight_gradient_winograd(p);
  if (weight_planes_pay(p.shape)) return weight_gradient_planes(p);
  if (weight_packed_pays(p.shape)) return weight_gradient_packed<T>(p);
  const Gradient<T> g(p);
  T* const dw = static_cast<T*>(p.dw);
  const double cost = conv_cost<T>(p.shape);
  const int64_t threads = plan_threads(cost), parts = g.parts(), size = parts * g.sum_size();
  const auto store_parts = [&](int64_t first, int64_t last, const T* sums) {
    for (int64_t i = first; i < last; i++) store_part(g, g.part(i), sums + (i - first) * g.sum_size(), dw);
  };
  if (threads > 1 && parts <= 4 * threads && g.blocks.count >= 4 * threads && size <= kSharedSums) {
    // Few parts go unevenly into the threads, and all of them would read all pixels.
    const T* const sums = parallel_sum_tree<T>(
        g.blocks.count, size, cost, [&](int64_t begin, int64_t end) { return sum_parts(g, 0, parts, begin, end); });
    if (!sums) return Status::out_of_memory;
    store_parts(0, parts, sums);
    return Status::ok;
  }
  const int64_t most = max_of(1, kSumBytes / (g.sum_size() * int64_t(sizeof(T))));
  // The pieces, up to four a thread, that leave a thread the fewest parts.
  int64_t each = most;
  for (int64_t tasks = threads, least = INT64_MAX; threads > 1 && tasks <= 4 * threads; tasks++) {
    const int64_t parts_each = min_of(most, ceil_div(parts, tasks));
    const int64_t busiest = ceil_div(ceil_div(parts, parts_each), threads) * parts_each;
    if (busiest < least) least = busiest, each = parts_each;
  }
  int failed = 0;
  parallel_tasks(ceil_div(parts, each), cost, [&](int64_t task) {
    const int64_t first = task * each, last = min_of(parts, first + each);
    const T* const sums = sum_parts(g, first, last, 0, g.blocks.count);
    sums ? store_parts(first, last, sums) : __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  return failed ? Status::out_of_memory : Status::ok;
}
template Status weight_gradient<float>(const Conv2dWeight&);
template Status weight_gradient<double>(const Conv2dWeight&);

}  // namespace pynn::PYNN_ISA
