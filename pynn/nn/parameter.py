"""Parameters: the leaves that an optimiser changes, and the memory that they start from."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import _core
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


class _Loading(threading.local):
    numbers: int | None = None  # that layers may still allocate; None where no file is being loaded


_loading = _Loading()


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """Uninitialised memory for a layer's parameter: an Array in C order. Every layer takes its memory here."""
    if _loading.numbers is not None:
        _loading.numbers -= math.prod(shape)
        if _loading.numbers < 0:
            raise ValueError(f"a parameter of sizes {shape} is more than there are weights")
    return _core.empty(shape, dtype)


def is_loading() -> bool:
    """Whether initial values need not be drawn, because those of a file will replace them."""
    return _loading.numbers is not None


@contextmanager
def loading(numbers: int) -> Iterator[None]:
    """Layers built in this block, on this thread, have at most so many numbers in all, without initial values.

    So a file cannot ask for more memory than its own weights take, and loading draws no random numbers.
    """
    before, _loading.numbers = _loading.numbers, numbers
    try:
        yield
    finally:
        _loading.numbers = before
