"""sigmoid, tanh and relu, and their gradients from the output."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def tanh(x):
    return np.tanh(x)


def relu(x):
    return np.where(x < 0, 0, x)


def sigmoid_backward(grad, y):
    return grad * y * (1 - y)


def tanh_backward(grad, y):
    return grad * (1 - y * y)


def relu_backward(grad, y):
    return np.where(y <= 0, 0, grad)
