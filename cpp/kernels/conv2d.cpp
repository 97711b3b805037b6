// Convolution on the register tiles of gemm, without im2col: for a fixed kh the patch of a pixel is one run of kw * c
// neighbours, and the patches of neighbouring pixels are stride_w * channels apart.
#include "ops/conv2d.h"

#include "kernels/gemm_pack.h"
#include "kernels/gemm_paths.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t kBlockTerms = 512;

// The parts of a patch that are contiguous: rows of the kernel, or its pixels where dilation or groups part them.
struct Runs {
  int64_t count, length, per_row;
  explicit Runs(const ConvShape& s) {
    const bool rows = s.groups == 1 && (s.dilation_w == 1 || s.kw == 1);
    per_row = rows ? 1 : s.kw;
    count = s.kh * per_row;
    length = rows ? s.kw * s.c : s.c;
  }
};

template <class T>
PYNN_INLINE const T* patch(const ConvShape& s, const void* x, const Runs& runs, int64_t row, int64_t column,
                           int64_t run, int64_t group) {
  const int64_t image = row / s.oh, i = row % s.oh * s.stride_h + run / runs.per_row * s.dilation_h;
  const int64_t j = column * s.stride_w + run % runs.per_row * s.dilation_w;
  return static_cast<const T*>(x) + ((image * s.h + i) * s.w + j) * (s.groups * s.c) + group * s.c;
}

template <class T>
void forward_row(const Conv2d& p, const Runs& runs, const T* packed, int64_t group_size, int64_t row) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const ConvShape& s = p.shape;
  const int64_t terms = s.kh * s.kw * s.c, channels = s.groups * s.o, tile = balanced(s.ow, kTileRows);
  for (int64_t g = 0; g < s.groups; g++) {
    for (int64_t o = 0; o < s.o; o += W) {
      const int64_t columns = min_of(W, s.o - o), vectors = ceil_div(columns, L), at = g * s.o + o;
      const T* panel = packed + g * group_size + o * terms;
      for (int64_t j = 0; j < s.ow; j += tile) {
        const int64_t rows = min_of(tile, s.ow - j);
        T* y = static_cast<T*>(p.y) + (row * s.ow + j) * channels + at;
        for (int64_t r = 0; r < runs.count; r++)
          tiles(T{}).by_rows[rows][vectors](runs.length, patch<T>(s, p.x, runs, row, j, r, g),
                                            s.stride_w * s.groups * s.c, panel + r * runs.length * vectors * L,
                                            vectors * L, y, channels, int(columns), r > 0);
        finish(rows, columns, y, channels, p.bias ? static_cast<const T*>(p.bias) + at : nullptr, 1, p.activation);
      }
    }
  }
}

template <class T>
Status forward_as(const Conv2d& p) {
  const ConvShape& s = p.shape;
  const Runs runs(s);
  const int64_t terms = s.kh * s.kw * s.c;
  const int64_t group_size = ceil_div(s.o, kTileColumns<T>) * kTileColumns<T> * terms;
  T* packed = scratch_of<T>(Scratch::pack_b, s.groups * group_size);
  if (!packed) return Status::out_of_memory;
  const T* weight = static_cast<const T*>(p.weight);
  parallel_tasks(s.groups, pack_cost(s.groups * s.o * terms), [&](int64_t g) {
    pack_panels(packed + g * group_size, weight + g * s.o * terms, terms, true, s.o, terms);
  });
  const double row_cost = 0.75 / kVectorBytes * double(sizeof(T)) / 4 * double(s.ow * s.groups * s.o * terms);
  parallel_ranges(s.n * s.oh, 1, row_cost, [&](int64_t begin, int64_t end) {
    for (; begin < end; begin++) forward_row(p, runs, packed, group_size, begin);
  });
  return Status::ok;
}

Status forward(const Conv2d& p) {
  return p.shape.dtype == DType::float64 ? forward_as<double>(p) : forward_as<float>(p);
}

// A part of dw that one task sums: elements [first, first + height) of a run, `columns` output channels from `o` on.
struct Part {
  int64_t group, run, first, height, o, columns;
};

// Pixels of dy that make a block: whole rows, or a piece of one that is longer than a block.
struct Blocks {
  int64_t piece, pieces, rows, count;
  explicit Blocks(const ConvShape& s) {
    piece = balanced(s.ow, kBlockTerms);
    pieces = ceil_div(s.ow, piece);
    rows = pieces > 1 ? 1 : kBlockTerms / s.ow;
    count = ceil_div(s.n * s.oh, rows) * pieces;
  }
};

template <class T>
void sum_block(const Conv2dWeight& p, const Runs& runs, const Blocks& blocks, const Part& part, int64_t block,
               T* ragged, T* sum) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const ConvShape& s = p.shape;
  const int64_t channels = s.groups * s.o, vectors = ceil_div(part.columns, L);
  const int64_t first = block / blocks.pieces * blocks.rows, last = min_of(s.n * s.oh, first + blocks.rows);
  const int64_t j = block % blocks.pieces * blocks.piece, k = min_of(blocks.piece, s.ow - j);
  const int64_t tile = balanced(part.height, kTileRows);
  for (int64_t row = first; row < last; row++) {
    const T* dy = static_cast<const T*>(p.dy) + (row * s.ow + j) * channels + part.group * s.o + part.o;
    int64_t step = channels;
    if (ragged) {
      for (int64_t q = 0; q < k; q++)
        for (int64_t v = 0; v < vectors; v++)
          store(ragged + (q * vectors + v) * L, load(dy + q * channels + v * L, int(min_of(L, part.columns - v * L))));
      dy = ragged;
      step = vectors * L;
    }
    const T* x = patch<T>(s, p.x, runs, row, j, part.run, part.group) + part.first;
    for (int64_t i = 0; i < part.height; i += tile)
      tiles(T{}).by_columns[min_of(tile, part.height - i)][vectors](k, x + i, s.stride_w * s.groups * s.c, dy, step,
                                                                    sum + i * W, W, int(part.columns), row > first);
  }
}

template <class T>
PYNN_INLINE void add_to(T* a, const T* b, int64_t n) {  // n is a multiple of the lanes
  for (int64_t i = 0; i < n; i += lanes<T>) store(a + i, load(a + i) + load(b + i));
}

// The sums of a power of two of blocks wait on a stack until a partner of their size comes.
template <class T>
bool sum_part(const Conv2dWeight& p, const Runs& runs, const Blocks& blocks, const Part& part) {
  constexpr int64_t W = kTileColumns<T>, L = lanes<T>;
  const ConvShape& s = p.shape;
  const int64_t size = part.height * W;
  int64_t levels = 2;
  while (blocks.count >> (levels - 1)) levels++;
  T* stack = scratch_of<T>(Scratch::partial, levels * size);
  const bool packs = !kReadsRaggedRows && part.columns % L != 0;
  T* ragged = packs ? scratch_of<T>(Scratch::row, blocks.piece * W) : nullptr;
  if (!stack || (packs && !ragged)) return false;
  __builtin_memset(stack, 0, size_t(levels * size) * sizeof(T));  // lanes beyond the columns are added too
  int64_t top = 0;
  for (int64_t block = 0; block < blocks.count; block++) {
    sum_block(p, runs, blocks, part, block, ragged, stack + top++ * size);
    for (int64_t done = block + 1; done % 2 == 0; done /= 2, top--)
      add_to(stack + (top - 2) * size, stack + (top - 1) * size, size);
  }
  for (; top > 1; top--) add_to(stack + (top - 2) * size, stack + (top - 1) * size, size);
  T* dw = static_cast<T*>(p.dw) + ((part.group * runs.count + part.run) * runs.length + part.first) * s.o + part.o;
  for (int64_t i = 0; i < part.height; i++)
    for (int64_t v = 0; v < part.columns; v += L)
      store(dw + i * s.o + v, load(stack + i * W + v), int(min_of(L, part.columns - v)));
  return true;
}

template <class T>
Status weight_as(const Conv2dWeight& p) {
  constexpr int64_t W = kTileColumns<T>;
  const ConvShape& s = p.shape;
  const Runs runs(s);
  const Blocks blocks(s);
  const int64_t height = balanced(max_of(runs.length, 1), 8 * kTileRows);
  const int64_t strips = ceil_div(runs.length, height), panels = ceil_div(s.o, W);
  const double cost = 0.75 / kVectorBytes * double(sizeof(T)) / 4 * double(s.n * s.oh * s.ow) *
                      double(s.groups * s.o * s.kh * s.kw * s.c);
  int failed = 0;
  parallel_tasks(s.groups * runs.count * strips * panels, cost, [&](int64_t task) {
    const int64_t panel = task % panels, strip = task / panels % strips, run = task / panels / strips % runs.count;
    const Part part = {task / panels / strips / runs.count,          run,       strip * height,
                       min_of(height, runs.length - strip * height), panel * W, min_of(W, s.o - panel * W)};
    if (!sum_part<T>(p, runs, blocks, part)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  return failed ? Status::out_of_memory : Status::ok;
}

Status weight(const Conv2dWeight& p) {
  return p.shape.dtype == DType::float64 ? weight_as<double>(p) : weight_as<float>(p);
}

}  // namespace

extern const Conv2dKernels conv2d_kernels;
const Conv2dKernels conv2d_kernels = {forward, weight};

}  // namespace pynn::PYNN_ISA
