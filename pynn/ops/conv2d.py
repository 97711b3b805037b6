"""Convolutions in the sense of neural networks (cross-correlations), their transposes, and the true convolution."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .. import _core
from .._core import Array
from ..tensor import Tensor, as_tensor, float32
from .geometry import Pair, is_key, pair, reach_of, sides_of, whole
from .views import squeeze, unsqueeze

# Whether it is a single image; sizes of input, kernel and output; stride, zeros before, dilation and groups.
Geometry = tuple[bool, Pair, Pair, Pair, tuple[Pair, Pair, Pair, int]]


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    activation: str = "none",
) -> Tensor:
    """activation(input ⋆ weight + bias): `input` (N, C, H, W) or (C, H, W), `weight` (O, C/groups, KH, KW),
    `bias` (O,).

    `padding` with zeros: a number, (height, width), ((top, bottom), (left, right)), "valid" (none) or "same" (stride 1:
    the output is as large as the input). The output is N, C, H, W with the channels last in memory. It has the
    same bits at any number of threads and for an image alone: each element is one chain of fused multiply-adds over
    KH, KW, C (KH, C, KW in float32 with 9 to 16 output channels of one group and 3 or 5 taps in a row, without dilation
    and with a stride of 1 or 2 along it), except where Winograd's algorithm serves (float32 layers of 3 x 3 or 5 x 5
    taps, stride 1, with at least 32 channels in and out or, if at least 8 or 5 in, 9 to 16 out; see
    `pynn.set_precision`).

    Raises ValueError where shapes or arguments do not fit; TypeError unless all are float32 or all float64.
    """
    return _conv(input, weight, bias, stride, padding, dilation, groups, activation, "conv2d", 2)


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    activation: str = "none",
) -> Tensor:
    """As conv2d along one axis: `input` (N, C, L) or (C, L), `weight` (O, C/groups, K).

    `padding` may be ((left, right),).
    """
    return _conv(input, weight, bias, stride, padding, dilation, groups, activation, "conv1d", 1)


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    activation: str = "none",
) -> Tensor:
    """The transpose (the data gradient) of conv2d: `input` (N, C, H, W), `weight` (C, O/groups, KH, KW), `bias` (O,).

    Output size (H - 1)·stride - top - bottom + dilation·(KH - 1) + output_padding + 1; output_padding is less than
    stride or dilation. Errors as conv2d.
    """
    return _transpose(input, weight, bias, stride, padding, output_padding, groups, dilation, activation, 2)


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    activation: str = "none",
) -> Tensor:
    """As conv_transpose2d along one axis: `input` (N, C, L), `weight` (C, O/groups, K)."""
    return _transpose(input, weight, bias, stride, padding, output_padding, groups, dilation, activation, 1)


def convolve(input: Any, kernel: Any, mode: str = "full") -> Tensor:
    """The true convolution (flipped kernel) of two arrays of one or two axes, every axis of the kernel the shorter one.

    `mode`: "full" (M + K - 1), "same" (M, centred) or "valid" (M - K + 1). ValueError for anything else. Numbers, lists
    and integers take the dtype of the other array, float32 where that is no float either.
    """
    dtype = next((a.dtype for a in (input, kernel) if _is_float_array(a)), float32)
    x, w = [as_tensor(a, None if _is_float_array(a) else dtype) for a in (input, kernel)]
    if x.ndim != w.ndim or x.ndim not in (1, 2) or any(k < 1 or k > m for k, m in zip(w.shape, x.shape, strict=False)):
        raise ValueError(f"convolve: expected 1 or 2 axes, the kernel not larger, got shapes {x.shape} and {w.shape}")
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"convolve: expected mode 'full', 'same' or 'valid', got {mode!r}")
    flipped = unsqueeze(unsqueeze(w if w.ndim == 2 else unsqueeze(w, 0), 0), 0)
    flipped = _core_flip(flipped)
    lost = {"full": lambda k: (k - 1, k - 1), "same": lambda k: (k // 2, (k - 1) // 2), "valid": lambda k: (0, 0)}[mode]
    sides = [lost(k) for k in ((1, *w.shape) if w.ndim == 1 else w.shape)]
    x4 = unsqueeze(unsqueeze(x if x.ndim == 2 else unsqueeze(x, 0), 0), 0)
    y = squeeze(squeeze(conv2d(x4, flipped, padding=sides), 0), 0)
    return y if x.ndim == 2 else squeeze(y, 0)


def _is_float_array(a: Any) -> bool:
    return isinstance(a, Tensor | np.ndarray) and a.dtype.kind == "f"


def _core_flip(w: Tensor) -> Tensor:
    return _core.record("flip", _core.conv2d_flip(w._array), (w,), lambda grad: (_core.conv2d_flip(grad),))


def _tensors(input: Any, weight: Any, bias: Any, axes: int, op: str) -> tuple:
    """The operands, of one dtype and of that many axes beside channels and, of the input, perhaps images."""
    x, w, b = as_tensor(input), as_tensor(weight), None if bias is None else as_tensor(bias)
    if x.ndim not in (axes + 1, axes + 2) or w.ndim != axes + 2:
        raise ValueError(
            f"{op}: expected input of {axes + 1} or {axes + 2} axes and weight of {axes + 2}, "
            f"got shapes {x.shape} and {w.shape}"
        )
    dtype = x.dtype
    for name, other in (("weight", w), ("bias", b)):
        if other is not None and other.dtype != dtype:
            raise TypeError(f"{op}: expected {name} of the input's dtype {dtype}, got {other.dtype}")
    return x, w, b


def _parts(shape: tuple[int, ...], groups: Any, op: str) -> int:
    """The number of groups of a weight of this shape, whose kernel is not empty."""
    parts = whole(groups, 1)
    if parts is None or shape[0] % parts:
        raise ValueError(f"{op}: expected groups that divide {shape[0]} channels of the weight, got {groups!r}")
    if min(shape[2:]) < 1:
        raise ValueError(f"{op}: expected a kernel of at least 1, got a weight of shape {shape}")
    return parts


def _as_images(x: Tensor, w: Tensor, single: bool, axes: int) -> tuple[Tensor, Tensor]:
    """With all of N, C, H, W."""
    if single:
        x = unsqueeze(x, 0)
    return (unsqueeze(x, 2), unsqueeze(w, 2)) if axes == 1 else (x, w)


def _result(y: Tensor, single: bool, axes: int) -> Tensor:
    y = squeeze(y, 2) if axes == 1 else y
    return squeeze(y, 0) if single else y


def _bias_gradient(grad: Array) -> Array:
    return _core.sum(grad, (0, 2, 3), False)


@lru_cache(256)  # half of the time of a small layer
def _cached_geometry(
    shape: tuple[int, ...],
    weight: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    axes: int,
    op: str,
) -> Geometry:
    parts = _parts(weight, groups, op)
    stride, dilation = pair(stride, axes, op, "stride", 1), pair(dilation, axes, op, "dilation", 1)
    single, channels, flat = len(shape) == axes + 1, shape[-axes - 1], (1,) * (2 - axes)
    size: Any = flat + shape[-axes:]
    kernel: Any = flat + weight[2:]
    reach = reach_of(kernel, dilation)
    sides = sides_of(padding, axes, reach, stride, op)
    if channels != weight[1] * parts:
        raise ValueError(f"{op}: expected {weight[1] * parts} input channels, got {channels} (input shape {shape})")
    (top, bottom), (left, right) = sides
    rows, columns = size[0] + top + bottom - reach[0] - 1, size[1] + left + right - reach[1] - 1
    if rows < 0 or columns < 0:
        raise ValueError(f"{op}: the kernel {weight[2:]} is larger than the padded input (input shape {shape})")
    out = rows // stride[0] + 1, columns // stride[1] + 1
    return single, size, kernel, out, (stride, (top, left), dilation, parts)


def _geometry(*arguments: Any) -> Geometry:
    return (_cached_geometry if is_key(arguments[2:6]) else _cached_geometry.__wrapped__)(*arguments)


def _conv(
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    act: str,
    op: str,
    axes: int,
) -> Tensor:
    x, w, b = _tensors(input, weight, bias, axes, op)
    single, size, kernel, out, geometry = _geometry(x.shape, w.shape, stride, padding, dilation, groups, axes, op)
    if single or axes == 1:
        x, w = _as_images(x, w, single, axes)
    xa, wa = x._array, w._array
    y = _core.conv2d(xa, wa, None if b is None else b._array, act, out, *geometry)
    if not _core.is_recorded(x, w, b):
        return _result(Tensor._wrap(y), single, axes)
    wants_x, wants_w, wants_b = x.requires_grad, w.requires_grad, b is not None and b.requires_grad
    saved, kept, output = xa if wants_w else None, wa if wants_x else None, y if act != "none" else None

    def backward(grad: Array) -> tuple:
        dx = None if kept is None else _core.conv2d_data(grad, kept, None, "none", size, *geometry)
        dw = db = None
        if saved is not None:
            dw, db = _core.conv2d_weight(saved, grad, kernel, *geometry, wants_b)
        if wants_b and db is None:
            db = _bias_gradient(grad)
        return dx, dw, db

    return _result(_core.record(op, y, (x, w, b), backward, (saved, kept, output), act), single, axes)


def _transpose(
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    extra: Any,
    groups: Any,
    dilation: Any,
    act: str,
    axes: int,
) -> Tensor:
    op = f"conv_transpose{axes}d"
    x, w, b = _tensors(input, weight, bias, axes, op)
    groups, single = _parts(w.shape, groups, op), x.ndim == axes + 1
    x, w = _as_images(x, w, single, axes)
    stride, dilation = pair(stride, axes, op, "stride", 1), pair(dilation, axes, op, "dilation", 1)
    extra = pair(extra, axes, op, "output_padding", 0)
    kernel: Any = w.shape[2:]
    reach = reach_of(kernel, dilation)
    sides = sides_of(padding, axes, reach, stride, op, words=False)
    if any(e and e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(f"{op}: expected output_padding below stride or dilation, got {extra}")
    if x.shape[1] != w.shape[0]:
        raise ValueError(
            f"{op}: expected {w.shape[0]} input channels, got {x.shape[1]} (input shape {as_tensor(input).shape})"
        )
    size = tuple(
        (n - 1) * s - sum(p) + r + 1 + e for n, s, p, r, e in zip(x.shape[2:], stride, sides, reach, extra, strict=True)
    )
    if min(size) < 1:
        raise ValueError(f"{op}: the output would have size {size} (input shape {as_tensor(input).shape})")
    geometry = stride, (sides[0][0], sides[1][0]), dilation, groups
    xa, wa = x._array, w._array
    y = _core.conv2d_data(xa, wa, None if b is None else b._array, act, size, *geometry)
    wants_x, wants_w, wants_b = x.requires_grad, w.requires_grad, b is not None and b.requires_grad
    saved, kept, output = xa if wants_w else None, wa if wants_x else None, y if act != "none" else None
    seen = x.shape[2:]

    def backward(grad: Array) -> tuple:
        dx = None if kept is None else _core.conv2d(grad, kept, None, "none", seen, *geometry)
        dw = None if saved is None else _core.conv2d_weight(grad, saved, kernel, *geometry, False)[0]
        return dx, dw, _bias_gradient(grad) if wants_b else None

    return _result(_core.record(op, y, (x, w, b), backward, (saved, kept, output), act), single, axes)
