// SGD and Adam over a list of parameters: one pass over memory, cut into pieces that do not know of parameters.
#include "ops/optimizer.h"

#include <math.h>

#include "simd/parallel.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int64_t kPiece = 16384;  // elements a task: 64 KB of each operand
// Nanoseconds an element on one core at AVX-512: 3 or 5 streams through the cache, and Adam's root and division.
constexpr double kSgdCost = 0.15, kAdamCost = 0.3;

// body(parameter, begin, end) over pieces of all parameters, on the team.
template <class Launch, class Body>
void for_each_piece(const Launch& p, double ns, double streams, const Body& body) {
  int64_t first_task[kMaxTensors + 1], elements = 0;
  first_task[0] = 0;
  for (int i = 0; i < p.count; i++) {
    first_task[i + 1] = first_task[i] + ceil_div(p.parameters[i].n, kPiece);
    elements += p.parameters[i].n;
  }
  parallel_tasks(first_task[p.count], item_cost(ns, elements, streams * double(item_size(p.dtype))) * double(elements),
                 [&](int64_t task) {
                   int i = 0;
                   while (task >= first_task[i + 1]) i++;
                   const int64_t begin = (task - first_task[i]) * kPiece;
                   body(p.parameters[i], begin, min_of(p.parameters[i].n, begin + kPiece));
                 });
}

// f(i, n) for each vector of [begin, end); n < lanes only in the last one.
template <class T, class F>
PYNN_INLINE void for_vectors(int64_t begin, int64_t end, const F& f) {
  int64_t i = begin;
  for (; i + lanes<T> <= end; i += lanes<T>) f(i, lanes<T>);
  if (i < end) f(i, int(end - i));
}

template <class T>
PYNN_INLINE T* at(void* p, int64_t i) {
  return static_cast<T*>(p) + i;
}
template <class T>
PYNN_INLINE const T* at(const void* p, int64_t i) {
  return static_cast<const T*>(p) + i;
}

template <class T, bool with_momentum>
void sgd_as(const Sgd& p) {
  const T sign = p.maximize ? T(-1) : T(1);
  const bool decays = p.weight_decay != 0;
  const Vec<T> rate = broadcast(T(-*p.lr)), decay = broadcast(T(p.weight_decay)), momentum = broadcast(T(p.momentum)),
               undamped = broadcast(T(1 - p.dampening));
  for_each_piece(p, kSgdCost, with_momentum ? 5 : 3, [&](const SgdParameter& parameter, int64_t begin, int64_t end) {
    for_vectors<T>(begin, end, [&](int64_t i, int n) PYNN_LAMBDA {
      const Vec<T> value = load_some(at<T>(parameter.value, i), n);
      Vec<T> g = sign * load_some(at<T>(parameter.grad, i), n);
      if (decays) g = fma(decay, value, g);
      if constexpr (with_momentum) {
        const Vec<T> m = p.first ? g : fma(momentum, load_some(at<T>(parameter.momentum, i), n), undamped * g);
        store_some(at<T>(parameter.momentum, i), m, n);
        g = p.nesterov ? fma(momentum, m, g) : m;
      }
      store_some(at<T>(parameter.value, i), fma(rate, g, value), n);
    });
  });
}

template <class T>
void sgd_typed(const Sgd& p) {
  return p.momentum != 0 ? sgd_as<T, true>(p) : sgd_as<T, false>(p);
}

Status sgd(const Sgd& p) {
  p.dtype == DType::float64 ? sgd_typed<double>(p) : sgd_typed<float>(p);
  return Status::ok;
}

Status adam_advance(const AdamAdvance& p) {
  p.step[0] += 1;
  p.step[1] = 1 - pow(p.beta1, p.step[0]);
  p.step[2] = ::sqrt(1 - pow(p.beta2, p.step[0]));
  return Status::ok;
}

template <class T>
void adam_typed(const Adam& p) {
  const T sign = p.maximize ? T(-1) : T(1);
  // mean / (sqrt(square) / root + eps) = root * mean / (sqrt(square) + root * eps): one division less, half of the
  // time.
  const double root = p.step[2];
  const Vec<T> rate = broadcast(T(-*p.lr * root / p.step[1])), eps = broadcast(T(root * p.eps));
  const bool decays = p.weight_decay != 0 && !p.decoupled;
  const Vec<T> decay = broadcast(T(p.weight_decay));
  const Vec<T> shrink = broadcast(T(p.decoupled ? 1 - *p.lr * p.weight_decay : 1));
  const Vec<T> part1 = broadcast(T(1 - p.beta1)), keep2 = broadcast(T(p.beta2)), part2 = broadcast(T(1 - p.beta2));
  for_each_piece(p, kAdamCost, 7, [&](const AdamParameter& parameter, int64_t begin, int64_t end) {
    for_vectors<T>(begin, end, [&](int64_t i, int n) PYNN_LAMBDA {
      const Vec<T> value = load_some(at<T>(parameter.value, i), n);
      Vec<T> g = sign * load_some(at<T>(parameter.grad, i), n);
      if (decays) g = fma(decay, value, g);
      const Vec<T> before = load_some(at<T>(parameter.mean, i), n);
      const Vec<T> mean = fma(part1, g - before, before);
      const Vec<T> square = fma(keep2, load_some(at<T>(parameter.square, i), n), part2 * (g * g));
      store_some(at<T>(parameter.mean, i), mean, n);
      store_some(at<T>(parameter.square, i), square, n);
      store_some(at<T>(parameter.value, i), fma(rate, mean / (sqrt(square) + eps), value * shrink), n);
    });
  });
}

Status adam(const Adam& p) {
  p.dtype == DType::float64 ? adam_typed<double>(p) : adam_typed<float>(p);
  return Status::ok;
}

}  // namespace

extern const OptimizerKernels optimizer_kernels;
const OptimizerKernels optimizer_kernels = {sgd, adam_advance, adam};

}  // namespace pynn::PYNN_ISA
