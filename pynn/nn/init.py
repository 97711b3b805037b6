"""Initial values of parameters, in place, under PyTorch's names. All return their tensor and take a `generator`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from .. import random
from ..autograd import no_grad
from ..tensor import Tensor
from .parameter import Parameter, is_loading

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a nonlinearity; `param` is the slope of leaky_relu (0.01)."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"calculate_gain: expected one of {[*_GAINS, 'leaky_relu']}, got {nonlinearity!r}")
    return _GAINS[nonlinearity]


def _initializer(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Under no_grad; a parameter whose values come from a file is left as it is."""

    @functools.wraps(function)
    def wrapper(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if isinstance(tensor, Parameter) and is_loading():
            return tensor
        with no_grad():
            return function(tensor, *args, **kwargs)

    return wrapper


def _fans(tensor: Tensor, op: str) -> tuple[int, int]:
    """Inputs and outputs of one unit; weights are (out, in, kernel…)."""
    if tensor.ndim < 2:
        raise ValueError(f"{op}: expected at least 2 dimensions, got shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fan(tensor: Tensor, mode: str, op: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{op}: expected 'fan_in' or 'fan_out' as mode, got {mode!r}")
    return _fans(tensor, op)[mode == "fan_out"]


@_initializer
def constant_(tensor: Tensor, val: float) -> Tensor:
    """All elements `val`."""
    return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """All zeros."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """All ones."""
    return constant_(tensor, 1)


@_initializer
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform on [a, b)."""
    return random.uniform_(tensor, a, b, generator=generator)


@_initializer
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with `mean` and `std`."""
    return random.normal_(tensor, mean, std, generator=generator)


@_initializer
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """Normal with `mean` and `std`, conditioned on [a, b]."""
    return random.trunc_normal_(tensor, mean, std, a, b, generator=generator)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in ±gain·√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6 / max(1, sum(_fans(tensor, "xavier_uniform_"))))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with standard deviation gain·√(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(1, sum(_fans(tensor, "xavier_normal_")))), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Uniform in ±gain·√(3 / fan) (He et al. 2015); `a` is the slope of the leaky ReLU that follows."""
    fan = max(1, _fan(tensor, mode, "kaiming_uniform_"))
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / fan)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Normal with standard deviation gain / √fan (He et al. 2015)."""
    fan = max(1, _fan(tensor, mode, "kaiming_normal_"))
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(fan), generator)
