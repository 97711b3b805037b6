#include "kernels/gemm_tile_instances.h"

namespace pynn::PYNN_ISA {

constinit const Tiles<float> tiles_float = all_tiles<float>();
template void finish<float>(int64_t, int64_t, float*, int64_t, const float*, int64_t, Activation);

}  // namespace pynn::PYNN_ISA
