"""pynn: neural networks that train and run fast on an ordinary CPU, with the same bits at any thread count."""

import importlib as _importlib
import os as _os
import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

try:
    from . import runtime as _runtime  # noqa: F401 - the compiled module, and the variables that it is told by
except (ImportError, ValueError) as _error:
    # `pynn` and `python -m pynn` promise one line and status 2, and import the package before any code of theirs.
    _program = _os.path.basename((_sys.argv or [""])[0])
    if _program != "pynn" and not (_program == "-m" and "pynn" in _sys.orig_argv):
        raise
    _sys.stderr.write(f"pynn: {_error}\n")
    raise SystemExit(2) from None

from . import autograd, data, kernels, models, nn, ops, optim, random, train
from ._core import CaptureError
from .autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .creation import empty, full, full_like, ones, ones_like, zeros, zeros_like
from .ops import *  # noqa: F403 - every op is public under its own name
from .program import capture
from .random import get_rng_state, initial_seed, manual_seed, rand, randint, randn, randperm, set_rng_state
from .runtime import (
    get_num_threads,
    get_precision,
    info,
    memory_stats,
    release_memory,
    set_num_threads,
    set_precision,
    threads,
)
from .tensor import (
    Tensor,
    as_tensor,
    bool_,
    float32,
    float64,
    from_dlpack,
    int32,
    int64,
    tensor,
    uint8,
)

if _TYPE_CHECKING:
    from . import datasets, io, viz
    from .models.files import load, save

__version__ = "0.1.0"

__all__ = [
    "CaptureError",
    "Tensor",
    "__version__",
    "as_tensor",
    "autograd",
    "bool_",
    "capture",
    "data",
    "datasets",
    "empty",
    "enable_grad",
    "float32",
    "float64",
    "from_dlpack",
    "full",
    "full_like",
    "get_num_threads",
    "get_precision",
    "get_rng_state",
    "info",
    "initial_seed",
    "int32",
    "int64",
    "io",
    "is_grad_enabled",
    "kernels",
    "load",
    "manual_seed",
    "memory_stats",
    "models",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "ops",
    "optim",
    "rand",
    "randint",
    "randn",
    "random",
    "randperm",
    "release_memory",
    "save",
    "set_grad_enabled",
    "set_num_threads",
    "set_precision",
    "set_rng_state",
    "tensor",
    "threads",
    "train",
    "uint8",
    "viz",
    "zeros",
    "zeros_like",
]
__all__ += ops.__all__


def __getattr__(name: str) -> object:
    """What reads and writes files is imported when it is asked for: it needs 20 modules of the standard library."""
    if name in ("datasets", "io", "viz"):
        return _importlib.import_module(f".{name}", __name__)
    if name in ("load", "save"):
        return getattr(_importlib.import_module(".models.files", __name__), name)
    raise AttributeError(f"module 'pynn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
