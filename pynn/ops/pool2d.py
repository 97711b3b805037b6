"""Pooling: the largest or the mean element of each window, adaptive windows, and the way back from the largest."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .. import _core
from .._core import Array
from ..tensor import Tensor, as_tensor
from .geometry import LIMIT, Pair, is_key, pair, whole
from .views import squeeze, unsqueeze

Geometry = tuple[Pair, Pair, Pair, Pair, Pair, bool]  # kernel, stride, padding, dilation, output size, adaptive


def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window: `input` (N, C, H, W) or (C, H, W), numbers for both axes or (height, width).

    `stride` is the kernel size unless told. `padding`, at most half a window, never wins. With `ceil_mode` a last
    window may end beyond the padding, but starts before its right side. The first of equal elements wins and gets the
    gradient; a NaN is larger than any number. `return_indices`: also their places h·W + w, int64. Arguments are
    PyTorch's.

    Raises ValueError where they do not fit, TypeError unless `input` is float32 or float64.
    """
    return _max(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 2)


def max_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """As max_pool2d along one axis: `input` (N, C, L) or (C, L)."""
    return _max(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 1)


def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of `input` (N, C, H, W) or (C, H, W); other arguments as max_pool2d.

    The sum is divided by the number of elements, the zeros of the padding among them unless `count_include_pad` is
    False, or by `divisor_override`. Errors as max_pool2d.
    """
    return _avg(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, 2)


def avg_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """As avg_pool2d along one axis: `input` (N, C, L) or (C, L)."""
    return _avg(input, kernel_size, stride, padding, ceil_mode, count_include_pad, None, 1)


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of windows that make the output `output_size` large: a number, or (height, width) in which
    None keeps the input's.

    Output i of m sees the elements from ⌊i·n/m⌋ to ⌈(i + 1)·n/m⌉ of n. Otherwise as max_pool2d.
    """
    return _adaptive_max(input, output_size, return_indices, 2)


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """As adaptive_max_pool2d along one axis: `input` (N, C, L) or (C, L)."""
    return _adaptive_max(input, output_size, return_indices, 1)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """The means of the windows of adaptive_max_pool2d; an output size of 1 is the global average (Lin et al. 2014)."""
    return _adaptive_avg(input, output_size, 2)


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Tensor:
    """As adaptive_avg_pool2d along one axis: `input` (N, C, L) or (C, L)."""
    return _adaptive_avg(input, output_size, 1)


def max_unpool2d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Zeros but for `input` (N, C, H, W) or (C, H, W) at `indices`, which max_pool2d returned (Zeiler et al. 2010).

    The output is (H - 1)·stride - 2·padding + kernel_size large, or `output_size`, less than a stride away from that.
    Of elements with one place the last stays. IndexError for an index outside of the output; ValueError and TypeError
    for arguments that do not fit.
    """
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 2)


def max_unpool1d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """As max_unpool2d along one axis: `input` (N, C, L) or (C, L)."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 1)


def _images(input: Any, axes: int, op: str) -> tuple[Tensor, bool]:
    """The input as N, C, H, W, and whether it was a single image."""
    x = as_tensor(input)
    if x.ndim not in (axes + 1, axes + 2):
        raise ValueError(f"{op}: expected input of {axes + 1} or {axes + 2} axes, got shape {x.shape}")
    single = x.ndim == axes + 1
    if single:
        x = unsqueeze(x, 0)
    return (unsqueeze(x, 2) if axes == 1 else x), single


def _result(y: Tensor, single: bool, axes: int) -> Tensor:
    y = squeeze(y, 2) if axes == 1 else y
    return squeeze(y, 0) if single else y


@lru_cache(256)  # half of the time of a small layer
def _cached_windows(
    size: Pair, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, axes: int, op: str
) -> Geometry:
    kernel = pair(kernel_size, axes, op, "kernel_size", 1)
    steps = kernel if stride is None or stride == () else pair(stride, axes, op, "stride", 1)
    pads, spread = pair(padding, axes, op, "padding", 0), pair(dilation, axes, op, "dilation", 1)
    out = []
    for n, k, s, p, d in zip(size, kernel, steps, pads, spread, strict=True):
        reach = d * (k - 1) + 1
        if 2 * p > reach:
            raise ValueError(f"{op}: expected padding of at most half a window, {reach // 2}, got {padding!r}")
        left = n + 2 * p - reach  # below 0, the window ends beyond the padding; with ceil_mode it may, by a stride
        windows = (-(-left // s) if ceil_mode else left // s) + 1
        if n < 1 or windows < 1:
            raise ValueError(f"{op}: windows of {reach} do not fit into an input of {n} (padding {p})")
        if ceil_mode and (windows - 1) * s >= n + p:  # it would start in the padding on the right
            windows -= 1
        out.append(windows)
    return kernel, steps, pads, spread, (out[0], out[1]), False


def _windows(*arguments: Any) -> Geometry:
    return (_cached_windows if is_key(arguments[1:5]) else _cached_windows.__wrapped__)(*arguments)


def _adaptive_windows(size: tuple[int, ...], output_size: Any, axes: int, op: str) -> Geometry:
    given = list(output_size) if isinstance(output_size, tuple | list) else [output_size] * axes
    sizes = size[2 - axes :]
    if len(given) == axes:
        given = [n if v is None else v for v, n in zip(given, sizes, strict=True)]
    out = pair(given, axes, op, "output_size", 1)
    if min(sizes) < 1:
        raise ValueError(f"{op}: expected an input that is not empty, got size {sizes}")
    if size[0] % out[0] or size[1] % out[1]:
        return (1, 1), (1, 1), (0, 0), (1, 1), out, True
    kernel = size[0] // out[0], size[1] // out[1]
    return kernel, kernel, (0, 0), (1, 1), out, False


def _largest(op: str, x: Tensor, geometry: Geometry, return_indices: bool, single: bool, axes: int) -> Any:
    size = x.shape[2:]
    wants = x.requires_grad and _core.is_grad_enabled()
    y, number = _core.max_pool2d(x._array, geometry, wants or return_indices)

    def backward(grad: Array) -> tuple:
        return (_core.max_pool2d_backward(grad, number, size, geometry),)

    values = _result(_core.record(op, y, (x,), backward), single, axes)
    if not return_indices:
        return values
    places = Tensor._wrap(_core.max_pool2d_places(number, size, geometry))
    return values, _result(places, single, axes)


def _mean(op: str, x: Tensor, geometry: Geometry, count_padding: bool, divisor: int, single: bool, axes: int) -> Tensor:
    size = x.shape[2:]
    y = _core.avg_pool2d(x._array, geometry, count_padding, divisor)

    def backward(grad: Array, output: Array | None = None, activation: str = "none", overwrite: bool = False) -> tuple:
        return (_core.avg_pool2d_backward(grad, size, geometry, count_padding, divisor, output, activation, overwrite),)

    return _result(_core.record(op, y, (x,), backward, (), "none", True), single, axes)


def _max(
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
    axes: int,
) -> Any:
    op = f"max_pool{axes}d"
    x, single = _images(input, axes, op)
    geometry = _windows(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode, axes, op)
    return _largest(op, x, geometry, return_indices, single, axes)


def _avg(
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    axes: int,
) -> Tensor:
    op = f"avg_pool{axes}d"
    x, single = _images(input, axes, op)
    geometry = _windows(x.shape[2:], kernel_size, stride, padding, 1, ceil_mode, axes, op)
    divisor = 0 if divisor_override is None else whole(divisor_override, -LIMIT)
    if divisor is None or (divisor == 0 and divisor_override is not None):
        raise ValueError(f"{op}: expected an integer below 2^31 but 0 as divisor_override, got {divisor_override!r}")
    return _mean(op, x, geometry, bool(count_include_pad), divisor, single, axes)


def _adaptive_max(input: Any, output_size: Any, return_indices: bool, axes: int) -> Any:
    op = f"adaptive_max_pool{axes}d"
    x, single = _images(input, axes, op)
    return _largest(op, x, _adaptive_windows(x.shape[2:], output_size, axes, op), return_indices, single, axes)


def _adaptive_avg(input: Any, output_size: Any, axes: int) -> Tensor:
    op = f"adaptive_avg_pool{axes}d"
    x, single = _images(input, axes, op)
    return _mean(op, x, _adaptive_windows(x.shape[2:], output_size, axes, op), False, 0, single, axes)


def _unpool(
    input: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any, axes: int
) -> Tensor:
    op = f"max_unpool{axes}d"
    x, single = _images(input, axes, op)
    places, _ = _images(indices, axes, op)
    if places.dtype != "int64":
        raise TypeError(f"{op}: expected int64 for indices, got {places.dtype.name}")
    if places.shape != x.shape:
        raise ValueError(f"{op}: expected indices of the input's shape {x.shape}, got {places.shape}")
    kernel = pair(kernel_size, axes, op, "kernel_size", 1)
    steps = kernel if stride is None or stride == () else pair(stride, axes, op, "stride", 1)
    pads = pair(padding, axes, op, "padding", 0)
    usual = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], steps, pads, kernel, strict=True))
    size: Any = usual
    if output_size is not None:
        given = tuple(output_size)
        size = pair(given[-axes:], axes, op, "output_size", 1)
        if len(given) not in (axes, as_tensor(input).ndim) or any(
            abs(n - u) >= s for n, u, s in zip(size, usual, steps, strict=True)
        ):
            raise ValueError(f"{op}: expected output_size within a stride of {usual[2 - axes :]}, got {output_size!r}")
    if min(size) < 1:
        raise ValueError(f"{op}: the output would have size {size} (input shape {as_tensor(input).shape})")
    flat = places._array

    def backward(grad: Array) -> tuple:
        return (_core.max_unpool2d_backward(grad, flat),)

    y = _core.record(op, _core.max_unpool2d(x._array, flat, size), (x,), backward, (flat,))
    return _result(y, single, axes)
