"""Softmax and its logarithm along an axis."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..tensor import Tensor, as_tensor


def softmax(input: Any, dim: int) -> Tensor:
    """exp(x) / sum(exp(x)) along the axis `dim`, after subtracting the largest x: no input overflows.

    float32 or float64, any shape; a slice that holds NaN or +inf, or nothing but -inf, gives NaN. TypeError for other
    dtypes, IndexError for a `dim` out of range. (Bridle 1990.)
    """
    x = as_tensor(input)
    y = _core.softmax(x._array, dim)
    return _core.record("softmax", y, (x,), lambda grad: (_core.softmax_backward(grad, y, dim),), (y,))


def log_softmax(input: Any, dim: int) -> Tensor:
    """log(softmax(input, dim)), without the loss of digits of taking the logarithm afterwards; arguments as there."""
    x = as_tensor(input)
    y = _core.log_softmax(x._array, dim)
    return _core.record("log_softmax", y, (x,), lambda grad: (_core.log_softmax_backward(grad, y, dim),), (y,))
