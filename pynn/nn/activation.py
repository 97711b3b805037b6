"""Activations as layers."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import ops
from ..tensor import Tensor
from .module import Module


class Activation(Module):
    """An element-wise activation that a kernel can apply to its own output; `kind` is its name there."""

    kind: ClassVar[str]

    def forward(self, input: Any) -> Tensor:
        return getattr(ops, self.kind)(input)


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    kind = "sigmoid"


class Tanh(Activation):
    """Hyperbolic tangent."""

    kind = "tanh"


class ReLU(Activation):
    """max(x, 0). `inplace` is accepted, as PyTorch has it, and changes nothing."""

    kind = "relu"

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = bool(inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class Softmax(Module):
    """exp(x) / Σ exp(x) along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, input: Any) -> Tensor:
        return ops.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """log(exp(x) / Σ exp(x)) along `dim`."""

    def forward(self, input: Any) -> Tensor:
        return ops.log_softmax(input, self.dim)
