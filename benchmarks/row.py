"""What a benchmark row is."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[], Any]


class Row:
    """One operation at one shape, the same in every library.

    A method named after a library (`pynn`, `numpy`, `torch`, `sklearn`, `onnxruntime`) takes what `inputs()`
    gives and returns a call without arguments; what that returns, or its method `check()` where it has one, is
    compared with the other libraries' before anything is timed. Operands lie in the library's own memory, which in
    pynn's and torch's case starts at a cache line, in that of NumPy, which ONNX Runtime reads, mostly not. The
    methods import their library themselves: every library runs in a process of its own.
    """

    family = ""
    name = ""
    flops = 0.0  # of one call: the row is shown as a share of the machine's FMA peak
    bytes = 0.0  # read and written by one call: the row is shown as a share of a plain copy of as many bytes
    tolerance = 1e-5  # of the largest output
    training = False  # the torch call needs autograd
    scaling = False  # compared with pynn at one thread, where there are several
    readme = False  # one of the rows that README shows

    def inputs(self) -> tuple[Any, ...]:
        return ()

    def agree(self, ours: list[np.ndarray], theirs: list[np.ndarray]) -> str:
        """Why the outputs differ, or '' where they agree."""
        if len(ours) != len(theirs):
            return f"{len(ours)} outputs, the peer has {len(theirs)}"
        for a, b in zip(ours, theirs, strict=True):
            if a.shape != b.shape:
                return f"shape {a.shape}, the peer has {b.shape}"
            if not a.size:
                continue
            error = np.abs(a.astype(np.float64) - b).max() / max(1e-30, float(np.abs(b).max()))
            if not error <= self.tolerance:
                return f"outputs differ by {error:.2g} of the largest, allowed {self.tolerance:.2g}"
        return ""


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32 numbers, the same in every process."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def threads() -> int:
    """Of this process, for a library that takes no environment variable."""
    return int(os.environ["OMP_NUM_THREADS"])


def shape_name(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
