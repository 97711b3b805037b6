"""Convolutions: the layers of LeNets and of residual networks, forward and both gradients."""

from __future__ import annotations

import numpy as np

from .row import Call, Row, normal, shape_name
from .timing import faster

# n, c, h, w, o, kernel, stride, padding
LAYERS = (
    (64, 1, 28, 28, 6, 5, 1, 2),
    (64, 6, 14, 14, 16, 5, 1, 0),
    (64, 1, 28, 28, 32, 5, 1, 2),
    (64, 32, 14, 14, 64, 5, 1, 2),
    (32, 64, 56, 56, 64, 3, 1, 1),
    (32, 256, 14, 14, 256, 3, 1, 1),
    (32, 3, 224, 224, 64, 7, 2, 3),
    (32, 64, 56, 56, 256, 1, 1, 0),
    (16, 192, 19, 19, 192, 3, 1, 1),
    (32, 128, 28, 28, 128, 3, 2, 1),
    (32, 512, 7, 7, 512, 3, 1, 1),
    (32, 1024, 14, 14, 256, 1, 1, 0),
)
README = LAYERS[:5] + LAYERS[6:8]


class Conv2d(Row):
    """One pass through a layer with bias: "forward", "data" (gradient of the input) or "weight" (and bias)."""

    family = "conv2d"

    def __init__(self, layer: tuple[int, ...], kind: str, precision: str = "fast") -> None:
        self.layer, self.kind, self.precision = layer, kind, precision
        n, c, h, w, o, k, stride, padding = layer
        self.out = (h + 2 * padding - k) // stride + 1, (w + 2 * padding - k) // stride + 1
        name = f"{shape_name((n, c, h, w))} to {o}, {k}x{k}" + (f" stride {stride}" if stride > 1 else "")
        self.name = f"conv2d {kind} {name}" + (" strict" if precision == "strict" else "")
        self.flops = 2.0 * n * self.out[0] * self.out[1] * o * c * k * k
        # Sums of random signs; the weight's go over all pixels.
        self.tolerance = 5e-6 if kind != "weight" else 2e-5
        self.readme = kind == "forward" and layer in README and precision == "fast"

    def inputs(self):
        n, c, h, w, o, k, _, _ = self.layer
        weight = normal(o, c, k, k, seed=1) * np.float32((2 / (c * k * k)) ** 0.5)
        return normal(n, c, h, w), weight, normal(o, seed=2), normal(n, o, *self.out, seed=3)

    def pynn(self, x, w, b, dy) -> Call:
        import pynn
        from pynn import _core

        pynn.set_precision(self.precision)
        _, _, h, width, _, k, stride, padding = self.layer
        # Images with their channels last, as the layer before has left them.
        x, dy, w = (pynn.tensor(np.ascontiguousarray(a.transpose(0, 2, 3, 1)))._array for a in (x, dy, w))
        x, dy, w = (_core.permute(a, (0, 3, 1, 2)) for a in (x, dy, w))
        bias = pynn.tensor(b)._array
        geometry = (stride, stride), (padding, padding), (1, 1), 1
        if self.kind == "forward":
            return lambda: _core.conv2d(x, w, bias, "none", self.out, *geometry)
        if self.kind == "data":
            return lambda: _core.conv2d_data(dy, w, None, "none", (h, width), *geometry)

        def gradients() -> tuple:  # as the layer's backward
            dw, db = _core.conv2d_weight(x, dy, (k, k), *geometry, True)
            return dw, _core.sum(dy, (0, 2, 3), False) if db is None else db

        return gradients

    def torch(self, x, w, b, dy) -> Call:
        """In the layout that is faster for this pass."""
        calls = [self._torch(x, w, b, dy, layout) for layout in ("contiguous_format", "channels_last")]
        return faster(calls)

    def _torch(self, x, w, b, dy, layout: str) -> Call:
        import torch

        *_, stride, padding = self.layer
        x, w, dy = (torch.tensor(a).contiguous(memory_format=getattr(torch, layout)) for a in (x, w, dy))
        b = torch.tensor(b)
        if self.kind == "forward":
            return lambda: torch.nn.functional.conv2d(x, w, b, stride, padding)
        wanted = [self.kind == "data", self.kind == "weight", self.kind == "weight"]
        s, p = (stride, stride), (padding, padding)

        def backward():
            result = torch.ops.aten.convolution_backward(dy, x, w, [len(b)], s, p, (1, 1), False, (0, 0), 1, wanted)
            return result[0] if self.kind == "data" else result[1:]

        return backward


ROWS = [Conv2d(layer, kind) for layer in LAYERS for kind in ("forward", "data", "weight")]
