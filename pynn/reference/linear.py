"""Affine maps, and their gradients."""

import numpy as np

from . import activation as activations


def linear(x, weight, bias=None, activation="none"):
    z = x @ weight.T
    if bias is not None:
        z = z + bias
    return z if activation == "none" else getattr(activations, activation)(z)


def linear_backward(grad, x, weight, y=None, activation="none"):
    if activation != "none":
        grad = getattr(activations, activation + "_backward")(grad, y)
    rows, grads = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
    return grad @ weight, grads.T @ rows, np.sum(grads, axis=0)
