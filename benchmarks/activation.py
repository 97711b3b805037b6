"""sigmoid, tanh and relu, forward and backward."""

from __future__ import annotations

import math

import numpy as np

from .row import Call, Row, normal, shape_name

SHAPES = ((128, 30), (128, 100), (256, 1024), (1024, 1024))


def numpy_forward(kind: str, x: np.ndarray) -> Call:
    out = np.empty_like(x)
    if kind == "tanh":
        return lambda: np.tanh(x, out=out)
    if kind == "relu":
        return lambda: np.maximum(x, 0, out=out)

    def sigmoid():
        np.negative(x, out=out)
        np.exp(out, out=out)
        np.add(out, 1, out=out)
        return np.reciprocal(out, out=out)

    return sigmoid


class Forward(Row):
    family = "activation"
    tolerance = 1e-6

    def __init__(self, kind: str, shape: tuple[int, ...]) -> None:
        self.kind = kind
        self.shape = shape
        self.name = f"{kind} {shape_name(shape)}"
        self.bytes = 8 * math.prod(shape)
        self.readme = kind != "relu" and shape == (256, 1024)

    def inputs(self):
        return (normal(*self.shape),)

    def pynn(self, x) -> Call:
        import pynn

        function, x = getattr(pynn, self.kind), pynn.tensor(x)
        return lambda: function(x)

    def numpy(self, x) -> Call:
        return numpy_forward(self.kind, x)

    def torch(self, x) -> Call:
        import torch

        x = torch.tensor(x)
        if self.kind == "relu":  # the fastest of torch's forms; relu has no out=
            return lambda: torch.relu(x)
        function, out = getattr(torch, self.kind), torch.empty_like(x)
        return lambda: function(x, out=out)


class Backward(Row):
    family = "activation"
    tolerance = 1e-6

    def __init__(self, kind: str, shape: tuple[int, ...]) -> None:
        self.kind = kind
        self.shape = shape
        self.name = f"{kind} backward {shape_name(shape)}"
        self.bytes = 12 * math.prod(shape)

    def inputs(self):
        grad, x = normal(*self.shape, seed=1), normal(*self.shape)
        return grad, np.array(numpy_forward(self.kind, x)())

    def pynn(self, grad, y) -> Call:
        import pynn
        from pynn import _core

        grad, y = pynn.tensor(grad)._array, pynn.tensor(y)._array
        return lambda: _core.activation_backward(grad, y, self.kind)

    def numpy(self, grad, y) -> Call:
        out = np.empty_like(y)
        if self.kind == "relu":
            mask = np.empty(y.shape, bool)
            return lambda: np.multiply(grad, np.greater(y, 0, out=mask), out=out)
        if self.kind == "sigmoid":

            def backward():
                np.subtract(1, y, out=out)
                np.multiply(out, y, out=out)
                return np.multiply(out, grad, out=out)
        else:

            def backward():
                np.multiply(y, y, out=out)
                np.subtract(1, out, out=out)
                return np.multiply(out, grad, out=out)

        return backward

    def torch(self, grad, y) -> Call:
        import torch

        aten = torch.ops.aten
        grad, y = torch.tensor(grad), torch.tensor(y)
        out = torch.empty_like(y)
        if self.kind == "sigmoid":
            return lambda: aten.sigmoid_backward.grad_input(grad, y, grad_input=out)
        if self.kind == "tanh":
            return lambda: aten.tanh_backward.grad_input(grad, y, grad_input=out)
        return lambda: aten.threshold_backward.grad_input(grad, y, 0, grad_input=out)


ROWS = [cls(kind, shape) for cls in (Forward, Backward) for kind in ("sigmoid", "tanh", "relu") for shape in SHAPES]
