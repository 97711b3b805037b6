"""Sums, means and extrema over dimensions: NumPy's own."""

import numpy as np


def sum(x, dim=None, keepdim=False):
    return x.sum(dim, keepdims=keepdim)


def mean(x, dim=None, keepdim=False):
    return x.mean(dim, keepdims=keepdim)


def amax(x, dim=None, keepdim=False):
    return x.max(dim, keepdims=keepdim)


def amin(x, dim=None, keepdim=False):
    return x.min(dim, keepdims=keepdim)


def argmax(x, dim=None, keepdim=False):
    return np.argmax(x, dim, keepdims=keepdim)


def argmin(x, dim=None, keepdim=False):
    return np.argmin(x, dim, keepdims=keepdim)
