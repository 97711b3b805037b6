"""The affine map of a fully connected layer."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._core import Array
from ..tensor import Tensor, as_tensor


def linear(input: Any, weight: Any, bias: Any = None, activation: str = "none") -> Tensor:
    """activation(x W^T + b): `input` (..., in), `weight` (out, in), `bias` (out,), the result (..., out).

    `activation` ("none", "sigmoid", "tanh", "relu") is applied in the same pass, with the bits of the op called
    alone. A weight that is (in, out) in memory, as a transposed view, is the fastest; its gradient has the same
    strides.

    Raises ValueError where shapes do not fit or the activation is unknown; TypeError unless all are float32 or all
    float64.
    """
    x, w, b = as_tensor(input), as_tensor(weight), None if bias is None else as_tensor(bias)
    matrix = w._array
    y = _core.linear(x._array, matrix, None if b is None else b._array, activation)
    if not _core.is_recorded(x, w, b):
        return Tensor._wrap(y)

    # Each gradient reads the other operand; nothing is kept for one that nobody wants.
    wants = x.requires_grad, w.requires_grad, b is not None and b.requires_grad
    rows = x._array if wants[1] else None
    output = y if activation != "none" else None

    def backward(grad: Array) -> tuple[Array | None, Array | None, Array | None]:
        return _core.linear_backward(grad, rows, matrix, output, activation, *wants)

    return _core.record("linear", y, (x, w, b), backward, (rows, matrix if wants[0] else None, output))
