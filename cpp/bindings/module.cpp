// The entry of pynn._core: a list of families.
#include <pybind11/stl.h>

#include "bindings/families.h"
#include "dispatch.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled core of pynn.";
  pynn::choose_isa();
  m.def("isa_name", [] { return pynn::isa_name(); });
  m.def("supported_isas", &pynn::supported_isas);
  m.def("use_isa", &pynn::use_isa, "Switches the kernels of the whole process, for tests and benchmarks.");
  pynn::bind_array(m);
  pynn::bind_activation(m);
  pynn::bind_conv2d(m);
  pynn::bind_dlpack(m);
  pynn::bind_dropout(m);
  pynn::bind_elementwise(m);
  pynn::bind_gather(m);
  pynn::bind_gemm(m);
  pynn::bind_linear(m);
  pynn::bind_loss(m);
  pynn::bind_optimizer(m);
  pynn::bind_peak(m);
  pynn::bind_pool2d(m);
  pynn::bind_program(m);
  pynn::bind_random(m);
  pynn::bind_reduce(m);
  pynn::bind_runtime(m);
  pynn::bind_softmax(m);
  pynn::bind_tensor(m);
  pynn::bind_tape(m);
  pynn::bind_views(m);
}
