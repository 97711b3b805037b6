"""Rows by index, as they are or normalised."""

import numpy as np


def gather_rows(x, index, scale=None, mean=None, std=None, axis=-1):
    rows = x[index]
    if scale is None and mean is None and std is None:
        return rows
    shape = [1] * x.ndim
    shape[axis] = -1
    mean = np.reshape(0 if mean is None else mean, shape if np.ndim(mean) else ())
    std = np.reshape(1 if std is None else std, shape if np.ndim(std) else ())
    return (rows * (1 if scale is None else scale) - mean) / std
