// The gradient of the weight where there are many channels, stride 1. Of a block of pixels, dy is packed in panels (in
// L2) and x in strips as high as a tile (in L1), which serve all taps and panels. A sum stays in registers from the
// first pixel of its block to the last, and is added to the tree on its way to memory.
#include "kernels/conv2d_paths.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t kStripBytes = 384 * 1024;  // of the strips that are packed together, in L2
constexpr int64_t kPanelBytes = 512 * 1024;  // of the panels of a task, in L2
constexpr int64_t kSumBytes = 1024 * 1024;   // of the sums of a task
constexpr int64_t kAheadBytes = 16 * 1024;   // between what is packed and what is on its way into the second cache

template <class T>
struct Wide {
  static constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const ConvShape& s;
  const WeightBlocks blocks;
  const T *x, *dy;
  T* dw;
  int64_t channels, outputs, taps, height, strips, panels;
  bool packs;  // dy, where a pixel of it holds more than a panel or a vector could not be masked

  explicit Wide(const Conv2dWeight& p)
      : s(p.shape),
        blocks(s),
        x(static_cast<const T*>(p.x)),
        dy(static_cast<const T*>(p.dy)),
        dw(static_cast<T*>(p.dw)) {
    channels = s.groups * s.c;
    outputs = s.groups * s.o;
    taps = s.kh * s.kw;
    height = balanced(s.c, kTileRows<T>);
    strips = ceil_div(s.c, height);
    panels = ceil_div(s.o, W);
    packs = outputs > W || (!kReadsRaggedRows && s.o % L != 0);
  }
  int64_t strip_size() const {
    const int64_t rows = min_of(s.h, blocks.rows + (s.kh - 1) * s.dilation_h);
    return blocks.images * rows * s.w * height + L;  // the last vector reaches beyond
  }
  int64_t panel_size() const { return blocks.images * blocks.rows * s.ow * W; }
  int64_t sum_size() const { return height * W; }  // of a tile
  int64_t ahead(int64_t pixel) const { return max_of(1, kAheadBytes / int64_t(sizeof(T)) / pixel) * pixel; }
};

// The work of a task: strips [strip, strip_end) and panels [panel, panel_end) of a group, all taps.
struct Piece {
  int64_t group, strip, strip_end, panel, panel_end;
};

// A block: rows [row, row_end) of images [image, image_end), and the rows [from, to) of x that they read.
struct Block {
  int64_t image, image_end, row, row_end, from, to;
  template <class T>
  Block(const Wide<T>& g, int64_t number) {
    const ConvShape& s = g.s;
    image = number / g.blocks.rows_count * g.blocks.images;
    image_end = min_of(s.n, image + g.blocks.images);
    row = number % g.blocks.rows_count * g.blocks.rows;
    row_end = min_of(s.oh, row + g.blocks.rows);
    from = min_of(s.h, max_of(0, row - s.top));
    to = max_of(from, min_of(s.h, row_end - s.top + (s.kh - 1) * s.dilation_h));
  }
  int64_t first_pixel(const ConvShape& s) const { return (image * s.oh + row) * s.ow; }
  int64_t x_pixels(const ConvShape& s) const { return (to - from) * s.w; }  // of an image
  int64_t dy_pixels(const ConvShape& s) const { return (row_end - row) * s.ow; }
};

// Strips [first, last) of a group: out[strip][i * height + j] = channel j of pixel i. The pixels are read once and in
// order, as memory likes it, and a whole vector wherever a pixel has as many channels left.
template <class T>
void pack_strips(const Wide<T>& g, const Block& block, int64_t group, int64_t first, int64_t last, T* out) {
  constexpr int64_t L = lanes<T>;
  const int64_t pixels = block.x_pixels(g.s), size = g.strip_size(), ahead = g.ahead(g.channels);
  for (int64_t image = block.image; image < block.image_end; image++) {
    const T* x = g.x + (image * g.s.h + block.from) * g.s.w * g.channels;
    for (int64_t i = 0; i < pixels; i++, x += g.channels, out += g.height)
      for (int64_t r = first; r < last; r++) {
        const int64_t channel = group * g.s.c + r * g.height, left = g.channels - channel;
        T* to = out + (r - first) * size;
        __builtin_prefetch(x + ahead + channel, 0, 2);
        for (int64_t v = 0; v < min_of(left, g.height); v += L)
          store(to + v, load(x + channel + v, int(min_of(L, left - v))));
      }
  }
}

// The panels of a piece as whole vectors.
template <class T>
void pack_panels_of(const Wide<T>& g, const Block& block, const Piece& piece, T* packed) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const int64_t pixels = block.dy_pixels(g.s) * (block.image_end - block.image), ahead = g.ahead(g.outputs);
  const T* dy = g.dy + block.first_pixel(g.s) * g.outputs + piece.group * g.s.o;
  for (int64_t i = 0; i < pixels; i++, dy += g.outputs)
    for (int64_t p = piece.panel; p < piece.panel_end; p++) {
      const int64_t columns = min_of(W, g.s.o - p * W), width = ceil_div(columns, L) * L;
      T* to = packed + (p - piece.panel) * g.panel_size() + i * width;
      for (int64_t v = 0; v < width; v += L) {
        __builtin_prefetch(dy + ahead + p * W + v, 0, 2);
        store(to + v, load(dy + p * W + v, int(min_of(L, columns - v))));
      }
    }
}

// The pixels of a block whose tap lies inside, as terms of a tile. Steps are in pixels.
struct Window {
  Runs runs = {0, 0};
  int64_t images, x = 0, dy = 0;  // the first pixel in a strip, in a panel
  template <class T>
  Window(const Wide<T>& g, const Block& block, int64_t tap) : images(block.image_end - block.image) {
    const ConvShape& s = g.s;
    const int64_t down = tap / s.kw * s.dilation_h - s.top, right = tap % s.kw * s.dilation_w - s.left;
    const int64_t row = max_of(block.row, -down), row_end = min_of(block.row_end, s.h - down);
    const int64_t column = max_of(0, -right), columns = min_of(s.ow, s.w - right) - column;
    if (row >= row_end || columns <= 0) return;
    runs = {columns, row_end - row, s.w - columns, s.ow - columns};
    x = (row + down - block.from) * s.w + column + right;
    dy = (row - block.row) * s.ow + column;
    // Without a border all rows are one, and all images.
    if (runs.a_next || runs.b_next) return;
    runs = {columns * runs.count};
    if (runs.length != block.x_pixels(s) || runs.length != block.dy_pixels(s)) return;
    runs.length *= images;
    images = 1;
  }
};

// Where the sums of a block go: those in the slots from `top - 1` down to `to` are added to them, as in sum_tree.
struct Level {
  int64_t top = 0, to;
  bool last;
  Level(int64_t number, int64_t count) : last(number + 1 == count) {
    for (int64_t n = number; n; n /= 2) top += n % 2;
    to = top;
    for (int64_t n = number; n % 2; n /= 2) to--;
    if (last) to = 0;
  }
};

// Adds the sums of a tile to the tree, whose slots lie `step` apart; the last block's go to dw.
template <class T>
void add_tile(const Wide<T>& g, const Level& level, int64_t rows, int64_t columns, const T* sums, T* slots,
              int64_t step, T* dw) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t v = 0; v < columns; v += L) {
      Vec<T> sum = load(sums + i * W + v);
      for (int64_t slot = level.top - 1; slot >= level.to; slot--) sum = load(slots + slot * step + i * W + v) + sum;
      if (level.last)
        store(dw + i * g.s.o + v, sum, int(min_of(L, columns - v)));
      else
        store(slots + level.to * step + i * W + v, sum);
    }
}

template <class T>
bool sum_piece(const Wide<T>& g, const Piece& piece) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const ConvShape& s = g.s;
  const int64_t strips = piece.strip_end - piece.strip, panels = piece.panel_end - piece.panel;
  const int64_t together = min_of(strips, max_of(1, kStripBytes / (g.strip_size() * int64_t(sizeof(T)))));
  const int64_t step = strips * g.taps * panels * g.sum_size();
  T* const slots = scratch_of<T>(Scratch::partial, tree_levels(g.blocks.count) * step);
  T* const packed_x = scratch_of<T>(Scratch::pack_a, together * g.strip_size());
  T* const packed_dy = g.packs ? scratch_of<T>(Scratch::pack_b, panels * g.panel_size()) : nullptr;
  if (!slots || !packed_x || (g.packs && !packed_dy)) return false;
  alignas(64) T sums[kTileRows<T> * W] = {};  // lanes beyond the columns stay zero
  for (int64_t number = 0; number < g.blocks.count; number++) {
    const Block block(g, number);
    const Level level(number, g.blocks.count);
    if (packed_dy) pack_panels_of(g, block, piece, packed_dy);
    T* slot = slots;
    for (int64_t r = 0; r < strips; r++) {
      const int64_t channel = (piece.strip + r) * g.height, rows = min_of(g.height, s.c - channel);
      if (r % together == 0)
        pack_strips(g, block, piece.group, piece.strip + r, piece.strip + min_of(strips, r + together), packed_x);
      const T* const strip = packed_x + r % together * g.strip_size();
      for (int64_t tap = 0; tap < g.taps; tap++) {
        const Window window(g, block, tap);
        for (int64_t p = 0; p < panels; p++, slot += g.sum_size()) {
          const int64_t column = (piece.panel + p) * W, columns = min_of(W, s.o - column);
          const int64_t vectors = ceil_div(columns, L), dy_step = packed_dy ? vectors * L : g.outputs;
          const T* const dy = packed_dy ? packed_dy + p * g.panel_size()
                                        : g.dy + block.first_pixel(s) * g.outputs + piece.group * s.o + column;
          Runs runs = window.runs;
          runs.a_next *= g.height;
          runs.b_next *= dy_step;
          for (int64_t i = 0; i < window.images; i++)
            tiles(T{}).by_columns[rows][vectors](runs, strip + (i * block.x_pixels(s) + window.x) * g.height, g.height,
                                                 dy + (i * block.dy_pixels(s) + window.dy) * dy_step, dy_step, sums, W,
                                                 int(packed_dy ? vectors * L : columns), output_of(i > 0), nullptr);
          add_tile(g, level, rows, columns, sums, slot, step,
                   g.dw + ((piece.group * g.taps + tap) * s.c + channel) * s.o + column);
        }
      }
    }
  }
  return true;
}

// Strips and panels of a task: of the cuts that fit the caches, the one that leaves a thread the least work.
struct Cut {
  int64_t strips, panels;
  template <class T>
  Cut(const Wide<T>& g, int64_t threads) {
    const int64_t bytes = int64_t(sizeof(T)), pixels = g.panel_size() / g.W;
    const int64_t widest = max_of(1, kPanelBytes / (g.panel_size() * bytes)), first = ceil_div(g.panels, widest);
    double least = 0;
    for (int64_t across = first; across <= min_of(g.panels, first + threads); across++) {
      const int64_t width = ceil_div(g.panels, across);
      const int64_t highest = max_of(1, kSumBytes / (width * g.taps * g.sum_size() * bytes));
      const int64_t fewest = ceil_div(g.strips, highest);
      for (int64_t down = fewest; down <= min_of(g.strips, fewest + 2 * threads); down++) {
        const int64_t height = ceil_div(g.strips, down);
        const int64_t tasks = g.s.groups * ceil_div(g.strips, height) * ceil_div(g.panels, width);
        // Cycles a pixel: of the tiles, and of what is packed.
        const double cycles = 14 * double(height * width * g.taps) + 10 * double(height + width);
        const double work = double(ceil_div(tasks, threads)) * cycles * double(pixels);
        if (least > 0 && work >= least) continue;
        least = work;
        strips = height;
        panels = width;
      }
    }
  }
};

}  // namespace

// Measured against the other way (AVX-512): 96 channels 1.05, 256 1.1, 1024 1.2 times as fast; 3 x 3 with 64 channels
// 0.95, few taps and panels to share a strip 0.9, a stride that skips what is packed 0.8.
bool weight_packed_pays(const ConvShape& s) {
  return s.stride_h == 1 && s.stride_w == 1 && s.c >= (pointwise(s) ? 64 : 96) &&
         s.kh * s.kw * ceil_div(s.o, 32) >= 4 && s.n > 0 && WeightBlocks(s).columns_count == 1;
}

template <class T>
Status weight_gradient_packed(const Conv2dWeight& p) {
  const Wide<T> g(p);
  const double cost = conv_cost<T>(p.shape);
  const Cut cut(g, plan_threads(cost));
  const int64_t across = ceil_div(g.panels, cut.panels), down = ceil_div(g.strips, cut.strips);
  int failed = 0;
  parallel_tasks(g.s.groups * down * across, cost, [&](int64_t task) {
    const int64_t panel = task % across * cut.panels, strip = task / across % down * cut.strips;
    if (!sum_piece(g, {task / across / down, strip, min_of(g.strips, strip + cut.strips), panel,
                       min_of(g.panels, panel + cut.panels)}))
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  return failed ? Status::out_of_memory : Status::ok;
}
template Status weight_gradient_packed<float>(const Conv2dWeight&);
template Status weight_gradient_packed<double>(const Conv2dWeight&);

}  // namespace pynn::PYNN_ISA
