"""Dropout."""

from __future__ import annotations

from numbers import Real
from typing import Any

from .. import _core, random
from .._core import Array
from ..tensor import Tensor, as_tensor


def checked_probability(p: Any, name: str) -> float:
    value = float(p) if isinstance(p, Real) else -1
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a probability in [0, 1] as p, got {p!r}")
    return value


def dropout(input: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """Each element with probability `p` 0, else multiplied by 1 / (1 - p) (Srivastava et al. 2014).

    `input` of any shape, float32 or float64; itself unless `training`. The random numbers come from a stream of their
    own that `pynn.manual_seed` starts: they depend on the calls of dropout before, not on threads. Elements are
    numbered as they lie in memory. The gradient passes where the element did.

    Raises ValueError unless 0 <= p <= 1, TypeError for other data types.
    """
    x, p = as_tensor(input), checked_probability(p, "dropout")
    if not training or p == 0:
        return x
    y, mask = _core.dropout(x._array, p, random.dropout_generator._array)

    def backward(grad: Array) -> tuple:
        return (_core.dropout_backward(grad, mask, p),)

    return _core.record("dropout", y, (x,), backward)
