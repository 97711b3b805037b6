"""Matrix products."""

from __future__ import annotations

from math import prod
from typing import Any

from .. import _core
from .._core import Array
from ..tensor import Tensor, as_tensor
from .views import reshape, sum_to_shape


def matmul(input: Any, other: Any) -> Tensor:
    """The matrix product over the last two axes, `input @ other`.

    Two vectors give their dot product. A vector on the left is a row, on the right a column, and its axis of size 1
    does not appear in the result. The axes before the last two are a batch and broadcast. Any strides are accepted; a
    transposed view costs no copy. Every element of the result is one chain of fused multiply-adds in index order:
    the same bits at any number of threads, and for a row alone as for that row of a larger product.

    Raises ValueError where the inner sizes differ, the batch does not broadcast or an operand is 0-d; TypeError unless
    both are float32 or both float64.
    """
    a, b = as_tensor(input), as_tensor(other)
    left, right = a._array, b._array
    if left.ndim < 2 or right.ndim < 2:
        return _with_vectors(a, b)
    return _core.wrap_or_record(_record_matmul, _core.matmul(left, right, False, False), a, b)


def _with_vectors(a: Tensor, b: Tensor) -> Tensor:
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul: expected at least 1 dimension, got shapes {a.shape} and {b.shape}")
    left = a if a.ndim > 1 else reshape(a, (1, *a.shape))
    right = b if b.ndim > 1 else reshape(b, (*b.shape, 1))
    out = matmul(left, right)
    rows, columns = out.shape[-2:-1] if a.ndim > 1 else (), out.shape[-1:] if b.ndim > 1 else ()
    return reshape(out, (*out.shape[:-2], *rows, *columns))


def _record_matmul(out: Array, a: Tensor, b: Tensor) -> Tensor:
    # Each gradient reads the other operand; nothing is kept for one that nobody wants.
    left = a._array if b.requires_grad else None
    right = b._array if a.requires_grad else None
    a_shape, b_shape = a.shape, b.shape

    def backward(grad: Array) -> tuple[Array | None, Array | None]:
        da = db = None
        if right is not None:
            da = sum_to_shape(_core.matmul(grad, right, False, True), a_shape)
        if left is not None:
            x = left
            if len(b_shape) == 2 and x.ndim > 2:  # one matrix for the whole batch: all its rows in one product
                x = _core.reshape(x, (prod(a_shape[:-1]), a_shape[-1]))
                grad = _core.reshape(grad, (prod(grad.shape[:-1]), grad.shape[-1]))
            db = sum_to_shape(_core.matmul(x, grad, True, False), b_shape)
        return da, db

    return _core.record("matmul", out, (a, b), backward, (left, right))
