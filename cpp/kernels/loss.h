// The kernels of the losses, which loss.cpp (element by element) and loss_classes.cpp (row by row) share a table for.
#pragma once
#include "ops/loss.h"

namespace pynn::PYNN_ISA {

Status cross_entropy_forward(const CrossEntropyForward& p);
Status cross_entropy_backward(const CrossEntropyBackward& p);
Status nll_forward(const NllForward& p);
Status nll_backward(const NllBackward& p);

}  // namespace pynn::PYNN_ISA
