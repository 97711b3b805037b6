"""One step of an optimizer over all parameters of a model."""

from __future__ import annotations

import itertools
import math

import numpy as np

from .row import Call, Row, normal

MODELS = {
    "784-30-10": (784, 30, 10),
    "784-512-512-10": (784, 512, 512, 10),
    "16x(32-32)": (32,) * 17,
}
BETAS, EPSILON = (0.9, 0.999), 1e-8
RATE = 1e-5


class Step(Row):
    family = "optimizer"
    tolerance = 1e-6
    training = True

    def __init__(self, kind: str, model: str) -> None:
        self.kind, self.model = kind, model
        self.name = f"{kind} {model}"
        # read parameter, gradient and state; write parameter and state
        states = {"SGD": 0, "SGD momentum": 1, "Adam": 2}[kind]
        self.bytes = 4 * (3 + 2 * states) * sum(math.prod(shape) for shape in self.shapes())
        self.readme = model == "784-512-512-10" and kind != "SGD"

    def shapes(self) -> list[tuple[int, ...]]:
        widths = MODELS[self.model]
        return [s for a, b in itertools.pairwise(widths) for s in ((b, a), (b,))]

    def inputs(self):
        shapes = self.shapes()
        return [normal(*s) for s in shapes], [normal(*s, seed=1) for s in shapes]

    def pynn(self, parameters, gradients) -> Call:
        import pynn

        parameters = [pynn.tensor(p, requires_grad=True) for p in parameters]
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = pynn.tensor(g)
        return self._step(pynn.optim, parameters)

    def torch(self, parameters, gradients) -> Call:
        import torch

        parameters = [torch.tensor(p).requires_grad_() for p in parameters]
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = torch.tensor(g)
        return self._step(torch.optim, parameters, fused=True)

    def _step(self, optim, parameters, **options) -> Call:
        if self.kind == "Adam":
            optimizer = optim.Adam(parameters, lr=RATE, betas=BETAS, eps=EPSILON, **options)
        else:
            momentum = 0.9 if self.kind == "SGD momentum" else 0.0
            optimizer = optim.SGD(parameters, lr=RATE, momentum=momentum, **options)

        def step():
            optimizer.step()
            return parameters[0]

        return step

    def numpy(self, parameters, gradients) -> Call:
        first = [np.zeros_like(p) for p in parameters]
        second = [np.zeros_like(p) for p in parameters]
        scratch = [np.empty_like(p) for p in parameters]
        count = 0

        def sgd():
            for p, g, s in zip(parameters, gradients, scratch, strict=True):
                p -= np.multiply(g, RATE, out=s)
            return parameters[0]

        def momentum():
            for p, g, m, s in zip(parameters, gradients, first, scratch, strict=True):
                m *= 0.9
                m += g
                p -= np.multiply(m, RATE, out=s)
            return parameters[0]

        def adam():
            nonlocal count
            count += 1
            corrections = [1 - beta**count for beta in BETAS]
            for p, g, m, v, s in zip(parameters, gradients, first, second, scratch, strict=True):
                m *= BETAS[0]
                m += np.multiply(g, 1 - BETAS[0], out=s)
                v *= BETAS[1]
                np.multiply(g, g, out=s)
                s *= 1 - BETAS[1]
                v += s
                np.divide(v, corrections[1], out=s)
                np.sqrt(s, out=s)
                s += EPSILON
                np.divide(m, s, out=s)
                s *= RATE / corrections[0]
                p -= s
            return parameters[0]

        return {"SGD": sgd, "SGD momentum": momentum, "Adam": adam}[self.kind]


ROWS = [Step(kind, model) for kind in ("SGD", "SGD momentum", "Adam") for model in MODELS]
