"""Convolution layers."""

from __future__ import annotations

from math import prod
from operator import index
from typing import Any

from .. import _core, ops
from ..ops.geometry import pair, reach_of, sides_of, whole
from ..tensor import Tensor, float32
from . import init
from .module import Module
from .parameter import Parameter, empty

_ACTIVATIONS = ("none", "sigmoid", "tanh", "relu")


class _Conv(Module):
    """What the four layers share: the arguments, checked, and the parameters."""

    axes: int
    transposed = False
    in_channels: int
    out_channels: int
    groups: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...],
        padding: Any,
        dilation: int | tuple[int, ...],
        groups: int,
        bias: bool,
        padding_mode: str,
        activation: str,
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        numbers = {"groups": groups, "in_channels": in_channels, "out_channels": out_channels}
        for argument, value in numbers.items():
            number = whole(value, 1)
            if number is None:
                raise ValueError(f"{name}: expected an integer >= 1 and < 2^31 for {argument}, got {value!r}")
            setattr(self, argument, number)
            if number % self.groups:
                raise ValueError(f"{name}: expected {argument} divisible by groups = {self.groups}, got {number}")
        if padding_mode != "zeros":
            raise ValueError(f"{name}: expected padding_mode 'zeros', got {padding_mode!r}")
        if activation not in _ACTIVATIONS:
            raise ValueError(f"{name}: expected one of {_ACTIVATIONS} as activation, got {activation!r}")
        kernel, step, spread = (
            pair(value, self.axes, name, argument, 1)
            for argument, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation))
        )
        sides_of(padding, self.axes, reach_of(kernel, spread), step, name, words=not self.transposed)
        self.kernel_size, self.stride, self.dilation = (v[2 - self.axes :] for v in (kernel, step, spread))
        self.padding = padding if isinstance(padding, str) else _plain(padding)
        self.padding_mode = padding_mode
        self.activation = activation
        first, second = self.out_channels, self.in_channels
        if self.transposed:
            first, second = second, first
        # Channels lie last in memory, as in the images.
        memory = empty((first, *self.kernel_size, second // self.groups), dtype)
        self.weight = Parameter(Tensor._wrap(_core.permute(memory, (0, self.axes + 1, *range(1, self.axes + 1)))))
        self.bias = Parameter(Tensor._wrap(empty((self.out_channels,), dtype))) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=5**0.5)
        if self.bias is not None:
            bound = prod(self.weight.shape[1:]) ** -0.5
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", 0), ("output_padding", 0), ("dilation", 1), ("groups", 1)):
            value = getattr(self, name, usual)
            if value not in (usual, (usual,) * self.axes):
                text += f", {name}={value!r}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.activation == "none" else f"{text}, activation={self.activation!r}"


class _Forward(_Conv):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: Any = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        activation: str = "none",
        dtype: Any = float32,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            activation,
            dtype,
        )

    def forward(self, input: Any, activation: str | None = None) -> Tensor:
        op = ops.conv2d if self.axes == 2 else ops.conv1d
        return op(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            activation or self.activation,
        )


class Conv1d(_Forward):
    """Cross-correlation along one axis: (N, C, L) → (N, O, L').

    weight (out_channels, in_channels / groups, kernel), bias (out_channels,). Arguments, keys and initial values are
    PyTorch's; `padding` may also be ((left, right),). `activation`: "none", "sigmoid", "tanh" or "relu", by the same
    kernel. ValueError for arguments that do not fit.
    """

    axes = 1


class Conv2d(_Forward):
    """Cross-correlation of images: (N, C, H, W) → (N, O, H', W'), the channels last in memory (LeCun et al. 1989).

    weight (out_channels, in_channels / groups, height, width), bias (out_channels,). Arguments, keys and initial values
    are PyTorch's; `padding` may also be ((top, bottom), (left, right)). `activation`: "none", "sigmoid", "tanh" or
    "relu", by the same kernel. ValueError for arguments that do not fit.
    """

    axes = 2


class _Transpose(_Conv):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: Any = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, ...] = 1,
        padding_mode: str = "zeros",
        activation: str = "none",
        dtype: Any = float32,
    ) -> None:
        self.output_padding = pair(output_padding, self.axes, type(self).__name__, "output_padding", 0)[2 - self.axes :]
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            activation,
            dtype,
        )

    def forward(self, input: Any, activation: str | None = None) -> Tensor:
        op = ops.conv_transpose2d if self.axes == 2 else ops.conv_transpose1d
        return op(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
            activation or self.activation,
        )


class ConvTranspose1d(_Transpose):
    """The transpose of Conv1d: (N, C, L) → (N, O, L'). weight (in_channels, out_channels / groups, kernel)."""

    axes = 1


class ConvTranspose2d(_Transpose):
    """The transpose of Conv2d: (N, C, H, W) → (N, O, H', W'), as in a decoder (Zeiler et al. 2010).

    weight (in_channels, out_channels / groups, height, width). Arguments are PyTorch's, and `activation` as in Conv2d.
    """

    axes = 2


def _plain(padding: Any) -> Any:
    """Integers and tuples of them."""
    return tuple(_plain(p) for p in padding) if isinstance(padding, tuple | list) else index(padding)
