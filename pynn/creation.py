"""Tensors of given sizes."""

from __future__ import annotations

import operator
from typing import Any

from . import _core
from .tensor import Tensor, as_tensor, bool_, float32, int64


def _shape(size: tuple) -> tuple[int, ...]:
    sizes = size[0] if len(size) == 1 and isinstance(size[0], tuple | list) else size
    try:
        return tuple([operator.index(n) for n in sizes])
    except TypeError:
        raise TypeError(f"expected whole numbers as sizes, got {tuple(sizes)}") from None


def full(size: tuple[int, ...], fill_value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one value; the dtype is that of the value (float32 for Python floats) unless given."""
    if dtype is None:
        dtype = bool_ if isinstance(fill_value, bool) else int64 if isinstance(fill_value, int) else float32
    out = Tensor._wrap(_core.full(_shape((size,)), fill_value, dtype))
    return out.requires_grad_() if requires_grad else out


def zeros(*size: Any, dtype: Any = float32, requires_grad: bool = False) -> Tensor:
    """Zeros of the given sizes."""
    return full(_shape(size), 0, dtype, requires_grad)


def ones(*size: Any, dtype: Any = float32, requires_grad: bool = False) -> Tensor:
    """Ones of the given sizes."""
    return full(_shape(size), 1, dtype, requires_grad)


def empty(*size: Any, dtype: Any = float32, requires_grad: bool = False) -> Tensor:
    """Uninitialised memory of the given sizes."""
    out = Tensor._wrap(_core.empty(_shape(size), dtype))
    return out.requires_grad_() if requires_grad else out


def full_like(input: Any, fill_value: Any) -> Tensor:
    """One value in the shape, dtype and memory order of `input`."""
    return Tensor._wrap(_core.full_like(as_tensor(input)._array, fill_value))


def zeros_like(input: Any) -> Tensor:
    """Zeros in the shape, dtype and memory order of `input`."""
    return full_like(input, 0)


def ones_like(input: Any) -> Tensor:
    """Ones in the shape, dtype and memory order of `input`."""
    return full_like(input, 1)
