#include "kernels/gemm_tile_instances.h"

namespace pynn::PYNN_ISA {

constinit const Tiles<float> tiles_float = all_tiles<float>();
template void activate_tile<float>(int64_t, int64_t, float*, int64_t, Activation);

}  // namespace pynn::PYNN_ISA
