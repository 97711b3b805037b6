// One line per op: X(file name, type of its kernel table). CMake compiles kernels/<name>.cpp once per instruction
// set, dispatch.h gives every instruction set a table with these members, and nothing else is registered anywhere.
#pragma once

// clang-format off
#define PYNN_OP_LIST(X)              \
  X(activation, ActivationKernels)   \
  X(conv2d, Conv2dKernels)           \
  X(copy, CopyKernels)               \
  X(dropout, DropoutKernels)         \
  X(elementwise, ElementwiseKernels) \
  X(gather, GatherKernels)           \
  X(gemm, GemmKernels)               \
  X(loss, LossKernels)               \
  X(optimizer, OptimizerKernels)     \
  X(peak, PeakKernels)               \
  X(pool2d, Pool2dKernels)           \
  X(random, RandomKernels)           \
  X(reduce, ReduceKernels)           \
  X(softmax, SoftmaxKernels)
// clang-format on
