"""Linear layers and what reshapes between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core, ops
from ..tensor import Tensor, float32
from . import init
from .module import Module
from .parameter import Parameter, empty


class Linear(Module):
    """y = activation(x Wᵀ + b).

    input (..., in_features), output (..., out_features). weight (out_features, in_features), stored in memory as
    (in_features, out_features); bias (out_features,). Both start uniform in ±1/√in_features, as in PyTorch.
    `activation`: "none", "sigmoid", "tanh" or "relu", applied by the same kernel.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: str = "none",
        dtype: Any = float32,
    ) -> None:
        for name, value in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
                raise ValueError(f"Linear: expected an integer >= 0 for {name}, got {value!r}")
        if activation not in ("none", "sigmoid", "tanh", "relu"):
            raise ValueError(f"Linear: expected 'none', 'sigmoid', 'tanh' or 'relu' as activation, got {activation!r}")
        self.in_features = in_features = int(in_features)
        self.out_features = out_features = int(out_features)
        self.activation = activation
        weight = _core.permute(empty((in_features, out_features), dtype), (1, 0))
        self.weight = Parameter(Tensor._wrap(weight))
        self.bias = Parameter(Tensor._wrap(empty((out_features,), dtype))) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=5**0.5)
        if self.bias is not None:
            bound = self.in_features**-0.5 if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any, activation: str | None = None) -> Tensor:
        return ops.linear(input, self.weight, self.bias, activation or self.activation)

    def extra_repr(self) -> str:
        text = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return text if self.activation == "none" else f"{text}, activation={self.activation!r}"


class Flatten(Module):
    """Dimensions `start_dim` to `end_dim` as one: (N, C, H, W) → (N, C·H·W) by default."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Any) -> Tensor:
        return ops.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Returns its input."""

    def forward(self, input: Any) -> Any:
        return input
