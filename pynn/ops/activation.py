"""Element-wise activations."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..tensor import Tensor, as_tensor
from .elementwise import ge


def _activation(input: Any, kind: str) -> Tensor:
    x = as_tensor(input)
    y = _core.activation(x._array, kind)
    return _core.record(kind, y, (x,), lambda grad: (grad,), (y,), kind)


def sigmoid(input: Any) -> Tensor:
    """1 / (1 + exp(-x)), element by element. float32 or float64, any shape; within 2.4 ulp in float32."""
    return _activation(input, "sigmoid")


def tanh(input: Any) -> Tensor:
    """Hyperbolic tangent, element by element. float32 or float64, any shape; within 5 ulp in float32."""
    return _activation(input, "tanh")


def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(x, 0), element by element; NaN stays NaN. The gradient at 0 is 0. (Nair and Hinton 2010.)

    With `inplace`, which PyTorch has, the result is a new tensor as well.
    """
    return _activation(input, "relu")


def step(input: Any) -> Tensor:
    """1 where x >= 0, else 0, in the input's dtype: the threshold of a McCulloch-Pitts neuron. The gradient is 0."""
    x = as_tensor(input)
    y = _core.cast(ge(x.detach(), 0)._array, x.dtype)
    return _core.record("step", y, (x,), lambda grad: (_core.full_like(grad, 0),))
