"""The multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .. import nn
from .registry import register

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


@register
def mlp(sizes: Sequence[int], activation: str = "relu") -> nn.Sequential:
    """Linear layers with an activation between them: `mlp([784, 100, 10])` maps (N, 784) to logits (N, 10).

    `activation`: "relu", "sigmoid" or "tanh". ValueError for fewer than two sizes or another activation.
    """
    if len(sizes) < 2:
        raise ValueError(f"mlp: expected at least the sizes of input and output, got {list(sizes)}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"mlp: expected one of {', '.join(ACTIVATIONS)} as activation, got {activation!r}")
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])
