"""Matrix products, and their gradients."""

import numpy as np


def matmul(a, b):
    return np.matmul(a, b)


def gemm(a, b, bias=None, activation=lambda x: x):
    product = a @ b
    return activation(product if bias is None else product + bias)
