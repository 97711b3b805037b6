"""Other shapes, orders, dtypes and parts of a tensor. Views share memory where they can."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from ..tensor import Tensor, as_tensor
from .gather import gather_rows


def _dims(args: tuple) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` mean the same."""
    values = args[0] if len(args) == 1 and isinstance(args[0], Sequence) else args
    try:
        return tuple([operator.index(v) for v in values])
    except TypeError:
        raise TypeError(f"expected whole numbers as sizes or dimensions, got {tuple(values)}") from None


def _axis(dim: int, ndim: int, op: str) -> int:
    try:
        dim = operator.index(dim)
    except TypeError:
        raise TypeError(f"{op}: expected a whole number as dim, got {dim!r}") from None
    if not -max(ndim, 1) <= dim < max(ndim, 1):
        raise IndexError(f"{op}: dim {dim} is out of range for {ndim} dimensions")
    return dim % max(ndim, 1)


def reshape(input: Any, *shape: int | Sequence[int]) -> Tensor:
    """The elements in C order under another shape; one size may be -1. A view of an input in C order, else a copy.

    Raises ValueError where the number of elements differs.
    """
    return _reshaped(as_tensor(input), _dims(shape))


def _reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    before = x.shape
    y = _core.reshape(x._array, shape)
    return _core.record("reshape", y, (x,), lambda grad: (_core.reshape(grad, before),))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions `start_dim` to `end_dim` (inclusive) as one."""
    x = as_tensor(input)
    shape = x.shape or (1,)
    start, end = _axis(start_dim, len(shape), "flatten"), _axis(end_dim, len(shape), "flatten")
    if start > end:
        raise ValueError(f"flatten: expected start_dim <= end_dim, got {start_dim} and {end_dim}")
    return _reshaped(x, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def permute(input: Any, *dims: int | Sequence[int]) -> Tensor:
    """A view with the dimensions in another order."""
    x = as_tensor(input)
    order = [_axis(d, x.ndim, "permute") for d in _dims(dims)]
    y = _core.permute(x._array, order)
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return _core.record("permute", y, (x,), lambda grad: (_core.permute(grad, inverse),))


def transpose(input: Any, dim0: int, dim1: int) -> Tensor:
    """A view with two dimensions swapped."""
    x = as_tensor(input)
    order = list(range(x.ndim))
    a, b = _axis(dim0, x.ndim, "transpose"), _axis(dim1, x.ndim, "transpose")
    if x.ndim:
        order[a], order[b] = b, a
    return permute(x, order)


def squeeze(input: Any, dim: int | None = None) -> Tensor:
    """Without the dimensions of size 1: all of them, or `dim` alone where its size is 1."""
    x = as_tensor(input)
    only = None if dim is None else _axis(dim, x.ndim, "squeeze")
    return reshape(x, [s for i, s in enumerate(x.shape) if s != 1 or (only is not None and i != only)])


def unsqueeze(input: Any, dim: int) -> Tensor:
    """With a new dimension of size 1 at `dim`."""
    x = as_tensor(input)
    at = _axis(dim, x.ndim + 1, "unsqueeze")
    return index(x, (*[slice(None)] * at, None))


def expand(input: Any, *shape: int | Sequence[int]) -> Tensor:
    """A view broadcast to `shape`; -1 keeps a size. ValueError where the shapes do not broadcast."""
    x = as_tensor(input)
    before = x.shape
    y = _core.expand(x._array, _dims(shape))
    return _core.record("expand", y, (x,), lambda grad: (sum_to_shape(grad, before),))


def index(input: Any, key: Any) -> Tensor:
    """Basic indexing, a view: integers, slices, None and `...`; or the rows that a vector of integers names, a copy.

    Such rows have no gradient (see `gather_rows`). TypeError for masks and for vectors among several indices.
    """
    x = as_tensor(input)
    try:
        y = _core.index(x._array, key)
    except TypeError:  # asked last: most keys are basic, and an op is called often
        if not isinstance(key, Tensor | np.ndarray | list):
            raise
        return _rows(x, as_tensor(key))
    like = x._array

    def backward(grad: Any) -> tuple:
        whole = _core.full_like(like, 0)
        _core.copy_(_core.index(whole, key), grad)
        return (whole,)

    return _core.record("index", y, (x,), backward)


def _rows(x: Tensor, numbers: Tensor) -> Tensor:
    if numbers.dtype.kind != "i" or numbers.ndim != 1:
        raise TypeError(
            "index: expected integers, slices, None, ... or one vector of integers, "
            f"got an array of {numbers.dtype.name} and shape {numbers.shape}"
        ) from None
    return gather_rows(x, numbers.long())


def clone(input: Any) -> Tensor:
    """A copy with its own memory, in the same order of axes."""
    x = as_tensor(input)
    return _core.record("clone", _core.copy(x._array), (x,), lambda grad: (grad,))


def contiguous(input: Any) -> Tensor:
    """The tensor in C order: itself where it is already, else a copy."""
    x = as_tensor(input)
    if x._array.contiguous:
        return x
    return _core.record("contiguous", _core.contiguous(x._array), (x,), lambda grad: (grad,))


def cast(input: Any, dtype: Any) -> Tensor:
    """The values as another dtype; itself where it has that dtype. Float to integer truncates."""
    x = as_tensor(input)
    before = x.dtype
    y = _core.cast(x._array, dtype)
    if y is x._array:
        return x
    if y.dtype.kind != "f":
        return Tensor._wrap(y)
    return _core.record("cast", y, (x,), lambda grad: (_core.cast(grad, before),))


def sum_to_shape(grad: Any, shape: tuple[int, ...]) -> Any:
    """An array summed over the dimensions along which `shape` was broadcast: the gradient of broadcasting."""
    if grad.shape == shape:
        return grad
    extra = grad.ndim - len(shape)
    axes = [*range(extra), *(i + extra for i, s in enumerate(shape) if s == 1 and grad.shape[i + extra] != 1)]
    summed = _core.sum(grad, tuple(axes), True) if axes else grad
    return _core.reshape(summed, shape)
