"""Softmax and the losses; a loss is timed with its gradient, as training uses it."""

from __future__ import annotations

import math

import numpy as np

from .row import Call, Row, normal, shape_name

SHAPES = ((128, 10), (128, 100), (256, 1024))


class Softmax(Row):
    family = "loss"
    tolerance = 2e-6

    def __init__(self, op: str, shape: tuple[int, int]) -> None:
        self.op, self.shape = op, shape
        self.name = f"{op} {shape_name(shape)}"
        self.bytes = 8 * math.prod(shape)
        self.readme = op == "softmax" and shape == (256, 1024)

    def inputs(self):
        return (normal(*self.shape),)

    def pynn(self, x) -> Call:
        import pynn

        function, x = getattr(pynn.ops, self.op), pynn.tensor(x)
        return lambda: function(x, 1)

    def numpy(self, x) -> Call:
        out = np.empty_like(x)

        def softmax():
            np.subtract(x, x.max(1, keepdims=True), out=out)
            np.exp(out, out=out)
            return np.divide(out, out.sum(1, keepdims=True), out=out)

        exponentials = np.empty_like(x)

        def log_softmax():
            np.subtract(x, x.max(1, keepdims=True), out=out)
            np.exp(out, out=exponentials)
            return np.subtract(out, np.log(exponentials.sum(1, keepdims=True)), out=out)

        return softmax if self.op == "softmax" else log_softmax

    def torch(self, x) -> Call:
        import torch

        function, x = getattr(torch, self.op), torch.tensor(x)
        out = torch.empty_like(x)
        return lambda: function(x, 1, out=out)


class Loss(Row):
    """Value and gradient, through the tape of each library."""

    family = "loss"
    tolerance = 2e-6
    training = True

    def __init__(self, op: str, shape: tuple[int, int]) -> None:
        self.op, self.shape = op, shape
        self.name = f"{op} and gradient {shape_name(shape)}"
        self.readme = shape == (128, 10)

    def inputs(self):
        generator = np.random.default_rng(1)
        if self.op == "cross_entropy":
            return normal(*self.shape), generator.integers(0, self.shape[1], self.shape[0])
        return normal(*self.shape), generator.random(self.shape, dtype=np.float32)

    def pynn(self, x, target) -> Call:
        import pynn

        return self._tape(getattr(pynn.ops, self.op), pynn.tensor(x, requires_grad=True), pynn.tensor(target))

    def torch(self, x, target) -> Call:
        import torch

        function = getattr(torch.nn.functional, self.op)
        return self._tape(function, torch.tensor(x).requires_grad_(), torch.tensor(target))

    def _tape(self, function, x, target) -> Call:
        def step():
            x.grad = None
            loss = function(x, target)
            loss.backward()
            return loss, x.grad

        return step


class LossNumpy(Loss):
    """Those with a usual NumPy form."""

    def numpy(self, x, target) -> Call:
        rows = np.arange(len(x))

        def cross_entropy():
            shifted = x - x.max(1, keepdims=True)
            grad = np.exp(shifted)
            total = grad.sum(1, keepdims=True)
            loss = (np.log(total[:, 0]) - shifted[rows, target]).mean()
            grad /= total
            grad[rows, target] -= 1
            grad /= len(x)
            return loss, grad

        def mse_loss():
            difference = x - target
            loss = np.dot(difference.ravel(), difference.ravel()) / x.size
            difference *= 2 / x.size
            return loss, difference

        return cross_entropy if self.op == "cross_entropy" else mse_loss


ROWS = [
    *(Softmax(op, shape) for op in ("softmax", "log_softmax") for shape in SHAPES),
    *(LossNumpy(op, shape) for op in ("cross_entropy", "mse_loss") for shape in SHAPES),
    *(Loss("binary_cross_entropy_with_logits", shape) for shape in SHAPES),
]
