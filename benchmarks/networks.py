"""The networks of the training and inference rows, described once and built in every library."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .row import normal

Layer = tuple[Any, ...]  # the name of PyTorch's class, its arguments


@dataclass(frozen=True)
class Network:
    name: str
    shape: tuple[int, ...]  # of one sample
    layers: tuple[Layer, ...]
    builder: tuple[Any, ...]  # the name of pynn's function for it, its arguments

    def weights(self) -> dict[str, np.ndarray]:
        """A state dict, the same in every process; no bias is zero, so that one left out is seen."""
        state = {}
        for i, (kind, *arguments) in enumerate(self.layers):
            if kind in ("Conv2d", "Linear"):
                inputs, outputs, *kernel = arguments
                shape = (outputs, inputs, kernel[0], kernel[0]) if kind == "Conv2d" else (outputs, inputs)
                state[f"{i}.weight"] = normal(*shape, seed=i) / np.float32(math.prod(shape[1:]) ** 0.5)
                state[f"{i}.bias"] = normal(outputs, seed=i) / 10
        return state

    def products(self) -> list[int]:
        """Multiply-adds a sample of each layer that has a weight."""
        found = []
        side = self.shape[-1]
        for kind, *arguments in self.layers:
            if kind == "Conv2d":
                inputs, outputs, kernel, _, padding = arguments
                side += 2 * padding - kernel + 1
                found.append(side * side * outputs * inputs * kernel * kernel)
            elif kind == "Linear":
                found.append(arguments[0] * arguments[1])
            elif kind.endswith("Pool2d"):
                side //= 2
        return found

    def flops(self, samples: int) -> float:
        """Of one pass forward."""
        return 2.0 * samples * sum(self.products())

    def training_flops(self, samples: int) -> float:
        """Forward, weight gradient, and input gradient but for the first layer."""
        return 3 * self.flops(samples) - 2.0 * samples * self.products()[0]

    def pynn(self) -> Any:
        import pynn

        name, *arguments = self.builder
        return getattr(pynn.models, name)(*arguments)

    def torch(self) -> Any:
        from torch import nn

        return nn.Sequential(*(getattr(nn, kind)(*arguments) for kind, *arguments in self.layers))


def mlp(*widths: int, activation: str) -> Network:
    layers: list[Layer] = []
    for a, b in itertools.pairwise(widths):
        layers += [("Linear", a, b), (activation,)]
    name = f"MLP {'-'.join(map(str, widths))}, {activation}"
    return Network(name, widths[:1], tuple(layers[:-1]), ("mlp", widths, activation.lower()))


def lenet5(activation: str, pooling: str) -> Network:
    pool = ("AvgPool2d" if pooling == "average" else "MaxPool2d", 2)
    layers = (
        ("Conv2d", 1, 6, 5, 1, 2),
        (activation,),
        pool,
        ("Conv2d", 6, 16, 5, 1, 0),
        (activation,),
        pool,
        ("Flatten",),
        ("Linear", 400, 120),
        (activation,),
        ("Linear", 120, 84),
        (activation,),
        ("Linear", 84, 10),
    )
    builder = ("lenet5", activation.lower(), pooling)
    return Network(f"LeNet-5, {activation}, {pooling} pooling", (1, 28, 28), layers, builder)


def lenet_tf() -> Network:
    layers = (
        ("Conv2d", 1, 32, 5, 1, 2),
        ("ReLU",),
        ("MaxPool2d", 2),
        ("Conv2d", 32, 64, 5, 1, 2),
        ("ReLU",),
        ("MaxPool2d", 2),
        ("Flatten",),
        ("Linear", 3136, 1024),
        ("ReLU",),
        ("Dropout", 0.5),
        ("Linear", 1024, 10),
    )
    return Network("wide LeNet 32-64-1024", (1, 28, 28), layers, ("lenet_tf",))
