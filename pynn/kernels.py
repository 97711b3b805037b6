"""The raw kernels on NumPy arrays, for embedding and benchmarks: no tensors, no tape.

Arguments are ndarrays (or anything with the buffer protocol), read without a copy; results are ndarrays that view
pynn's own memory. Shapes, dtypes and errors are those of the op of the same name in `pynn.ops` (`gemm`: `matmul`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _core

__all__ = ["add", "div", "gemm", "log_softmax", "mean", "mul", "relu", "sigmoid", "softmax", "sub", "sum", "tanh"]


def gemm(
    a: Any,
    b: Any,
    bias: Any = None,
    activation: str = "none",
    out: np.ndarray | None = None,
    accumulate: bool = False,
) -> np.ndarray:
    """activation(a b + bias) over the last two axes; the axes before them broadcast.

    a (..., m, k), b (..., k, n), bias (n,); transposed views cost no copy. With `accumulate` the product is added to
    `out`.
    """
    result = _core.gemm(a, b, bias, activation, out, accumulate)
    return np.asarray(result) if out is None else out


def add(a: Any, b: Any) -> np.ndarray:
    """a + b, broadcast."""
    return np.asarray(_core.add(a, b))


def sub(a: Any, b: Any) -> np.ndarray:
    """a - b, broadcast."""
    return np.asarray(_core.sub(a, b))


def mul(a: Any, b: Any) -> np.ndarray:
    """a * b, broadcast."""
    return np.asarray(_core.mul(a, b))


def div(a: Any, b: Any) -> np.ndarray:
    """a / b, broadcast."""
    return np.asarray(_core.div(a, b))


def sigmoid(x: Any) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return np.asarray(_core.activation(x, "sigmoid"))


def tanh(x: Any) -> np.ndarray:
    """Hyperbolic tangent."""
    return np.asarray(_core.activation(x, "tanh"))


def relu(x: Any) -> np.ndarray:
    """max(x, 0)."""
    return np.asarray(_core.activation(x, "relu"))


def sum(x: Any, axes: Sequence[int], keepdims: bool = False) -> np.ndarray:
    """The sum over `axes`."""
    return np.asarray(_core.sum(x, tuple(axes), keepdims))


def mean(x: Any, axes: Sequence[int], keepdims: bool = False) -> np.ndarray:
    """The mean over `axes`."""
    return np.asarray(_core.mean(x, tuple(axes), keepdims))


def softmax(x: Any, axis: int = -1) -> np.ndarray:
    """exp(x) / sum of exp(x) along `axis`."""
    return np.asarray(_core.softmax(x, axis))


def log_softmax(x: Any, axis: int = -1) -> np.ndarray:
    """The logarithm of softmax."""
    return np.asarray(_core.log_softmax(x, axis))
