// Losses over the classes of a row: cross-entropy of logits, negative log-likelihood.
//
// The forward pass gives every row's loss and, for a mean, what the row counts for; both are then summed over the
// rows. The backward pass multiplies the saved probabilities; nothing is read on the host in between.
#include "kernels/loss.h"
#include "simd/parallel_sum.h"
#include "simd/softmax.h"

namespace pynn::PYNN_ISA {
namespace {

// Nanoseconds on one core at AVX-512: a row of any length, an element of it.
constexpr double kRowCost = 15, kForwardCost = 0.5, kBackwardCost = 0.15;

constexpr int64_t kIgnored = -1;

// The class index of every row, checked.
struct Labels {
  const void* values;
  DType type;
  int64_t classes, ignore_index;
  int* out_of_range;  // set to 1 where an index is; the row then counts as ignored

  PYNN_INLINE Labels(const ClassTarget& t, int64_t class_count, int* flag)
      : values(t.values), type(t.type), classes(class_count), ignore_index(t.ignore_index), out_of_range(flag) {}

  PYNN_INLINE int64_t operator[](int64_t row) const {
    int64_t label;
    switch (type) {
      case DType::int64: label = static_cast<const int64_t*>(values)[row]; break;
      case DType::int32: label = static_cast<const int32_t*>(values)[row]; break;
      default: label = static_cast<const uint8_t*>(values)[row]; break;
    }
    if (label == ignore_index) return kIgnored;
    if (uint64_t(label) < uint64_t(classes)) return label;
    __atomic_store_n(out_of_range, 1, __ATOMIC_RELAXED);
    return kIgnored;
  }
};

template <class T>
PYNN_INLINE T weight_of(const T* weight, int64_t label) {
  return weight ? weight[label] : T(1);
}

// The part of the coefficients a_c that is spread over the classes, from a row of probabilities (null for indices):
// w_c (keep * t_c + smooth).
template <class T>
struct Spread {
  const T *probabilities, *weight;
  T keep, smooth;

  PYNN_INLINE Lanes<T> operator()(int64_t i, int n) const {
    Lanes<T> a = broadcast_lanes(smooth);
    const Vec<T> k = broadcast(keep);
    if (probabilities)
      a = map_lanes([=](Vec<T> v, Vec<T> t) PYNN_LAMBDA { return fma(k, t, v); }, a, load_lanes(probabilities + i, n));
    if (weight) a = map_lanes([](Vec<T> v, Vec<T> w) PYNN_LAMBDA { return v * w; }, a, load_lanes(weight + i, n));
    return first_lanes(a, n);
  }
};

// losses (and, for a mean, what the rows count for) -> what the caller asked for
template <class T, class P>
Status reduce_rows(const P& p, const T* losses, const T* counts) {
  if (p.reduction == Reduction::none) return Status::ok;
  constexpr double cost = 0.1;
  auto sum_of = [&](const T* values, T* sum) {
    return parallel_sum<T>(
        p.rows, cost, [=](int64_t i, int n) PYNN_LAMBDA { return load_lanes(values + i, n); }, sum);
  };
  T sum = T(0);
  if (const Status status = sum_of(losses, &sum); status != Status::ok) return status;
  if (p.reduction == Reduction::mean) {
    T count = T(0);
    if (const Status status = sum_of(counts, &count); status != Status::ok) return status;
    *static_cast<T*>(p.divisor) = count;
    sum /= count;
  }
  *static_cast<T*>(p.loss) = sum;
  return Status::ok;
}

// The loss of a row is total * log(sum) - picked.
template <class T>
struct RowTerms {
  T sum;     // of exp(x - max)
  T total;   // sum_c a_c
  T picked;  // sum_c a_c (x_c - max)
  T count;   // what the row adds to the divisor of a mean
};

// The losses of at most 16 rows; one vector takes their logarithms.
template <class T, class Row>
PYNN_INLINE void group_losses(int64_t begin, int rows, const Row& row, T* losses, T* counts) {
  T sum[kLanes], total[kLanes], picked[kLanes];
  for (int r = 0; r < rows; r++) {
    const RowTerms<T> terms = row(begin + r);
    sum[r] = terms.sum;
    total[r] = terms.total;
    picked[r] = terms.picked;
    if (counts) counts[begin + r] = terms.count;
  }
  auto loss = [](Vec<T> s, Vec<T> t, Vec<T> p) PYNN_LAMBDA { return fma(t, log(s), -p); };
  const Lanes<T> found = map_lanes(loss, load_lanes(sum, rows), load_lanes(total, rows), load_lanes(picked, rows));
  store_lanes(losses + begin, found, rows);
}

// row(i) gives the RowTerms of row i; then the reduction.
template <class T, class P, class Row>
PYNN_INLINE Status forward_rows(const P& p, double ns_per_row, const Row& row) {
  T *losses = static_cast<T*>(p.loss), *counts = nullptr;
  if (p.reduction != Reduction::none) {
    losses = static_cast<T*>(scratch(Scratch::row, 2 * size_t(p.rows) * sizeof(T)));
    if (!losses) return Status::out_of_memory;
    counts = losses + p.rows;
  }
  parallel_ranges(p.rows, 1, ns_per_row, [=, &row](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kLanes) group_losses(i, int(min_of(kLanes, end - i)), row, losses, counts);
  });
  return reduce_rows(p, losses, counts);
}

// What the gradient of row i is multiplied by.
template <class T>
struct RowScale {
  const T* grad;
  bool by_row;
  T divisor;

  template <class P>
  PYNN_INLINE explicit RowScale(const P& p)
      : grad(static_cast<const T*>(p.grad)),
        by_row(p.reduction == Reduction::none),
        divisor(p.reduction == Reduction::mean ? *static_cast<const T*>(p.divisor) : T(1)) {}
  PYNN_INLINE T operator()(int64_t i) const { return (by_row ? grad[i] : *grad) / divisor; }
};

template <class T>
PYNN_INLINE void zero_row(T* dx, int64_t classes) {
  for (int64_t c = 0; c < classes; c++) dx[c] = T(0);
}

template <class T>
PYNN_INLINE Spread<T> spread_of(const ClassTarget& target, int64_t classes, double smoothing, bool by_probability) {
  return {by_probability ? static_cast<const T*>(target.values) : nullptr, static_cast<const T*>(target.weight),
          T(1 - smoothing), T(smoothing / double(classes))};
}

// sum_c a_c (x_c - max) over the spread coefficients
template <class T>
PYNN_INLINE T spread_picked(const Spread<T>& spread, const T* x, int64_t classes, T row_max) {
  const Vec<T> max = broadcast(row_max);
  return sum_range<T>(0, classes, [=](int64_t i, int n) PYNN_LAMBDA {
    auto term = [=](Vec<T> v, Vec<T> a) PYNN_LAMBDA { return a * (v - max); };
    return first_lanes(map_lanes(term, load_lanes(x + i, n), spread(i, n)), n);
  });
}

template <class T>
Status index_forward(const CrossEntropyForward& p) {
  const int64_t classes = p.classes;
  const T *x = static_cast<const T*>(p.x), *weight = static_cast<const T*>(p.target.weight);
  T* probabilities = static_cast<T*>(p.probabilities);
  const Spread<T> spread = spread_of<T>(p.target, classes, p.label_smoothing, false);
  const T smoothed = spread.smooth == T(0) ? T(0) : sum_range<T>(0, classes, spread);
  int out_of_range = 0;
  const Labels labels(p.target, classes, &out_of_range);
  const double cost = kRowCost + kForwardCost * double(classes);
  const Status status = forward_rows<T>(p, cost, [=](int64_t i) PYNN_LAMBDA -> RowTerms<T> {
    const T* row = x + i * classes;
    const int64_t label = labels[i];
    const Normalizer<T> norm = softmax_row(row, classes, probabilities ? probabilities + i * classes : nullptr);
    if (label == kIgnored) return {T(1), T(0), T(0), T(0)};
    const T own = weight_of(weight, label);
    RowTerms<T> terms = {norm.sum, spread.keep * own + smoothed, spread.keep * own * (row[label] - norm.max), own};
    if (spread.smooth != T(0)) terms.picked += spread_picked(spread, row, classes, norm.max);
    return terms;
  });
  return out_of_range ? Status::index_out_of_range : status;
}

template <class T>
Status probability_forward(const CrossEntropyForward& p) {
  const int64_t classes = p.classes;
  const T* x = static_cast<const T*>(p.x);
  T* probabilities = static_cast<T*>(p.probabilities);
  const Spread<T> spread = spread_of<T>(p.target, classes, p.label_smoothing, true);
  const double cost = kRowCost + 2 * kForwardCost * double(classes);
  return forward_rows<T>(p, cost, [=](int64_t i) PYNN_LAMBDA -> RowTerms<T> {
    const T* row = x + i * classes;
    const Normalizer<T> norm = softmax_row(row, classes, probabilities ? probabilities + i * classes : nullptr);
    Spread<T> here = spread;
    here.probabilities += i * classes;
    return {norm.sum, sum_range<T>(0, classes, here), spread_picked(here, row, classes, norm.max), T(1)};
  });
}

// dx = y sum - spread * scale, where y are the probabilities and `sum` is the scaled sum of all coefficients
template <class T>
PYNN_INLINE void spread_gradient(const Spread<T>& spread, const T* y, int64_t classes, T scale, T sum, T* dx) {
  const Vec<T> s = broadcast(scale), all = broadcast(sum);
  for (int64_t i = 0; i < classes; i += kLanes) {
    const int n = int(min_of(kLanes, classes - i));
    auto gradient = [=](Vec<T> v, Vec<T> a) PYNN_LAMBDA { return fma(v, all, -(a * s)); };
    store_lanes(dx + i, map_lanes(gradient, load_lanes(y + i, n), spread(i, n)), n);
  }
}

template <class T>
Status index_backward(const CrossEntropyBackward& p) {
  const int64_t classes = p.classes;
  const T *y = static_cast<const T*>(p.probabilities), *weight = static_cast<const T*>(p.target.weight);
  T* dx = static_cast<T*>(p.dx);
  const Spread<T> spread = spread_of<T>(p.target, classes, p.label_smoothing, false);
  const RowScale<T> scale_of(p);
  int out_of_range = 0;
  const Labels labels(p.target, classes, &out_of_range);
  const T smoothed = spread.smooth == T(0) ? T(0) : sum_range<T>(0, classes, spread);
  parallel_ranges(p.rows, 1, kRowCost + kBackwardCost * double(classes), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const T* from = y + i * classes;
      T* to = dx + i * classes;
      const int64_t label = labels[i];
      if (label == kIgnored) {
        zero_row(to, classes);
        continue;
      }
      const T scale = scale_of(i), own = weight_of(weight, label) * scale;
      if (spread.smooth == T(0)) {
        const Vec<T> s = broadcast(own);
        map_range<T>(
            0, classes, [=](Vec<T> v) PYNN_LAMBDA { return v * s; }, to, from);
        to[label] = (from[label] - T(1)) * own;
      } else {
        spread_gradient(spread, from, classes, scale, fma(spread.keep, own, smoothed * scale), to);
        to[label] -= spread.keep * own;
      }
    }
  });
  return out_of_range ? Status::index_out_of_range : Status::ok;
}

template <class T>
Status probability_backward(const CrossEntropyBackward& p) {
  const int64_t classes = p.classes;
  const T* y = static_cast<const T*>(p.probabilities);
  T* dx = static_cast<T*>(p.dx);
  const Spread<T> spread = spread_of<T>(p.target, classes, p.label_smoothing, true);
  const RowScale<T> scale_of(p);
  parallel_ranges(p.rows, 1, kRowCost + 2 * kBackwardCost * double(classes), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      Spread<T> here = spread;
      here.probabilities += i * classes;
      const T scale = scale_of(i);
      spread_gradient(here, y + i * classes, classes, scale, sum_range<T>(0, classes, here) * scale, dx + i * classes);
    }
  });
  return Status::ok;
}

template <class T>
Status nll_forward_typed(const NllForward& p) {
  const int64_t classes = p.classes;
  const T *x = static_cast<const T*>(p.x), *weight = static_cast<const T*>(p.target.weight);
  int out_of_range = 0;
  const Labels labels(p.target, classes, &out_of_range);
  const Status status = forward_rows<T>(p, kRowCost, [=](int64_t i) PYNN_LAMBDA -> RowTerms<T> {
    const int64_t label = labels[i];
    if (label == kIgnored) return {T(1), T(0), T(0), T(0)};
    const T own = weight_of(weight, label);
    return {T(1), T(0), own * x[i * classes + label], own};
  });
  return out_of_range ? Status::index_out_of_range : status;
}

template <class T>
Status nll_backward_typed(const NllBackward& p) {
  const int64_t classes = p.classes;
  const T* weight = static_cast<const T*>(p.target.weight);
  T* dx = static_cast<T*>(p.dx);
  const RowScale<T> scale_of(p);
  int out_of_range = 0;
  const Labels labels(p.target, classes, &out_of_range);
  parallel_ranges(p.rows, 1, kRowCost + kBackwardCost * double(classes), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      zero_row(dx + i * classes, classes);
      const int64_t label = labels[i];
      if (label != kIgnored) dx[i * classes + label] = -weight_of(weight, label) * scale_of(i);
    }
  });
  return out_of_range ? Status::index_out_of_range : Status::ok;
}

}  // namespace

Status cross_entropy_forward(const CrossEntropyForward& p) {
  const bool wide = p.dtype == DType::float64;
  if (p.target.type == p.dtype) return wide ? probability_forward<double>(p) : probability_forward<float>(p);
  return wide ? index_forward<double>(p) : index_forward<float>(p);
}

Status cross_entropy_backward(const CrossEntropyBackward& p) {
  const bool wide = p.dtype == DType::float64;
  if (p.target.type == p.dtype) return wide ? probability_backward<double>(p) : probability_backward<float>(p);
  return wide ? index_backward<double>(p) : index_backward<float>(p);
}

Status nll_forward(const NllForward& p) {
  return p.dtype == DType::float64 ? nll_forward_typed<double>(p) : nll_forward_typed<float>(p);
}

Status nll_backward(const NllBackward& p) {
  return p.dtype == DType::float64 ? nll_backward_typed<double>(p) : nll_backward_typed<float>(p);
}

}  // namespace pynn::PYNN_ISA
