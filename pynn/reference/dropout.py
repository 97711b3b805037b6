"""Dropout with the random numbers of a stream."""

import numpy as np

from .random import uniform


def dropout(x, p, seed, stream, block):
    """x / (1 - p) where the number is at least p, else 0. Elements are numbered in C order."""
    kept = uniform(seed, stream, block, x.size).reshape(x.shape) >= np.float32(p)
    return x * (kept * x.dtype.type(1 / (1 - p) if p < 1 else 0))
