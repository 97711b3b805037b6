"""The affine map of a fully connected layer."""

from __future__ import annotations

from math import prod
from typing import Any

from .. import _core
from .._core import Array
from ..autograd import is_recorded
from ..tensor import Tensor, as_tensor, taped


def linear(input: Any, weight: Any, bias: Any = None, activation: str = "none") -> Tensor:
    """activation(x W^T + b): `input` (..., in), `weight` (out, in), `bias` (out,), the result (..., out).

    `activation` ("none", "sigmoid", "tanh", "relu") is applied in the same pass, with the bits of the op called
    alone. A weight that is (in, out) in memory, as a transposed view, is the fastest; its gradient has the same
    strides.

    Raises ValueError where shapes do not fit or the activation is unknown; TypeError unless all are float32 or all
    float64.
    """
    x, w, b = as_tensor(input), as_tensor(weight), None if bias is None else as_tensor(bias)
    shape, features = x._array.shape, w._array.shape
    if len(features) != 2 or not shape:
        raise ValueError(f"linear: expected input (..., in) and weight (out, in), got shapes {shape} and {features}")
    if shape[-1] != features[1]:
        raise ValueError(f"linear: expected {features[1]} input features, got {shape[-1]} (input shape {shape})")
    matrix = x._array if len(shape) > 1 else _core.reshape(x._array, (1, *shape))
    bias_array = None if b is None else b._array
    y = _core.gemm(matrix, w._array, bias_array, activation, None, False, False, True, "linear")
    if len(shape) == 1:
        y = _core.reshape(y, features[:1])

    if not is_recorded(x, w, b):
        return Tensor._wrap(y)

    # Each gradient reads the other operand; nothing is kept for one that nobody wants.
    saved_weight = w._array if x.requires_grad else None
    saved_input = matrix if w.requires_grad else None
    saved_output = y if activation != "none" else None
    needs_bias = b is not None and b.requires_grad
    out_features, in_features = features
    in_major = w._array.strides[0] == 1  # the weight is (in, out) in memory

    def backward(grad: Array) -> tuple[Array | None, Array | None, Array | None]:
        dz = grad if saved_output is None else _core.activation_backward(grad, saved_output, activation)
        if dz.ndim != 2:
            dz = _core.reshape(dz, (prod(shape[:-1]), out_features))
        dx = dw = None
        if saved_weight is not None:
            dx = _core.gemm(dz, saved_weight)
            if dx.shape != shape:
                dx = _core.reshape(dx, shape)
        if saved_input is not None:
            rows = saved_input
            if rows.ndim != 2:
                rows = _core.reshape(rows, (prod(shape[:-1]), in_features))
            if in_major:
                dw = _core.permute(_core.gemm(rows, dz, transpose_a=True), (1, 0))
            else:
                dw = _core.gemm(dz, rows, transpose_a=True)
        return dx, dw, _core.sum(dz, (0,), False) if needs_bias else None

    saved = tuple([a for a in (saved_weight, saved_input, saved_output) if a is not None])
    return taped("linear", y, (x, w, b), backward, saved)
