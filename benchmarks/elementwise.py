"""Arithmetic with broadcasting, sums and means."""

from __future__ import annotations

import math

import numpy as np

from .row import Call, Row, normal, shape_name


class Binary(Row):
    family = "elementwise"
    tolerance = 1e-6

    def __init__(self, op: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
        self.op, self.a, self.b = op, a, b
        self.name = f"{op} {shape_name(a)}" + ("" if a == b else f" and {shape_name(b)}")
        self.bytes = 4 * (2 * math.prod(a) + math.prod(b))
        self.readme = op == "add" and a == (256, 1024)

    def inputs(self):
        return normal(*self.a), np.abs(normal(*self.b, seed=1)) + 1

    def pynn(self, a, b) -> Call:
        import pynn

        function, a, b = getattr(pynn.ops, self.op), pynn.tensor(a), pynn.tensor(b)
        return lambda: function(a, b)

    def numpy(self, a, b) -> Call:
        function = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[self.op]
        out = np.empty_like(a)
        return lambda: function(a, b, out=out)

    def torch(self, a, b) -> Call:
        import torch

        function, a, b = getattr(torch, self.op), torch.tensor(a), torch.tensor(b)
        out = torch.empty_like(a)
        return lambda: function(a, b, out=out)


class Reduce(Row):
    family = "elementwise"
    tolerance = 1e-4  # sums of zero-mean numbers

    def __init__(self, op: str, shape: tuple[int, ...], axis: int | None) -> None:
        self.op, self.shape, self.axis = op, shape, axis
        self.name = f"{op} {shape_name(shape)}" + ("" if axis is None else f" over axis {axis}")
        self.bytes = 4 * math.prod(shape)
        self.readme = op == "sum" and shape == (1024, 1024)

    def inputs(self):
        return (normal(*self.shape) + 1,)

    def pynn(self, x) -> Call:
        import pynn

        function, x, axis = getattr(pynn.ops, self.op), pynn.tensor(x), self.axis
        if axis is None:
            return lambda: function(x)
        return lambda: function(x, axis)

    def numpy(self, x) -> Call:
        function = getattr(np, self.op)
        return lambda: function(x, axis=self.axis)

    def torch(self, x) -> Call:
        import torch

        function, x, axis = getattr(torch, self.op), torch.tensor(x), self.axis
        if axis is None:
            return lambda: function(x)
        return lambda: function(x, axis)


ROWS = [
    *(
        Binary(op, shape, shape)
        for op in ("add", "sub", "mul", "div")
        for shape in ((128, 10), (128, 100), (256, 1024), (1024, 1024))
    ),
    *(
        Binary(op, (rows, columns), b)
        for op in ("add", "mul")
        for rows, columns in ((128, 100), (256, 1024))
        for b in ((columns,), (rows, 1))
    ),
    *(
        Reduce(op, shape, axis)
        for op in ("sum", "mean")
        for shape in ((128, 10), (256, 1024), (1024, 1024))
        for axis in (None, 0, 1)
    ),
]
