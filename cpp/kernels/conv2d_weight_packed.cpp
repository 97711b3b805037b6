// The gradient of the weight where there are many channels. Of a block of pixels, dy is packed in panels (in L2) and x
// in strips as high as a tile (in L1), which serve all taps and panels. A sum stays in registers from the first pixel
// of its block to the last, and is added to the tree on its way to memory.
#include "kernels/conv2d_paths.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t kStripBytes = 96 * 1024;   // of a strip of x at most: 28 KB for 512 pixels without a border
constexpr int64_t kPanelBytes = 512 * 1024;  // of the panels of a task, in L2
constexpr int64_t kSumBytes = 1024 * 1024;   // of the sums of a task

template <class T>
struct Wide {
  static constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const ConvShape& s;
  const WeightBlocks blocks;
  const T *x, *dy;
  T* dw;
  int64_t channels, outputs, taps, height, strips, panels, pixels;  // of a block at most
  bool packs;

  explicit Wide(const Conv2dWeight& p)
      : s(p.shape),
        blocks(s),
        x(static_cast<const T*>(p.x)),
        dy(static_cast<const T*>(p.dy)),
        dw(static_cast<T*>(p.dw)) {
    channels = s.groups * s.c;
    outputs = s.groups * s.o;
    taps = s.kh * s.kw;
    height = balanced(s.c, kTileRows);
    strips = ceil_div(s.c, height);
    panels = ceil_div(s.o, W);
    pixels = blocks.images * blocks.rows * s.ow;
    packs = outputs > W || (!kReadsRaggedRows && s.o % L != 0);
  }
  int64_t strip_size() const {
    return blocks.images * min_of(s.h, (blocks.rows - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1) * s.w * height;
  }
  int64_t panel_size() const { return pixels * W; }
  int64_t sum_size() const { return height * W; }  // of a tile
};

// The strips [strip, strip_end) and panels [panel, panel_end) of a group.
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
    from = max_of(0, row * s.stride_h - s.top);
    to = max_of(from, min_of(s.h, (row_end - 1) * s.stride_h - s.top + (s.kh - 1) * s.dilation_h + 1));
  }
};

// What is needed next, on its way into the second cache: some lines with each tile.
struct Ahead {
  const char *x, *dy, *dy_end;
  int64_t x_step, x_left, x_each, dy_each;
  PYNN_INLINE void fetch() {
    for (int64_t i = 0; i < x_each && x_left > 0; i++, x_left--, x += x_step) {
      __builtin_prefetch(x, 0, 2);
      __builtin_prefetch(x + 55, 0, 2);
    }
    for (int64_t i = 0; i < dy_each && dy < dy_end; i++, dy += 64) __builtin_prefetch(dy, 0, 2);
  }
};

// out[i * height + j] = channel j of pixel i. A whole vector is read wherever the pixel has as many channels.
template <class T>
void pack_strip(const Wide<T>& g, const Block& block, int64_t channel, int64_t height, T* out) {
  constexpr int64_t L = lanes<T>;
  const int64_t pixels = (block.to - block.from) * g.s.w, there = g.channels - channel;
  for (int64_t image = block.image; image < block.image_end; image++) {
    const T* x = g.x + (image * g.s.h + block.from) * g.s.w * g.channels + channel;
    for (int64_t i = 0; i < pixels; i++, x += g.channels, out += height)
      for (int64_t j = 0; j < height; j += L) store(out + j, load(x + j, int(min_of(L, there - j))));
  }
}

// The panels of a piece as whole vectors: the pixels are read once and in order, as memory likes it.
template <class T>
void pack_panels_of(const Wide<T>& g, const Block& block, const Piece& piece, T* packed) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const int64_t count = (block.image_end - block.image) * (block.row_end - block.row) * g.s.ow;
  const T* dy = g.dy + (block.image * g.s.oh + block.row) * g.s.ow * g.outputs + piece.group * g.s.o;
  for (int64_t i = 0; i < count; i++, dy += g.outputs)
    for (int64_t p = piece.panel; p < piece.panel_end; p++) {
      const int64_t columns = min_of(W, g.s.o - p * W), width = ceil_div(columns, L) * L;
      T* to = packed + (p - piece.panel) * g.panel_size() + i * width;
      for (int64_t v = 0; v < width; v += L) store(to + v, load(dy + p * W + v, int(min_of(L, columns - v))));
    }
}

// The pixels of a block whose tap lies inside, as terms of a tile, and where the first of them is.
struct Window {
  Runs runs;
  int64_t x, dy;  // pixels of the strip and of the block
  template <class T>
  Window(const Wide<T>& g, const Block& block, int64_t tap) : runs{0, 0}, x(0), dy(0) {
    const ConvShape& s = g.s;
    const int64_t down = tap / s.kw * s.dilation_h - s.top, right = tap % s.kw * s.dilation_w - s.left;
    const int64_t row = max_of(block.row, ceil_div(-down, s.stride_h));
    const int64_t row_end = min_of(block.row_end, s.h > down ? (s.h - down - 1) / s.stride_h + 1 : 0);
    const int64_t column = max_of(0, ceil_div(-right, s.stride_w));
    const int64_t column_end = min_of(s.ow, s.w > right ? (s.w - right - 1) / s.stride_w + 1 : 0);
    if (row >= row_end || column >= column_end) return;
    const int64_t k = column_end - column;
    runs = {k, row_end - row, s.stride_h * s.w - k * s.stride_w, s.ow - k};
    x = (row * s.stride_h + down - block.from) * s.w + column * s.stride_w + right;
    dy = (row - block.row) * s.ow + column;
    if (runs.a_next == 0 && runs.b_next == 0) runs = {k * runs.count};
  }
};

// What becomes of the sums of a block: they are added to those of `merges` slots from `top - 1` down, see sum_tree.
struct Level {
  int64_t top, merges;
  bool last;
  Level(int64_t number, int64_t count) : top(0), merges(0), last(number + 1 == count) {
    for (int64_t n = number; n; n /= 2) top += n % 2;
    for (int64_t n = number; n % 2; n /= 2) merges++;
    if (last) merges = top;
  }
};

template <class T>
bool sum_piece(const Wide<T>& g, const Piece& piece) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const ConvShape& s = g.s;
  const int64_t panels = piece.panel_end - piece.panel, calls = panels * g.taps;
  const int64_t slot = (piece.strip_end - piece.strip) * calls * g.sum_size();
  T* const slots = scratch_of<T>(Scratch::partial, tree_levels(g.blocks.count) * slot);
  T* const strip = scratch_of<T>(Scratch::pack_a, g.strip_size());
  T* const packed = g.packs ? scratch_of<T>(Scratch::pack_b, panels * g.panel_size()) : nullptr;
  if (!slots || !strip || (g.packs && !packed)) return false;
  alignas(64) T sums[kTileRows * W] = {};
  for (int64_t number = 0; number < g.blocks.count; number++) {
    const Block block(g, number), next(g, min_of(number + 1, g.blocks.count - 1));
    const Level level(number, g.blocks.count);
    const int64_t images = block.image_end - block.image;
    const int64_t x_image = (block.to - block.from) * s.w, dy_image = (block.row_end - block.row) * s.ow;
    if (packed) pack_panels_of(g, block, piece, packed);
    Ahead ahead = {};
    {
      const int64_t count = (next.image_end - next.image) * (next.row_end - next.row) * s.ow;
      const T* dy = g.dy + (next.image * s.oh + next.row) * s.ow * g.outputs;
      ahead.dy = reinterpret_cast<const char*>(dy);
      ahead.dy_end = reinterpret_cast<const char*>(dy + count * g.outputs);
      ahead.dy_each = ceil_div(ahead.dy_end - ahead.dy, 64 * calls * (piece.strip_end - piece.strip));
    }
    T* at = slots;
    for (int64_t r = piece.strip; r < piece.strip_end; r++) {
      const int64_t channel = r * g.height, rows = min_of(g.height, s.c - channel);
      pack_strip(g, block, piece.group * s.c + channel, rows, strip);
      {
        const bool more = r + 1 < piece.strip_end;
        const Block& of = more ? block : next;
        ahead.x = reinterpret_cast<const char*>(g.x + (of.image * s.h + of.from) * s.w * g.channels +
                                                piece.group * s.c + (more ? r + 1 : piece.strip) * g.height);
        ahead.x_left = (of.image_end - of.image) * (of.to - of.from) * s.w;
        ahead.x_step = g.channels * int64_t(sizeof(T));
        ahead.x_each = ceil_div(ahead.x_left, calls);
      }
      for (int64_t tap = 0; tap < g.taps; tap++) {
        Window window(g, block, tap);
        int64_t count = images;
        if (window.runs.count == 1 && window.runs.length == x_image && window.runs.length == dy_image) {
          window.runs.length *= images;
          count = 1;
        }
        for (int64_t p = piece.panel; p < piece.panel_end; p++, at += g.sum_size()) {
          const int64_t columns = min_of(W, s.o - p * W), vectors = ceil_div(columns, L);
          const int64_t step = packed ? vectors * L : g.outputs;
          const T* dy = packed ? packed + (p - piece.panel) * g.panel_size()
                               : g.dy + (block.image * s.oh + block.row) * s.ow * g.outputs;
          Runs runs = window.runs;
          runs.a_next *= rows;
          runs.b_next *= step;
          ahead.fetch();
          for (int64_t i = 0; i < count; i++)
            tiles(T{}).by_columns[rows][vectors](runs, strip + (i * x_image + window.x) * rows, rows * s.stride_w,
                                                 dy + (i * dy_image + window.dy) * step, step, sums, W,
                                                 int(packed ? vectors * L : columns), i > 0, nullptr);
          T* const to = at + (level.top - level.merges) * slot;
          T* const out = g.dw + ((piece.group * g.taps + tap) * s.c + channel) * s.o + p * W;
          for (int64_t i = 0; i < rows; i++)
            for (int64_t v = 0; v < vectors * L; v += L) {
              Vec<T> sum = load(sums + i * W + v);
              for (int64_t m = 1; m <= level.merges; m++)
                sum = load(at + (level.top - m) * slot + i * W + v) + sum;
              if (level.last)
                store(out + i * s.o + v, sum, int(min_of(L, columns - v)));
              else
                store(to + i * W + v, sum);
            }
        }
      }
    }
  }
  return true;
}

}  // namespace

bool weight_packed_pays(const ConvShape& s) {
  return s.c >= 16 && s.n > 0 && WeightBlocks(s).columns_count == 1 &&
         s.kh * s.kw * ceil_div(s.o, 32) >= 4;
}

template <class T>
Status weight_gradient_packed(const Conv2dWeight& p) {
  const Wide<T> g(p);
  const double cost = conv_cost<T>(p.shape);
  const int64_t threads = plan_threads(cost), bytes = int64_t(sizeof(T));
  // The cut that gives a thread the least work.
  int64_t strips = 1, panels = 1;
  double least = 1e300;
  for (int64_t cut = 1; cut <= g.panels; cut++) {
    const int64_t width = ceil_div(g.panels, cut);
    if (width > max_of(1, kPanelBytes / (g.panel_size() * bytes))) continue;
    const int64_t most = max_of(1, kSumBytes / (width * g.taps * g.sum_size() * bytes));
    for (int64_t pieces = ceil_div(g.strips, most); pieces <= g.strips; pieces++) {
      const int64_t high = ceil_div(g.strips, pieces);
      const int64_t tasks = g.s.groups * ceil_div(g.strips, high) * ceil_div(g.panels, width);
      const double work = double(ceil_div(tasks, threads)) *
                          (double(high * width * g.taps) * 14 + 10 * double(high) + 10 * double(width));
      if (work < least) least = work, strips = high, panels = width;
    }
  }
  const int64_t across = ceil_div(g.panels, panels), down = ceil_div(g.strips, strips);
  int failed = 0;
  parallel_tasks(g.s.groups * across * down, cost, [&](int64_t task) {
    const int64_t panel = task % across * panels, strip = task / across % down * strips;
    if (!sum_piece(g, {task / across / down, strip, min_of(g.strips, strip + strips), panel,
                       min_of(g.panels, panel + panels)}))
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  return failed ? Status::out_of_memory : Status::ok;
}
template Status weight_gradient_packed<float>(const Conv2dWeight&);
template Status weight_gradient_packed<double>(const Conv2dWeight&);

}  // namespace pynn::PYNN_ISA
