"""Max and average pooling, forward, and forward with backward. torch takes the faster of its two memory formats."""

from __future__ import annotations

import math

import numpy as np

from .row import Call, Row, normal, shape_name
from .timing import faster

LENET = ((64, 6, 28, 28), (2, 2, 0))
SHAPES = (
    LENET,
    ((64, 16, 10, 10), (2, 2, 0)),
    ((64, 32, 28, 28), (2, 2, 0)),
    ((64, 64, 14, 14), (2, 2, 0)),
    ((32, 64, 56, 56), (3, 2, 1)),
)
GLOBAL = ((32, 256, 7, 7), (7, 7, 0))


def size_out(shape: tuple[int, ...], windows: tuple[int, int, int]) -> tuple[int, ...]:
    kernel, stride, padding = windows
    return (*shape[:2], *((n + 2 * padding - kernel) // stride + 1 for n in shape[2:]))


class Pool(Row):
    family = "pool2d"
    backward = False

    def __init__(self, kind: str, shape: tuple[int, ...], windows: tuple[int, int, int]) -> None:
        self.kind, self.shape, self.windows = kind, shape, windows
        kernel, stride, padding = windows
        which = (
            f"{kernel}x{kernel}" + (f" stride {stride}" if stride != kernel else "") + (" padded" if padding else "")
        )
        self.name = f"{kind} {which} {'f+b ' if self.backward else ''}{shape_name(shape)}"
        outputs = math.prod(size_out(shape, windows))
        self.bytes = 4 * (math.prod(shape) + outputs) * (2 if self.backward else 1)
        self.training = self.backward
        self.readme = self.backward and shape in (LENET[0], SHAPES[2][0], SHAPES[4][0], GLOBAL[0])

    def inputs(self):
        return normal(*self.shape), normal(*size_out(self.shape, self.windows), seed=1)

    def call(self, function, x, grad, leaf) -> Call:
        """Of a library with a tape."""
        arguments = self.windows
        if not self.backward:
            return lambda: function(x, *arguments)

        def step():
            leaf.grad = None
            y = function(leaf, *arguments)
            y.backward(grad)
            return y, leaf.grad

        return step

    def pynn(self, x, grad) -> Call:
        import pynn

        def images(a: np.ndarray):
            return pynn.tensor(np.ascontiguousarray(a.transpose(0, 2, 3, 1))).permute(0, 3, 1, 2)

        function = getattr(pynn.ops, f"{self.kind}_pool2d")
        return self.call(function, images(x), images(grad), images(x).detach().requires_grad_())

    def torch(self, x, grad) -> Call:
        import torch

        function = getattr(torch.nn.functional, f"{self.kind}_pool2d")

        def in_format(memory_format) -> Call:
            a, b = (torch.tensor(v).contiguous(memory_format=memory_format) for v in (x, grad))
            return self.call(function, a, b, a.clone().requires_grad_())

        return faster([in_format(torch.contiguous_format), in_format(torch.channels_last)])

    def numpy(self, x, grad) -> Call:
        """Channels last, a slice of all windows for each of their elements."""
        kernel, stride, padding = self.windows
        x, grad = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (x, grad))
        n, height, width, c = x.shape
        high, wide = grad.shape[1:3]
        outside = -np.inf if self.kind == "max" else 0
        sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        taps = [
            (slice(None), slice(i, i + high * stride, stride), slice(j, j + wide * stride, stride))
            for i in range(kernel)
            for j in range(kernel)
        ]
        size = tuple(max(m + 2 * padding, (o - 1) * stride + kernel) for m, o in ((height, high), (width, wide)))

        def forward(a):
            y = a[taps[0]].copy()
            for tap in taps[1:]:
                (np.maximum if self.kind == "max" else np.add)(y, a[tap], out=y)
            return y if self.kind == "max" else np.multiply(y, np.float32(1 / kernel**2), out=y)

        def backward(a, y):
            dx = np.zeros((n, *size, c), np.float32)
            left = np.ones(y.shape, bool)
            for tap in taps:
                if self.kind == "max":
                    here = left & (a[tap] == y)
                    left &= ~here
                    dx[tap] += grad * here
                else:
                    dx[tap] += grad * np.float32(1 / kernel**2)
            return dx[:, padding : padding + height, padding : padding + width]

        def call():
            a = np.pad(x, sides, constant_values=outside) if padding else x
            y = forward(a)
            if not self.backward:
                return y.transpose(0, 3, 1, 2)
            return y.transpose(0, 3, 1, 2), backward(a, y).transpose(0, 3, 1, 2)

        return call


class PoolBackward(Pool):
    backward = True


ROWS = [
    *(cls(kind, *shape) for kind in ("max", "avg") for cls in (Pool, PoolBackward) for shape in SHAPES),
    *(cls("avg", *GLOBAL) for cls in (Pool, PoolBackward)),
]
