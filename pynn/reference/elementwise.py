"""Arithmetic and comparisons: NumPy's own."""

import numpy as np


def add(a, b, alpha=1):
    return a + alpha * b


def sub(a, b, alpha=1):
    return a - alpha * b


def mul(a, b):
    return a * b


def div(a, b):
    return a / b


def maximum(a, b):
    return np.maximum(a, b)


def minimum(a, b):
    return np.minimum(a, b)


def neg(x):
    return -x


def abs(x):
    return np.abs(x)


def square(x):
    return x * x


def sqrt(x):
    return np.sqrt(x)


def exp(x):
    return np.exp(x)


def log(x):
    return np.log(x)


def pow(x, exponent):
    return x**exponent


def eq(a, b):
    return a == b


def ne(a, b):
    return a != b


def lt(a, b):
    return a < b


def le(a, b):
    return a <= b


def gt(a, b):
    return a > b


def ge(a, b):
    return a >= b
