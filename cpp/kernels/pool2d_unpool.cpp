// Places of the largest elements, and moving elements to and from given places.
#include "kernels/pool2d_window.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr double kMoveCost = 1;  // ns an element, with its division or jump

template <class I>
Status places_as(const MaxPool2dPlaces& p) {
  const PoolShape& s = p.shape;
  const PoolAxis &rows = s.rows, &columns = s.columns;
  const I* index = static_cast<const I*>(p.index);
  const double cost = kMoveCost * double(columns.out * s.c);
  parallel_ranges(s.n * rows.out, 1, cost, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
      const int64_t top = window(rows, row % rows.out).at;
      for (int64_t j = 0; j < columns.out; j++) {
        const int64_t left = window(columns, j).at, at = (row * columns.out + j) * s.c;
        for (int64_t k = at; k < at + s.c; k++) {
          const int64_t down = int64_t(index[k]) / columns.kernel, across = int64_t(index[k]) % columns.kernel;
          p.flat[k] = (top + down * rows.dilation) * columns.in + left + across * columns.dilation;
        }
      }
    }
  });
  return Status::ok;
}

// move(element of the small image, element of the large one) wherever `flat` is inside; images one by one, so that the
// last of several that meet wins.
template <class Move>
PYNN_INLINE Status for_places(int64_t n, int64_t small, int64_t large, int64_t c, const int64_t* flat,
                              const Move& move) {
  int outside = 0;
  parallel_ranges(n, 1, kMoveCost * double(small * c), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++)
      for (int64_t j = i * small; j < (i + 1) * small; j++)
        for (int64_t k = 0; k < c; k++) {
          const int64_t place = flat[j * c + k];
          if (place >= 0 && place < large)
            move(j * c + k, (i * large + place) * c + k);
          else
            __atomic_store_n(&outside, 1, __ATOMIC_RELAXED);
        }
  });
  return outside ? Status::index_out_of_range : Status::ok;
}

template <class T>
Status unpool_as(const MaxUnpool2d& p) {
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  const int64_t image = p.large * p.c;
  parallel_ranges(p.n, 1, 0.2 * double(image), [&](int64_t begin, int64_t end) {
    __builtin_memset(y + begin * image, 0, size_t((end - begin) * image) * sizeof(T));
  });
  return for_places(p.n, p.small, p.large, p.c, p.flat, [=](int64_t small, int64_t large) { y[large] = x[small]; });
}

template <class T>
Status unpool_backward_as(const MaxUnpool2dBackward& p) {
  const T* dy = static_cast<const T*>(p.dy);
  T* dx = static_cast<T*>(p.dx);
  return for_places(p.n, p.small, p.large, p.c, p.flat, [=](int64_t small, int64_t large) { dx[small] = dy[large]; });
}

}  // namespace

Status max_pool_places(const MaxPool2dPlaces& p) {
  return has_byte_numbers(p.shape) ? places_as<uint8_t>(p) : places_as<int32_t>(p);
}

Status unpool(const MaxUnpool2d& p) { return p.dtype == DType::float64 ? unpool_as<double>(p) : unpool_as<float>(p); }

Status unpool_backward(const MaxUnpool2dBackward& p) {
  return p.dtype == DType::float64 ? unpool_backward_as<double>(p) : unpool_backward_as<float>(p);
}

}  // namespace pynn::PYNN_ISA
