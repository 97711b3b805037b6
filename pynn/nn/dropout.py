"""Dropout layer."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..ops.dropout import checked_probability
from ..tensor import Tensor
from .module import Module


class Dropout(Module):
    """In training each element with probability `p` 0, else multiplied by 1 / (1 - p); in evaluation the identity.

    Any shape, float32 or float64 (Srivastava et al. 2014). ValueError unless 0 <= p <= 1, and for `inplace=True`.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        self.p = checked_probability(p, "Dropout")
        if inplace:
            raise ValueError(f"Dropout: expected inplace=False, since ops make new tensors, got {inplace!r}")
        self.inplace = False

    def forward(self, input: Any) -> Tensor:
        return ops.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
