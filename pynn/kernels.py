"""The raw kernels on NumPy arrays, for embedding and benchmarks: no tensors, no tape.

Every function takes ndarrays (or anything with the buffer protocol, or pynn tensors) without a copy and gives ndarrays that view
pynn's own memory. Arguments, dtypes and errors are those of the op of the same name in `pynn.ops`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from .tensor import as_tensor

__all__ = [
    "add",
    "cross_entropy",
    "div",
    "gather",
    "gemm",
    "linear",
    "log_softmax",
    "mean",
    "mul",
    "relu",
    "sigmoid",
    "softmax",
    "sub",
    "sum",
    "tanh",
]


def _array(x: Any) -> Any:
    return as_tensor(x)._array
