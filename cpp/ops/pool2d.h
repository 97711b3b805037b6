// Pooling of channels-last arrays: the largest or the mean element of each window, and their gradients.
//
// Shapes, all dense: x and dx (n, rows.in, columns.in, c), y, dy and index (n, rows.out, columns.out, c).
#pragma once
#include "ops/activation.h"
#include "runtime/launch.h"

namespace pynn {

// Window i covers the elements i * stride - padding + t * dilation, 0 <= t < kernel, that lie inside. An adaptive
// window covers [floor(i * in / out), ceil((i + 1) * in / out)), and `kernel` is the largest of their sizes.
struct PoolAxis {
  int64_t in, out, kernel, stride, padding, dilation;  // all positive but padding >= 0
  bool adaptive;
};

struct PoolShape {
  DType dtype;   // float32 or float64
  int64_t n, c;  // >= 0
  PoolAxis rows, columns;
};

// The number of an element in its window is row * columns.kernel + column. Windows of up to as many elements as this
// keep the number of their largest one as uint8, others as int32.
constexpr int64_t kByteNumbers = 256;

// y = the largest element, the first in row-major order where several are; a NaN is larger than any number, and the
// last one wins. index (may be null): its number in its window.
struct MaxPool2d {
  static constexpr const char* name = "max_pool2d";
  static constexpr bool arithmetic = false;
  PoolShape shape;
  const void* x;
  void *y, *index;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(y, Access::write);
    f(index, Access::write);
  }
};

// dx = the sum of dy over the windows whose largest element this is, in order of the windows.
struct MaxPool2dBackward {
  static constexpr const char* name = "max_pool2d_backward";
  static constexpr bool arithmetic = true;
  PoolShape shape;
  const void *dy, *index;
  void* dx;
  template <class F>
  void pointers(F&& f) {
    f(dy, Access::read);
    f(index, Access::read);
    f(dx, Access::write);
  }
};

// flat = the place of a window's largest element in its image, row * columns.in + column.
struct MaxPool2dPlaces {
  static constexpr const char* name = "max_pool2d_places";
  static constexpr bool arithmetic = false;
  PoolShape shape;
  const void* index;
  int64_t* flat;
  template <class F>
  void pointers(F&& f) {
    f(index, Access::read);
    f(flat, Access::write);
  }
};

// y = sum / divisor; without a divisor (0), the number of elements, which counts the padding where `count_padding`.
// Runs of at most 512 elements of a row are summed in order, then the runs.
struct AveragePool2d {
  static constexpr const char* name = "avg_pool2d";
  static constexpr bool arithmetic = true;
  PoolShape shape;
  bool count_padding;
  int64_t divisor;
  const void* x;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(y, Access::write);
  }
};

// Where x was the `output` of an activation f (null: of none), dx is that of its input: times f', which it gives. dx
// may be `output` where average_in_place says so.
struct AveragePool2dBackward {
  static constexpr const char* name = "avg_pool2d_backward";
  static constexpr bool arithmetic = true;
  PoolShape shape;
  bool count_padding;
  int64_t divisor;
  Activation activation;
  const void *dy, *output;
  void* dx;
  template <class F>
  void pointers(F&& f) {
    f(dy, Access::read);
    f(output, Access::read);
    f(dx, Access::write);
  }
};

// y (n, large, c) is zero but for y[i, flat[i, j, k], k] = x[i, j, k], x and flat (n, small, c); the last j wins. The
// other direction is x = the elements at `flat`. Status::index_out_of_range unless 0 <= flat < large.
struct MaxUnpool2d {
  static constexpr const char* name = "max_unpool2d";
  static constexpr bool arithmetic = false;
  DType dtype;
  int64_t n, small, large, c;
  const void* x;
  const int64_t* flat;
  void* y;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(flat, Access::read);
    f(y, Access::write);
  }
};

struct MaxUnpool2dBackward {
  static constexpr const char* name = "max_unpool2d_backward";
  static constexpr bool arithmetic = false;
  DType dtype;
  int64_t n, small, large, c;
  const void* dy;
  const int64_t* flat;
  void* dx;
  template <class F>
  void pointers(F&& f) {
    f(dy, Access::read);
    f(flat, Access::read);
    f(dx, Access::write);
  }
};

struct Pool2dKernels {
  Kernel<MaxPool2d> max;
  Kernel<MaxPool2dBackward> max_backward;
  Kernel<MaxPool2dPlaces> places;
  Kernel<AveragePool2d> average;
  Kernel<AveragePool2dBackward> average_backward;
  bool (*average_in_place)(const PoolShape& s);  // whether the dx of average_backward may be its `output`
  Kernel<MaxUnpool2d> unpool;
  Kernel<MaxUnpool2dBackward> unpool_backward;
};

}  // namespace pynn
