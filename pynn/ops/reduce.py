"""Sums, means and extrema over dimensions."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import _core
from ..tensor import Tensor, as_tensor

Dims = int | Sequence[int] | None


class ValuesIndices(NamedTuple):
    """What `max` and `min` over a dimension give."""

    values: Tensor
    indices: Tensor


def _axes(dim: Dims, ndim: int) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, int):
        return (dim,)
    try:
        return tuple([operator.index(d) for d in (dim if isinstance(dim, Sequence) else (dim,))])
    except TypeError:
        raise TypeError(f"expected whole numbers as dim, got {dim!r}") from None


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` with 1 in place of the reduced sizes, which broadcasts against it."""
    reduced = {a % len(shape) for a in axes} if shape else ()
    return tuple([1 if i in reduced else s for i, s in enumerate(shape)])


def _spread(grad: Any, shape: tuple[int, ...], kept: tuple[int, ...]) -> Any:
    return _core.expand(_core.reshape(grad, kept), shape)


def sum(input: Any, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The sum over `dim` (an int, several, or None for all).

    Integers and bool give int64. Floats are summed in 16 lanes over blocks of 512 terms, the blocks as a pairwise tree
    (Higham 2002, section 4.2), with the same bits for any memory layout and number of threads. No elements give 0.
    IndexError where a dim is out of range, ValueError where one appears twice.
    """
    x = as_tensor(input)
    shape = x.shape
    axes = _axes(dim, len(shape))
    y = _core.sum(x._array, axes, keepdim)
    if not x.requires_grad:
        return Tensor._wrap(y)
    kept = _kept(shape, axes)
    return _core.record("sum", y, (x,), lambda grad: (_spread(grad, shape, kept),))


def mean(input: Any, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The sum over `dim` divided by the number of terms; NaN where there are none. TypeError for integers."""
    x = as_tensor(input)
    shape = x.shape
    axes = _axes(dim, len(shape))
    y = _core.mean(x._array, axes, keepdim)
    if not x.requires_grad:
        return Tensor._wrap(y)
    kept = _kept(shape, axes)
    count = math.prod(shape) // builtins.max(1, math.prod(kept))
    return _core.record("mean", y, (x,), lambda grad: (_spread(_core.div(grad, count), shape, kept),))


def _amax(name: str, kernel: Any, input: Any, dim: Dims, keepdim: bool) -> Tensor:
    x = as_tensor(input)
    a, shape = x._array, x.shape
    axes = _axes(dim, len(shape))
    y = kernel(a, axes, keepdim)
    if not x.requires_grad:
        return Tensor._wrap(y)
    kept = _kept(shape, axes)

    def backward(grad: Any) -> tuple:
        ties = _core.cast(_core.eq(a, _core.reshape(y, kept)), a.dtype)
        share = _core.div(_core.reshape(grad, kept), _core.sum(ties, axes, True))
        return (_core.mul(ties, share),)

    return _core.record(name, y, (x,), backward, (a, y))


def amax(input: Any, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The largest value over `dim` (an int, several, or None for all); NaN where there is one.

    The gradient is shared evenly among equal largest values. ValueError where there are no elements.
    """
    return _amax("amax", _core.max, input, dim, keepdim)


def amin(input: Any, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The smallest value over `dim`; otherwise as `amax`."""
    return _amax("amin", _core.min, input, dim, keepdim)


def _with_index(name: str, kernel: Any, input: Any, dim: int, keepdim: bool) -> ValuesIndices:
    x = as_tensor(input)
    y, index = kernel(x._array, dim, keepdim)
    shape = x.shape

    def backward(grad: Any) -> tuple:
        return (_core.extremum_backward(grad, index, shape, dim),)

    return ValuesIndices(_core.record(name, y, (x,), backward, (index,)), Tensor._wrap(index))


def max(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Over `dim`: (values, indices), where the first of equal values wins and gets the gradient. Without: as `amax`.

    NaN counts as the largest. ValueError where there are no elements.
    """
    if dim is None:
        return amax(input, None, keepdim)
    return _with_index("max", _core.max_with_index, input, dim, keepdim)


def min(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Over `dim`: (values, indices), where the first of equal values wins and gets the gradient. Without: as `amin`.

    NaN counts as the smallest. ValueError where there are no elements.
    """
    if dim is None:
        return amin(input, None, keepdim)
    return _with_index("min", _core.min_with_index, input, dim, keepdim)


def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The first place of the largest value along `dim` (None: in C order over all), as int64; NaN is the largest."""
    x = as_tensor(input)
    return Tensor._wrap(_core.argmax(x._array, _axes(dim, x.ndim), keepdim))


def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The first place of the smallest value along `dim` (None: in C order over all), as int64; NaN is the smallest."""
    x = as_tensor(input)
    return Tensor._wrap(_core.argmin(x._array, _axes(dim, x.ndim), keepdim))
