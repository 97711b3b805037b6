"""softmax and log_softmax, and their gradients from the output."""

import numpy as np


def softmax(x, dim):
    e = np.exp(x - x.max(dim, keepdims=True, initial=-np.inf))
    return e / e.sum(dim, keepdims=True)


def log_softmax(x, dim):
    shifted = x - x.max(dim, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(dim, keepdims=True))


def softmax_backward(grad, y, dim):
    return y * (grad - (grad * y).sum(dim, keepdims=True))


def log_softmax_backward(grad, y, dim):
    return grad - np.exp(y) * grad.sum(dim, keepdims=True)
