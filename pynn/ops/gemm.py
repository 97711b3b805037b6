"""Matrix products."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._core import Array
from ..tensor import Tensor, as_tensor, record


def matmul(input: Any, other: Any) -> Tensor:
    """The matrix product over the last two axes, as `input @ other`.

    Two vectors give their dot product. A vector on the left is a row, on the right a column, and its axis of size 1 does
    not appear in the result. The axes before the last two are a batch and broadcast. Any strides are accepted; a
    transposed view costs no copy. Every element of the result is one chain of fused multiply-adds in index order: the
    same bits at any number of threads and for any rows of a larger product.

    Raises ValueError where the inner sizes differ, the batch does not broadcast or an operand is 0-d; TypeError unless
    both are float32 or both float64.
    """
    a, b = as_tensor(input), as_tensor(other)
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul: expected at least 1 dimension, got shapes {a.shape} and {b.shape}")
    left = a._array if a.ndim > 1 else _core.reshape(a._array, (1, -1) if a.shape[0] else (1, 0))
    right = b._array if b.ndim > 1 else _core.reshape(b._array, (-1, 1) if b.shape[0] else (0, 1))
    product = _core.gemm(left, right)
    batch, rows, columns = product.shape[:-2], product.shape[-2:-1], product.shape[-1:]
    matrix_shape = product.shape
    shape = batch + (rows if a.ndim > 1 else ()) + (columns if b.ndim > 1 else ())

    def backward(grad: Array) -> tuple[Array | None, Array | None]:
        grad = _core.reshape(grad, matrix_shape)
        da = db = None
        if a.requires_grad:
            da = _core.reshape(_sum_to(_core.gemm(grad, right, transpose_b=True), left.shape), a.shape)
        if b.requires_grad:
            db = _core.reshape(_sum_to(_core.gemm(left, grad, transpose_a=True), right.shape), b.shape)
        return da, db

    ...


