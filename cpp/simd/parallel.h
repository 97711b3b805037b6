// Loops for kernels: over tasks on the team, over a contiguous range in vectors.
#pragma once
#include "runtime/team.h"
#include "simd/vec.h"

namespace pynn::PYNN_ISA {

PYNN_INLINE constexpr int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
PYNN_INLINE constexpr int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
PYNN_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// body(task) for every task in [0, tasks); cost_ns estimates all of them together on one thread.
template <class Body>
PYNN_INLINE void parallel_tasks(int64_t tasks, double cost_ns, const Body& body) {
  run_tasks(
      tasks, cost_ns, [](void* context, int64_t task) { (*static_cast<const Body*>(context))(task); },
      const_cast<Body*>(&body));
}

// The estimate an item of n: `ns` for its arithmetic, or its way through memory at 25 GB/s where all of them are more
// than fits a second cache.
PYNN_INLINE double item_cost(double ns, int64_t n, double bytes) {
  const double memory = 0.04 * bytes;
  return double(n) * bytes > double(1 << 20) && memory > ns ? memory : ns;
}

// body(begin, end) over ranges of [0, n) whose inner cuts are multiples of `grain`.
template <class Body>
PYNN_INLINE void parallel_ranges(int64_t n, int64_t grain, double ns_per_item, const Body& body) {
  const double cost_ns = ns_per_item * double(n);
  const int threads = plan_threads(cost_ns);
  if (threads == 1 || n <= grain) {
    body(int64_t(0), n);
    return;
  }
  // Four pieces a thread, so that one that is descheduled holds up a quarter of its share.
  const int64_t piece = ceil_div(ceil_div(n, int64_t(threads) * 4), grain) * grain;
  parallel_tasks(ceil_div(n, piece), cost_ns, [&](int64_t t) { body(t * piece, min_of(n, (t + 1) * piece)); });
}

// y[i] = f(x[i]...) over contiguous operands of one type, two vectors at a time, then the masked tail.
template <class T, class F, class... X>
PYNN_INLINE void map_range(int64_t begin, int64_t end, const F& f, T* y, const X*... x) {
  constexpr int L = lanes<T>;
  int64_t i = begin;
  for (; i + 2 * L <= end; i += 2 * L) {
    const Vec<T> u = f(load(x + i)...), v = f(load(x + i + L)...);
    store(y + i, u);
    store(y + i + L, v);
  }
  for (; i < end; i += L) {
    const int n = int(min_of(L, end - i));
    store(y + i, f(load(x + i, n)...), n);
  }
}

}  // namespace pynn::PYNN_ISA
