"""Parameters: the leaves that an optimiser changes."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor, as_tensor


class Parameter(Tensor):
    """A tensor that a Module finds among its attributes and an optimiser updates.

    `data` is taken over without a copy where it is a tensor.
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        self._array = as_tensor(data)._array
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()
