// The FMA peak and the copy bandwidth of this machine.
#include "ops/peak.h"

#include "simd/parallel.h"

namespace pynn::PYNN_ISA {
namespace {

constexpr int kChains = 12;  // covers 4 cycles of latency on 2 units and leaves registers free, also with only 16

float fma_chains(int64_t rounds, float factor) {
  const Vec<float> f = broadcast(factor);
  Vec<float> chain[kChains];
  PYNN_UNROLL
  for (int i = 0; i < kChains; i++) chain[i] = broadcast(float(i));
  for (int64_t r = 0; r < rounds; r++) {
    PYNN_UNROLL
    for (int i = 0; i < kChains; i++) chain[i] = fma(chain[i], f, f);
  }
  Vec<float> sum{};
  PYNN_UNROLL
  for (int i = 0; i < kChains; i++) sum += chain[i];
  return sum[0];
}

Status fma_peak(const PeakFma& p) {
  const double nanoseconds = double(p.rounds) * kChains;  // far above the cost of a wake, so every thread gets a task
  parallel_tasks(p.threads, nanoseconds * double(p.threads),
                 [&](int64_t task) { p.out[task] = fma_chains(p.rounds, p.factor); });
  return Status::ok;
}

Status copy_peak(const PeakCopy& p) {
  parallel_ranges(p.n, 4096, 0.2, [&](int64_t begin, int64_t end) {
    map_range<float>(
        begin, end, [](Vec<float> v) PYNN_LAMBDA { return v; }, p.y, p.x);
  });
  return Status::ok;
}

}  // namespace

extern const PeakKernels peak_kernels;
const PeakKernels peak_kernels = {fma_peak, copy_peak, 2 * kChains* lanes<float>};

}  // namespace pynn::PYNN_ISA
