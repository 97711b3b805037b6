"""Pooling layers. Arguments, defaults and reprs are PyTorch's; none has parameters."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import ops
from ..tensor import Tensor
from .module import Module

Size = int | tuple[int, ...]


class _MaxPool(Module):
    op: ClassVar[str]

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Any) -> Any:
        return getattr(ops, self.op)(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest element of each window: (N, C, L) → (N, C, L')."""

    op = "max_pool1d"


class MaxPool2d(_MaxPool):
    """The largest element of each window: (N, C, H, W) → (N, C, H', W'), also of a single image.

    `stride` is the kernel size unless told; `padding` is at most half a window. The first of equal elements gets the
    gradient. `return_indices`: (output, places) for MaxUnpool2d. ValueError, when called, for what does not fit.
    """

    op = "max_pool2d"


class AvgPool1d(Module):
    """The mean of each window: (N, C, L) → (N, C, L')."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size = _each(kernel_size, 1)
        self.stride = self.kernel_size if stride is None else _each(stride, 1)
        self.padding = _each(padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Any) -> Tensor:
        return ops.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window: (N, C, H, W) → (N, C, H', W'), also of a single image (LeCun et al. 1989).

    The zeros of the padding count unless `count_include_pad` is False; `divisor_override` divides in place of the
    number of elements. Other arguments as MaxPool2d.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Any) -> Tensor:
        return ops.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _Adaptive(Module):
    op: ClassVar[str]

    def __init__(self, output_size: int | tuple[int | None, ...] | None) -> None:
        self.output_size = output_size

    def forward(self, input: Any) -> Any:
        return getattr(ops, self.op)(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveMax(_Adaptive):
    def __init__(self, output_size: int | tuple[int | None, ...] | None, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Any) -> Any:
        return getattr(ops, self.op)(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMax):
    """The largest elements of `output_size` windows: (N, C, L) → (N, C, output_size)."""

    op = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_AdaptiveMax):
    """The largest elements of as many windows as make the output `output_size`: a number or (height, width), None as
    the input's."""

    op = "adaptive_max_pool2d"


class AdaptiveAvgPool1d(_Adaptive):
    """The means of `output_size` windows: (N, C, L) → (N, C, output_size)."""

    op = "adaptive_avg_pool1d"


class AdaptiveAvgPool2d(_Adaptive):
    """The means of as many windows as make the output `output_size`: a number or (height, width), None as the input's.

    1 is the global average (Lin et al. 2014).
    """

    op = "adaptive_avg_pool2d"


class _MaxUnpool(Module):
    op: ClassVar[str]
    axes: ClassVar[int]

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        self.kernel_size = _each(kernel_size, self.axes)
        self.stride = self.kernel_size if stride is None else _each(stride, self.axes)
        self.padding = _each(padding, self.axes)

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Tensor:
        return getattr(ops, self.op)(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Zeros but for the input at the `indices` of a MaxPool1d: (N, C, L) → (N, C, L')."""

    op, axes = "max_unpool1d", 1


class MaxUnpool2d(_MaxUnpool):
    """Zeros but for the input at the `indices` of a MaxPool2d: (N, C, H, W) → (N, C, H', W') (Zeiler et al. 2010).

    Call as `unpool(input, indices, output_size=None)`. IndexError for an index outside of the output.
    """

    op, axes = "max_unpool2d", 2


def _each(value: Size, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * axes
