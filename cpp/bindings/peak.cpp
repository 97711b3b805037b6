// The roofs that benchmarks compare kernels with.
#include "ops/peak.h"

#include "bindings/families.h"
#include "dispatch.h"
#include "runtime/team.h"

namespace pynn {
namespace {

double fma_peak(int64_t rounds) {
  if (rounds < 1 || rounds > int64_t(1) << 32)
    fail("peak_fma: expected 1 to 2^32 rounds, got " + std::to_string(rounds));
  const int64_t threads = num_threads();
  ArrayRef out = new_array(DType::float32, {threads});
  PeakFma params{rounds, threads, 0.5f, out->as<float>()};
  run(kernels().peak.fma, params, double(rounds));
  return double(rounds) * double(threads) * double(kernels().peak.flops_per_round);
}

void copy_peak(const ArrayRef& x, const ArrayRef& y) {
  check_same_shape(*x, *y, "peak_copy", "source and target");
  if (x->dtype != DType::float32 || y->dtype != DType::float32) fail_type("peak_copy: expected float32 arrays");
  if (!x->contiguous || !y->contiguous) fail("peak_copy: expected contiguous arrays");
  mark_written(*y);
  PeakCopy params{x->size, x->as<float>(), y->as<float>()};
  run(kernels().peak.copy, params, 0.2 * double(x->size));
}

}  // namespace

void bind_peak(py::module_& m) {
  m.def("peak_fma", fma_peak,
        "Runs multiply-adds in registers on every thread; gives the floating-point operations done.");
  m.def("peak_copy", copy_peak, "Copies contiguous float32 memory on every thread.");
}

}  // namespace pynn
