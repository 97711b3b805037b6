"""Gradients kept within bounds."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any

from .. import _core
from ..autograd import check_gradients
from ..tensor import Tensor, float32


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients, in place, by min(1, max_norm / (norm + 1e-6)); returns the norm before, a 0-d tensor.

    The norm is that of all gradients together, as of one vector: (Σ |g|^p)^(1/p) with p = `norm_type` > 0, the largest
    |g| for infinity. Parameters without a gradient take no part; without any the norm is 0. A norm that is NaN or
    infinite makes gradients NaN or 0, as in PyTorch, or is a RuntimeError with `error_if_nonfinite`. ValueError for
    options out of range. (Pascanu, Mikolov, Bengio 2013.)
    """
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: expected norm_type > 0, got {norm_type}")
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: expected max_norm >= 0, got {max_norm}")
    gradients = _gradients("clip_grad_norm_", parameters)
    if not gradients:
        return Tensor._wrap(_core.full((), 0, float32))
    together = _core.maximum if norm_type == math.inf else _core.add
    norm = functools.reduce(together, [_power_sum(gradient, norm_type) for gradient in gradients])
    if norm_type == 2:
        norm = _core.sqrt(norm)
    elif norm_type not in (1, math.inf):
        norm = _core.pow(norm, 1 / norm_type)
    if error_if_nonfinite and not math.isfinite(_core.item(norm)):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {_core.item(norm)}")
    factor = _core.minimum(_core.div(float(max_norm), _core.add(norm, 1e-6)), 1.0)
    for gradient in gradients:
        _core.mul_(gradient, _core.expand(_core.cast(factor, gradient.dtype), gradient.shape))
    return Tensor._wrap(norm)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bring every element of the gradients into [-clip_value, clip_value], in place; NaN stays NaN.

    ValueError for a negative `clip_value`.
    """
    bound = float(clip_value)
    if not bound >= 0:
        raise ValueError(f"clip_grad_value_: expected clip_value >= 0, got {clip_value}")
    for gradient in _gradients("clip_grad_value_", parameters):
        _core.copy_(gradient, _core.maximum(_core.minimum(gradient, bound), -bound))


def _gradients(what: str, parameters: Tensor | Iterable[Tensor]) -> list[Any]:
    chosen = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    check_gradients(what, chosen)
    return [p.grad._array for p in chosen if p.grad is not None]


def _power_sum(gradient: Any, p: float) -> Any:
    """Σ |g|^p, or max |g|, as an array of one element."""
    axes = tuple(range(gradient.ndim))
    if p == 2:
        return _core.sum(_core.mul(gradient, gradient), axes, False)
    size = _core.abs(gradient)
    if p == math.inf:
        return _core.max(size, axes, False) if gradient.size else _core.full((), 0, gradient.dtype)
    return _core.sum(size if p == 1 else _core.pow(size, p), axes, False)
