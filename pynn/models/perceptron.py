"""The single threshold neuron and its learning rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..nn import Module, Parameter, init
from ..nn.parameter import empty
from ..tensor import Tensor, as_tensor, float32


class Perceptron(Module):
    """One neuron with a threshold: +1 where w·x + b > 0, else -1. Starts from zero weights.

    Attributes: `weight` (in_features,), `bias` (1,). (Rosenblatt 1958.)
    """

    def __init__(self, in_features: int) -> None:
        self.in_features = in_features
        self.weight = init.zeros_(Parameter(Tensor._wrap(empty((in_features,), float32))))
        self.bias = init.zeros_(Parameter(Tensor._wrap(empty((1,), float32))))
        self.requires_grad_(False)

    def forward(self, input: Any) -> Tensor:
        """input (N, in_features) → (N,) of ±1."""
        potential = ops.matmul(as_tensor(input, dtype=float32), self.weight) + self.bias
        return ops.cast(ops.gt(potential, 0), float32) * 2 - 1

    def fit(self, x: Any, y: Any, max_epochs: int = 1000) -> int:
        """Learn labels ±1 by the perceptron rule: a wrong sample adds y·x to the weights and y to the bias.

        x (N, in_features), y (N,). Returns the number of passes after which no sample was wrong. Raises ValueError for
        other labels, NaN or infinity in x, and `max_epochs` below 1; RuntimeError where `max_epochs` passes do not
        suffice (the classes are then not separable by a line, or nearly so); the weights of the last pass stay.
        """
        samples, labels = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if samples.ndim != 2 or samples.shape[1:] != self.weight.shape:
            raise ValueError(f"Perceptron: expected x of shape (N, {self.weight.shape[0]}), got {samples.shape}")
        if labels.shape != samples.shape[:1]:
            raise ValueError(f"Perceptron: expected y of shape {samples.shape[:1]}, got {labels.shape}")
        if not np.isin(labels, (-1, 1)).all():
            raise ValueError(f"Perceptron: expected labels -1 and 1, got {np.unique(labels)}")
        if not np.isfinite(samples).all():
            raise ValueError("Perceptron: expected finite numbers in x, got NaN or infinity")
        if max_epochs < 1:
            raise ValueError(f"Perceptron: expected max_epochs >= 1, got {max_epochs!r}")
        # One neuron, one sample at a time: a loop over a few numbers, not a kernel's work.
        w, b = np.asarray(self.weight, np.float64).copy(), self.bias.item()
        try:
            for epoch in range(max_epochs):
                wrong = 0
                for sample, label in zip(samples, labels, strict=True):
                    if label * (w @ sample + b) <= 0:
                        w += label * sample
                        b += label
                        wrong += 1
                if not wrong:
                    return epoch
        finally:
            self.weight.copy_(w)
            self.bias.fill_(b)
        raise RuntimeError(f"Perceptron: {wrong} of {len(labels)} samples still wrong after {max_epochs} passes")
