// Losses. All floating-point operands are contiguous and of one `dtype` (float32 or float64). A reduced loss is a
// single value; its gradient is read from memory, so that a recorded backward pass follows it.
#pragma once
#include "runtime/launch.h"

namespace pynn {

enum class Reduction : uint8_t { none, sum, mean };

// Where the classes of `rows` rows come from, and what their losses weigh.
struct ClassTarget {
  DType type;            // int64, int32, uint8: one class index a row; the loss's dtype: a probability per class
  const void* values;    // rows, or rows x classes
  int64_t ignore_index;  // rows with this class index have no loss and no gradient
  const void* weight;    // one per class, or null: 1
};

// Row i: -sum_c a_c log softmax(x)_c. Class index t: a_c = w_c ((1 - s) [c = t] + s / classes); probabilities t_c:
// a_c = w_c ((1 - s) t_c + s / classes), with label smoothing s. The mean of indices divides by the sum of w_t over the
// rows that are not ignored, the mean of probabilities by the number of rows.
// An index outside [0, classes) gives Status::index_out_of_range.
struct CrossEntropyForward {
  static constexpr const char* name = "cross_entropy";
  static constexpr bool arithmetic = true;
  DType dtype;
  Reduction reduction;
  int64_t rows, classes;
  double label_smoothing;
  ClassTarget target;
  const void* x;
  void* probabilities;  // softmax(x) for the backward pass, or null
  void* divisor;        // what the mean divides by, for the backward pass; null for the other reductions
  void* loss;           // one value, or one a row
  template <class F>
  void pointers(F&& f) {
    f(target.values, Access::read);
    f(target.weight, Access::read);
    f(x, Access::read);
    f(probabilities, Access::write);
    f(divisor, Access::write);
    f(loss, Access::write);
  }
};

// dx_c = (softmax(x)_c sum(a) - a_c) grad / divisor; zero for ignored rows. `grad` has the shape of the loss.
struct CrossEntropyBackward {
  static constexpr const char* name = "cross_entropy_backward";
  static constexpr bool arithmetic = true;
  DType dtype;
  Reduction reduction;
  int64_t rows, classes;
  double label_smoothing;
  ClassTarget target;
  const void *grad, *probabilities, *divisor;
  void* dx;
  template <class F>
  void pointers(F&& f) {
    f(target.values, Access::read);
    f(target.weight, Access::read);
    f(grad, Access::read);
    f(probabilities, Access::read);
    f(divisor, Access::read);
    f(dx, Access::write);
  }
};

// Row i: -w_t x_t from log-probabilities x and class indices t; reductions and errors as for cross_entropy.
struct NllForward {
  static constexpr const char* name = "nll_loss";
  static constexpr bool arithmetic = true;
  DType dtype;
  Reduction reduction;
  int64_t rows, classes;
  ClassTarget target;
  const void* x;
  void* divisor;
  void* loss;
  template <class F>
  void pointers(F&& f) {
    f(target.values, Access::read);
    f(target.weight, Access::read);
    f(x, Access::read);
    f(divisor, Access::write);
    f(loss, Access::write);
  }
};

struct NllBackward {
  static constexpr const char* name = "nll_loss_backward";
  static constexpr bool arithmetic = true;
  DType dtype;
  Reduction reduction;
  int64_t rows, classes;
  ClassTarget target;
  const void *grad, *divisor;
  void* dx;
  template <class F>
  void pointers(F&& f) {
    f(target.values, Access::read);
    f(target.weight, Access::read);
    f(grad, Access::read);
    f(divisor, Access::read);
    f(dx, Access::write);
  }
};

// Losses that are a sum over elements: (x-t)^2, |x-t|, (x-t)^2/2, and the binary cross-entropies
//   -(t max(log x, -100) + (1-t) max(log(1-x), -100)),
//   (1-t) x + (1 + (pos_weight-1) t) (log(1 + e^-|x|) + max(-x, 0)).
enum class ElementLoss : uint8_t { squared, absolute, half_squared, binary, binary_with_logits };

// loss[i], or sum(loss) / divisor
struct ElementLossForward {
  static constexpr const char* name = "loss";
  static constexpr bool arithmetic = true;
  ElementLoss kind;
  DType dtype;
  bool reduce;
  int64_t n;
  double divisor;
  const void *x, *target;
  const void *weight, *pos_weight;  // n each, or null; the binary cross-entropies only
  void* loss;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(target, Access::read);
    f(weight, Access::read);
    f(pos_weight, Access::read);
    f(loss, Access::write);
  }
};

// dx = grad d loss / dx, with one gradient for all and divided by `divisor` where the loss was reduced
struct ElementLossBackward {
  static constexpr const char* name = "loss_backward";
  static constexpr bool arithmetic = true;
  ElementLoss kind;
  DType dtype;
  bool reduce;
  int64_t n;
  double divisor;
  const void *grad, *x, *target;
  const void *weight, *pos_weight;
  void* dx;
  template <class F>
  void pointers(F&& f) {
    f(grad, Access::read);
    f(x, Access::read);
    f(target, Access::read);
    f(weight, Access::read);
    f(pos_weight, Access::read);
    f(dx, Access::write);
  }
};

struct LossKernels {
  Kernel<CrossEntropyForward> cross_entropy;
  Kernel<CrossEntropyBackward> cross_entropy_backward;
  Kernel<NllForward> nll;
  Kernel<NllBackward> nll_backward;
  Kernel<ElementLossForward> element;
  Kernel<ElementLossBackward> element_backward;
};

}  // namespace pynn
