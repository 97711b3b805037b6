"""Matrix products."""

from __future__ import annotations

from math import prod
from typing import Any

from .. import _core
from .._core import Array
from ..tensor import Tensor, as_tensor
from .views import sum_to_shape


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
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul: expected at least 1 dimension, got shapes {a.shape} and {b.shape}")
    left = a._array if a.ndim > 1 else _core.reshape(a._array, (1, *a.shape))
    right = b._array if b.ndim > 1 else _core.reshape(b._array, (*b.shape, 1))
    out = _core.gemm(left, right)
    shape = out.shape
    if a.ndim == 1 or b.ndim == 1:
        rows, columns = shape[-2:-1] if a.ndim > 1 else (), shape[-1:] if b.ndim > 1 else ()
        out = _core.reshape(out, (*shape[:-2], *rows, *columns))

    if not _core.is_recorded(a, b):
        return Tensor._wrap(out)

    # Each gradient reads the other operand; nothing is kept for one that nobody wants.
    saved_left = left if b.requires_grad else None
    saved_right = right if a.requires_grad else None
    a_shape, b_shape, left_shape, right_shape = a.shape, b.shape, left.shape, right.shape

    def backward(grad: Array) -> tuple[Array | None, Array | None]:
        grad = _reshape(grad, shape)
        da = db = None
        if saved_right is not None:
            da = sum_to_shape(_core.gemm(grad, saved_right, transpose_b=True), left_shape)
            da = _reshape(da, a_shape)
        if saved_left is not None:
            x = saved_left
            if len(right_shape) == 2 and x.ndim > 2:  # one matrix for the whole batch: all its rows in one product
                x = _reshape(x, (prod(left_shape[:-1]), left_shape[-1]))
                grad = _reshape(grad, (prod(shape[:-1]), shape[-1]))
            db = sum_to_shape(_core.gemm(x, grad, transpose_a=True), right_shape)
            db = _reshape(db, b_shape)
        return da, db

    return _core.record("matmul", out, (a, b), backward, (saved_left, saved_right))


def _reshape(array: Array, shape: tuple[int, ...]) -> Array:
    return array if array.shape == shape else _core.reshape(array, shape)
