"""Matrix products: real layer shapes, squares, the three products of a training step, matrix times vector."""

from __future__ import annotations

import math

import numpy as np

from .row import Call, Row, normal, shape_name

SQUARES = tuple((n, n, n) for n in (64, 128, 256, 512, 1024, 2048))
LAYERS = (
    (128, 30, 784),
    (128, 1024, 3136),
    (64, 512, 128),
    (4096, 64, 576),
    (3200, 2048, 512),
    (32, 10, 128),
    (64, 120, 400),
    (16, 512, 512),
    (64, 10, 512),
    (512, 64, 2048),
)
README = (
    (128, 128, 128),
    (1024, 1024, 1024),
    (128, 30, 784),
    (128, 1024, 3136),
    (4096, 64, 576),
    (3200, 2048, 512),
)


class Matmul(Row):
    """c[m, n] = a[m, k] b[k, n], with a or b stored transposed where asked for."""

    family = "gemm"

    def __init__(self, shape: tuple[int, int, int], a_transposed: bool = False, b_transposed: bool = False) -> None:
        self.m, self.n, self.k = shape
        self.a_transposed, self.b_transposed = a_transposed, b_transposed
        kind = ("t" if a_transposed else "n") + ("t" if b_transposed else "n")
        self.name = f"matmul {shape_name(shape)}" + (f" {kind}" if kind != "nn" else "")
        self.flops = 2.0 * self.m * self.n * self.k
        self.tolerance = 1e-6 * math.sqrt(self.k)
        self.readme = kind == "nn" and shape in README

    def inputs(self):
        a, b = normal(self.m, self.k), normal(self.k, self.n, seed=1)
        if self.a_transposed:
            a = np.ascontiguousarray(a.T).T
        if self.b_transposed:
            b = np.ascontiguousarray(b.T).T
        return a, b

    def pynn(self, a, b) -> Call:
        import pynn

        def own(x: np.ndarray, transposed: bool) -> np.ndarray:
            """The same matrix in pynn's memory."""
            return pynn.tensor(x.T).numpy().T if transposed else pynn.tensor(x).numpy()

        a, b = own(a, self.a_transposed), own(b, self.b_transposed)
        out = pynn.empty(self.m, self.n).numpy()
        return lambda: pynn.kernels.gemm(a, b, out=out)

    def numpy(self, a, b) -> Call:
        out = np.empty((self.m, self.n), np.float32)
        return lambda: np.matmul(a, b, out=out)

    def torch(self, a, b) -> Call:
        import torch

        a, b = torch.from_numpy(a).clone(), torch.from_numpy(b).clone()  # clones keep the strides
        out = torch.empty(self.m, self.n)
        return lambda: torch.mm(a, b, out=out)


class Linear(Row):
    """x W^T + b of a layer, each library with its own layout of W."""

    family = "gemm"

    def __init__(self, batch: int, inputs: int, outputs: int) -> None:
        self.shape = batch, inputs, outputs
        self.name = f"linear {inputs}->{outputs}, batch {batch}"
        self.flops = 2.0 * batch * inputs * outputs
        self.tolerance = 1e-6 * math.sqrt(inputs)
        self.readme = self.shape in ((1, 1024, 1024), (128, 784, 30))

    def inputs(self):
        batch, inputs, outputs = self.shape
        return normal(batch, inputs), normal(outputs, inputs, seed=1), normal(outputs, seed=2)

    def pynn(self, x, weight, bias) -> Call:
        import pynn

        x, weight, bias = pynn.tensor(x), pynn.tensor(weight.T).T, pynn.tensor(bias)
        return lambda: pynn.ops.linear(x, weight, bias)

    def numpy(self, x, weight, bias) -> Call:
        weight = np.ascontiguousarray(weight.T)  # the layout that np.matmul is fastest with
        out = np.empty((len(x), len(bias)), np.float32)

        def linear():
            np.matmul(x, weight, out=out)
            return np.add(out, bias, out=out)

        return linear

    def torch(self, x, weight, bias) -> Call:
        import torch

        x, weight, bias = torch.tensor(x), torch.tensor(weight), torch.tensor(bias)
        return lambda: torch.nn.functional.linear(x, weight, bias)


ROWS = [
    *(Matmul(shape) for shape in SQUARES + LAYERS),
    # backward of layers 784 -> 30 and 1024 -> 3136: dX = dY W^T, dW = X^T dY
    *(Matmul(shape, b_transposed=True) for shape in ((128, 784, 30), (128, 1024, 3136), (512, 512, 512))),
    *(Matmul(shape, a_transposed=True) for shape in ((784, 30, 128), (1024, 3136, 128), (512, 512, 512))),
    Matmul((512, 512, 512), a_transposed=True, b_transposed=True),
    *(Matmul(shape) for shape in ((1, 1024, 1024), (1, 30, 784), (4, 1024, 1024))),
    *(Linear(*shape) for shape in ((128, 784, 30), (128, 784, 100), (256, 512, 512), (1, 1024, 1024), (1, 784, 100))),
]
