// Walks the index space of an element-wise op in tiles of contiguous memory, so that every op is one loop over
// vectors whatever the strides: an operand that lies right is read in place, one that is constant in a tile is a
// scalar, and any other is gathered into a buffer on the stack first.
#pragma once
#include "ops/elementwise.h"
#include "simd/parallel.h"

namespace pynn::PYNN_ISA {

constexpr int64_t kTile = 1024;      // elements of a buffer: at most 8 KB each
constexpr int64_t kLongRow = 256;    // shorter rows share a tile
constexpr int64_t kPiece = 1 << 14;  // of a long row that needs no buffer

// y = f(a, b) over n contiguous elements, in three forms: two vectors, or one of them a scalar.
template <class T, class Y>
struct TileFunctions {
  using Function = void (*)(Y* y, const T* a, const T* b, T alpha, int64_t n);
  Function vectors, scalar_a, scalar_b;
};

struct Tiles {
  int64_t n, rows, planes;  // the last axis, the one before, all others
  int64_t tile_n, tile_rows, across, down;

  Tiles(const IndexSpace& space, bool buffered) {
    n = space.shape[space.dims - 1];
    rows = space.dims > 1 ? space.shape[space.dims - 2] : 1;
    planes = 1;
    for (int i = 0; i + 2 < space.dims; i++) planes *= space.shape[i];
    const bool whole_rows = n < kLongRow && space.dims > 1;
    tile_n = whole_rows ? n : min_of(n, buffered ? kTile : kPiece);
    tile_rows = whole_rows ? min_of(rows, kTile / n) : 1;
    across = ceil_div(n, tile_n);
    down = ceil_div(rows, tile_rows);
  }
  int64_t count() const { return planes * down * across; }
};

// The first element of plane number `plane`, relative to the operand.
PYNN_INLINE int64_t plane_offset(const IndexSpace& space, const int64_t* strides, int64_t plane) {
  int64_t offset = 0;
  for (int i = space.dims - 3; i >= 0; i--) {
    offset += plane % space.shape[i] * strides[i];
    plane /= space.shape[i];
  }
  return offset;
}

// Copies rows of n elements, one after the other, into `buffer`; up to a vector beyond the last one is overwritten.
template <class T>
void gather(T* buffer, const T* p, int64_t rows, int64_t n, int64_t row_stride, int64_t stride) {
  constexpr int L = lanes<T>;
  for (int64_t r = 0; r < rows; r++, p += row_stride, buffer += n) {
    if (stride == 0) {
      for (int64_t i = 0; i < n; i += L) store(buffer + i, broadcast(*p));
    } else if (stride == 1) {
      int64_t i = 0;
      for (; i + L <= n; i += L) store(buffer + i, load(p + i));
      if (i < n) store(buffer + i, load(p + i, int(n - i)));
    } else {
      for (int64_t i = 0; i < n; i++) buffer[i] = p[i * stride];
    }
  }
}

template <class T>
void scatter(T* p, const T* buffer, int64_t rows, int64_t n, int64_t row_stride, int64_t stride) {
  for (int64_t r = 0; r < rows; r++, p += row_stride, buffer += n)
    for (int64_t i = 0; i < n; i++) p[i * stride] = buffer[i];
}

template <class T>
class TileInput {
 public:
  TileInput(const void* p, const int64_t* strides, const IndexSpace& space, const Tiles& tiles)
      : first_(static_cast<const T*>(p)), strides_(strides), space_(space) {
    stride_ = strides[space.dims - 1];
    row_stride_ = space.dims > 1 ? strides[space.dims - 2] : 0;
    const bool one_row = tiles.tile_rows == 1;
    constant_ = stride_ == 0 && (one_row || row_stride_ == 0);
    direct_ = stride_ == 1 && (one_row || row_stride_ == tiles.n);
    repeated_ = !one_row && row_stride_ == 0;
  }
  bool constant() const { return constant_; }
  bool buffered() const { return !constant_ && !direct_; }
  void expand() { constant_ = false; }  // where both operands are constant, one of them is gathered

  void enter(int64_t plane) {
    plane_ = first_ + plane_offset(space_, strides_, plane);
    gathered_rows_ = 0;
  }
  const T* tile(int64_t row, int64_t column, int64_t rows, int64_t n) {
    const T* p = plane_ + row * row_stride_ + column * stride_;
    if (!buffered()) return p;
    // A row that repeats is gathered once for all tiles of a plane.
    if (!repeated_ || gathered_rows_ < rows) gather(buffer_, p, rows, n, row_stride_, stride_);
    gathered_rows_ = rows;
    return buffer_;
  }

 private:
  const T *first_, *plane_ = nullptr;
  const int64_t* strides_;
  const IndexSpace& space_;
  int64_t row_stride_, stride_, gathered_rows_ = 0;
  bool constant_, direct_, repeated_;
  alignas(64) T buffer_[kTile + lanes<T>];
};

// Runs f over the whole space; ns is the estimate an element.
template <class T, class Y>
void for_each_tile(const IndexSpace& space, const void* a, const void* b, void* y, T alpha,
                   const TileFunctions<T, Y>& f, double ns) {
  const int64_t stride = space.y_strides[space.dims - 1];
  const int64_t row_stride = space.dims > 1 ? space.y_strides[space.dims - 2] : 0;
  const int64_t a_stride = space.a_strides[space.dims - 1], b_stride = space.b_strides[space.dims - 1];
  auto in_place = [](int64_t s) { return s == 1 || s == 0; };
  const bool both_constant = a_stride == 0 && b_stride == 0;  // one of them is then gathered
  const bool no_buffer = in_place(a_stride) && in_place(b_stride) && stride == 1 && !both_constant;
  if (space.dims == 1 && space.shape[0] <= kPiece && no_buffer) {  // one tile; the divisions below take 30 ns
    const auto function = a_stride == 0 ? f.scalar_a : b_stride == 0 ? f.scalar_b : f.vectors;
    return function(static_cast<Y*>(y), static_cast<const T*>(a), static_cast<const T*>(b), alpha, space.shape[0]);
  }
  const Tiles tiles(space, !no_buffer);
  const bool direct = stride == 1 && (tiles.tile_rows == 1 || row_stride == tiles.n);

  // An operand that repeats along a row is read once.
  const double bytes = double(sizeof(Y)) + double(sizeof(T)) * ((a_stride != 0) + (b_stride != 0));
  const int64_t size = tiles.planes * tiles.rows * tiles.n, tile_size = tiles.tile_n * tiles.tile_rows;
  const double cost = item_cost(ns, size, bytes) * double(tile_size);
  parallel_ranges(tiles.count(), 1, cost, [&](int64_t begin, int64_t end) {
    TileInput<T> first(a, space.a_strides, space, tiles), second(b, space.b_strides, space, tiles);
    if (first.constant() && second.constant()) first.expand();
    const auto function = first.constant() ? f.scalar_a : second.constant() ? f.scalar_b : f.vectors;
    alignas(64) Y buffer[kTile];
    Y* plane = nullptr;
    int64_t across = begin % tiles.across, down = begin / tiles.across % tiles.down;
    int64_t number = begin / tiles.across / tiles.down;
    for (int64_t t = begin; t < end; t++) {
      if (!plane) {
        plane = static_cast<Y*>(y) + plane_offset(space, space.y_strides, number);
        first.enter(number);
        second.enter(number);
      }
      const int64_t row = down * tiles.tile_rows, rows = min_of(tiles.tile_rows, tiles.rows - row);
      const int64_t column = across * tiles.tile_n, n = min_of(tiles.tile_n, tiles.n - column);
      Y* to = plane + row * row_stride + column * stride;
      function(direct ? to : buffer, first.tile(row, column, rows, n), second.tile(row, column, rows, n), alpha,
               rows * n);
      if (!direct) scatter(to, buffer, rows, n, row_stride, stride);
      if (++across < tiles.across) continue;
      across = 0;
      if (++down < tiles.down) continue;
      down = 0;
      number++;
      plane = nullptr;
    }
  });
}

}  // namespace pynn::PYNN_ISA
