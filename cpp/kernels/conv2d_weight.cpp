// The gradient of the weight: a tile holds rows (tap, input channel) x output channels and sums over pixels, read where
// they lie. Blocks of pixels pass one after the other, each through all tiles of a task while it is in the cache.
#include "kernels/conv2d_paths.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t kBlockTerms = 512;
constexpr int64_t kSumBytes = 128 * 1024;  // of the sums of a task, in L2 beside a block of x and dy

// Pixels of dy that are summed in one chain: whole images, rows of one, or a piece of a row.
struct Blocks {
  int64_t images, rows, columns, rows_count, columns_count, count;
  explicit Blocks(const ConvShape& s) {
    columns = balanced(s.ow, kBlockTerms);
    columns_count = ceil_div(s.ow, columns);
    rows = columns_count > 1 ? 1 : balanced(s.oh, max_of(1, kBlockTerms / s.ow));
    rows_count = ceil_div(s.oh, rows);
    images = rows_count * columns_count > 1 ? 1 : max_of(1, kBlockTerms / (s.oh * s.ow));
    count = ceil_div(s.n, images) * rows_count * columns_count;
  }
};

// The sums of one tile column: `height` rows (of a tap's channels, or of a row of taps with theirs) from `first` on.
struct Part {
  int64_t group, panel, first, tap_h, tap_w, height, columns;
};

template <class T>
struct Gradient {
  static constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const ConvShape& s;
  const Blocks blocks;
  const T *x, *dy;
  // With few input channels a row of taps is one part, and the input is copied between zeros where it has a border.
  bool whole_rows, copies;
  // Neighbours that act as one pixel with several times the channels, as in the forward pass: the vectors are fuller,
  // and the parts of the sum that belong to no pixel are dropped. The same for every instruction set.
  int64_t pixels = 1;
  int64_t length, height, width, strips, panels, taps, o, ow;
  int64_t span;

  explicit Gradient(const Conv2dWeight& p)
      : s(p.shape), blocks(s), x(static_cast<const T*>(p.x)), dy(static_cast<const T*>(p.dy)) {
    whole_rows = s.groups == 1 && s.dilation_w == 1 && s.c < 16;
    if (whole_rows && sizeof(T) == 4) {
      pixels = min_of(shared_pixels(s.o, s.kw, s.stride_w, s.ow, 16), max_of(1, 16 / s.o));
      while (blocks.columns_count > 1 ? pixels > 1 : s.ow % pixels != 0) pixels--;
    }
    o = pixels * s.o;
    ow = s.ow / pixels;
    length = whole_rows ? (s.kw + (pixels - 1) * s.stride_w) * s.c : s.c;
    height = pixels > 1 ? length : balanced(length, 8 * kTileRows);
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
};

// One block: where its pixels are, and its input rows where they had to be copied.
template <class T>
struct Block {
  int64_t image, image_end, row, row_end, column, column_end;
  const T* band;
  int64_t band_row, band_image;  // the first input row in `band`; elements between images
  Block(const Gradient<T>& g, int64_t number) {
    const Blocks& b = g.blocks;
    const int64_t pixels_of = g.pixels;
    column = number % b.columns_count * b.columns / pixels_of;
    column_end = min_of(g.ow, column + b.columns / pixels_of);
    row = number / b.columns_count % b.rows_count * b.rows;
    row_end = min_of(g.s.oh, row + b.rows);
    image = number / b.columns_count / b.rows_count * b.images;
    image_end = min_of(g.s.n, image + b.images);
    band = nullptr;
    band_row = band_image = 0;
  }
};

template <class T>
int64_t band_rows(const Gradient<T>& g) {
  return (g.blocks.rows - 1) * g.s.stride_h + (g.s.kh - 1) * g.s.dilation_h + 1;
}

// The input rows of a block between zeros that are already in `band`.
template <class T>
void fill_band(const Gradient<T>& g, Block<T>& block, T* band) {
  const ConvShape& s = g.s;
  const int64_t from = max_of(0, block.row * s.stride_h - s.top);
  const int64_t to = min_of(s.h, (block.row_end - 1) * s.stride_h - s.top + (s.kh - 1) * s.dilation_h + 1);
  const int64_t first = max_of(0, -s.left), width = min_of(s.w, g.span - s.left) - first;
  block.band = band;
  block.band_row = from;
  block.band_image = band_rows(g) * g.span * s.c;
  for (int64_t image = block.image; image < block.image_end && width > 0; image++, band += block.band_image)
    for (int64_t row = from; row < to; row++)
      __builtin_memcpy(band + ((row - from) * g.span + first + s.left) * s.c,
                       g.x + ((image * s.h + row) * s.w + first) * s.c, size_t(width * s.c) * sizeof(T));
}

// The columns of a panel as whole vectors, for instruction sets without masked loads.
template <class T>
void pack_ragged(const Gradient<T>& g, const Block<T>& block, const Part& part, T* out) {
  constexpr int64_t L = lanes<T>;
  const int64_t channels = g.s.groups * g.o, vectors = ceil_div(part.columns, L);
  for (int64_t row = block.image * g.s.oh + block.row,
               end = row + (block.image_end - block.image - 1) * g.s.oh + block.row_end - block.row;
       row < end; row++)
    for (int64_t j = block.column; j < block.column_end; j++, out += vectors * L) {
      const T* dy = g.dy + (row * g.ow + j) * channels + part.group * g.o + part.panel;
      for (int64_t v = 0; v < part.columns; v += L) store(out + v, load(dy + v, int(min_of(L, part.columns - v))));
    }
}

// sum (height, width) = the products of a part over a block.
template <class T>
void sum_block(const Gradient<T>& g, const Block<T>& block, const Part& part, const T* ragged, T* sum) {
  constexpr int64_t L = lanes<T>;
  const ConvShape& s = g.s;
  const int64_t stride = s.stride_w * g.pixels, channels = s.groups * s.c, vectors = ceil_div(part.columns, L);
  // The pixels whose tap lies inside.
  const int64_t down = part.tap_h * s.dilation_h - s.top, right = part.tap_w * s.dilation_w - s.left;
  const int64_t row = max_of(block.row, ceil_div(-down, s.stride_h));
  const int64_t row_end = min_of(block.row_end, s.h > down ? (s.h - down - 1) / s.stride_h + 1 : 0);
  int64_t column = block.column, column_end = block.column_end;
  if (!g.whole_rows) {
    column = max_of(column, ceil_div(-right, stride));
    column_end = min_of(column_end, s.w > right ? (s.w - right - 1) / stride + 1 : 0);
  }
  const bool none = row >= row_end || column >= column_end;
  const int64_t k = none ? 0 : column_end - column, step = stride * channels;
  const int64_t b_step = ragged ? vectors * L : s.groups * g.o,
                b_row = ragged ? (block.column_end - block.column) * b_step : g.ow * b_step;
  const int64_t pitch = block.band ? g.span * s.c : s.w * channels;
  const Runs runs = {k, none ? 0 : row_end - row, s.stride_h * pitch - k * step, b_row - k * b_step};
  const int64_t tile = balanced(part.height, kTileRows);
  for (int64_t image = block.image; image < block.image_end; image++) {
    const T *x = nullptr, *dy = nullptr;
    if (!none) {
      const int64_t at = row * s.stride_h + down;
      x = block.band
              ? block.band + (image - block.image) * block.band_image + (at - block.band_row) * pitch + column * step
              : g.x + (image * s.h + at) * pitch + column * step + right * channels + part.group * s.c;
      x += part.first;
      dy = ragged ? ragged + ((image - block.image) * s.oh + row - block.row) * b_row + (column - block.column) * b_step
                  : g.dy + ((image * s.oh + row) * g.ow + column) * b_step + part.group * g.o + part.panel;
    }
    for (int64_t i = 0; i < part.height; i += tile)
      tiles(T{}).by_columns[min_of(tile, part.height - i)][vectors](runs, x + i, step, dy, b_step, sum + i * g.width,
                                                                    g.width, int(part.columns), image > block.image);
  }
}

template <class T>
PYNN_INLINE void add_to(T* a, const T* b, int64_t n) {  // n is a multiple of the lanes
  for (int64_t i = 0; i < n; i += lanes<T>) store(a + i, load(a + i) + load(b + i));
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

// The sums of a power of two of blocks wait on a stack until a partner of their size comes.
template <class T>
bool sum_parts(const Gradient<T>& g, int64_t first, int64_t last, T* dw) {
  const int64_t size = g.sum_size(), all = (last - first) * size;
  int64_t levels = 2;
  while (g.blocks.count >> (levels - 1)) levels++;
  T* stack = scratch_of<T>(Scratch::partial, levels * all);
  const bool packs = !kReadsRaggedRows && g.o % lanes<T> != 0;
  T* ragged = packs ? scratch_of<T>(Scratch::pack_b, kBlockTerms * kTileColumns<T>) : nullptr;
  const int64_t band_size = g.copies ? g.blocks.images * band_rows(g) * g.span * g.s.c : 0;
  T* band = g.copies ? scratch_of<T>(Scratch::row, band_size) : nullptr;
  if (!stack || (packs && !ragged) || (g.copies && !band)) return false;
  if (g.o % lanes<T> != 0) __builtin_memset(stack, 0, size_t(levels * all) * sizeof(T));  // unused lanes are added too
  if (band) __builtin_memset(band, 0, size_t(band_size) * sizeof(T));
  int64_t top = 0;
  for (int64_t number = 0; number < g.blocks.count; number++) {
    Block<T> block(g, number);
    if (band) fill_band(g, block, band);
    for (int64_t i = first; i < last; i++) {
      const Part part = g.part(i);
      const bool packed = packs && part.columns % lanes<T> != 0;
      if (packed && (i == first || i % (g.taps * g.strips) == 0)) pack_ragged(g, block, part, ragged);
      sum_block(g, block, part, packed ? ragged : nullptr, stack + top * all + (i - first) * size);
    }
    top++;
    for (int64_t done = number + 1; done % 2 == 0; done /= 2, top--)
      add_to(stack + (top - 2) * all, stack + (top - 1) * all, all);
  }
  for (; top > 1; top--) add_to(stack + (top - 2) * all, stack + (top - 1) * all, all);
  if (!g.blocks.count) __builtin_memset(stack, 0, size_t(all) * sizeof(T));
  for (int64_t i = first; i < last; i++) store_part(g, g.part(i), stack + (i - first) * size, dw);
  return true;
}

}  // namespace

template <class T>
Status weight_gradient(const Conv2dWeight& p) {
  const Gradient<T> g(p);
  const double cost = conv_cost<T>(p.shape);
  const int64_t threads = plan_threads(cost), parts = g.parts();
  const int64_t most = max_of(1, kSumBytes / (g.sum_size() * int64_t(sizeof(T))));
  const int64_t each = threads == 1 ? most : min_of(most, ceil_div(parts, 2 * threads));
  int failed = 0;
  parallel_tasks(ceil_div(parts, each), cost, [&](int64_t task) {
    if (!sum_parts(g, task * each, min_of(parts, (task + 1) * each), static_cast<T*>(p.dw)))
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  return failed ? Status::out_of_memory : Status::ok;
}
template Status weight_gradient<float>(const Conv2dWeight&);
template Status weight_gradient<double>(const Conv2dWeight&);

}  // namespace pynn::PYNN_ISA
