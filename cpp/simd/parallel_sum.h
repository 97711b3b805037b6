// A sum on the team whose bits depend on the number of terms only.
#pragma once
#include "runtime/types.h"
#include "runtime/workspace.h"
#include "simd/lanes.h"
#include "simd/parallel.h"

namespace pynn::PYNN_ISA {

// term(i, n) as for sum_range. Each task sums a run of 32 blocks; the caller adds the runs up, pairwise.
template <class T, class Term>
PYNN_INLINE Status parallel_sum(int64_t n, double ns_per_term, const Term& term, T* sum) {
  constexpr int64_t kRun = 32 * kBlockTerms;
  // Compiled once for both calls: some terms are long.
  const auto run = [&term](int64_t begin, int64_t end) __attribute__((noinline)) {
    return sum_range<T>(begin, end, term);
  };
  if (n <= kRun) {
    *sum = run(0, n);
    return Status::ok;
  }
  const int64_t runs = ceil_div(n, kRun);
  T* partial = static_cast<T*>(scratch(Scratch::partial, size_t(runs) * sizeof(T)));
  if (!partial) return Status::out_of_memory;
  parallel_tasks(runs, ns_per_term * double(n),
                 [=](int64_t r) { partial[r] = run(r * kRun, min_of(n, (r + 1) * kRun)); });
  PairwiseSum<T> tree;
  for (int64_t r = 0; r < runs; r++) tree.add(partial[r]);
  *sum = tree.total();
  return Status::ok;
}

}  // namespace pynn::PYNN_ISA
