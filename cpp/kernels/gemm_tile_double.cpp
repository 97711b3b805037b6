#include "kernels/gemm_tile_instances.h"

namespace pynn::PYNN_ISA {

constinit const Tiles<double> tiles_double = all_tiles<double>();
template void activate_tile<double>(int64_t, int64_t, double*, int64_t, Activation);

}  // namespace pynn::PYNN_ISA
