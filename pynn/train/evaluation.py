"""Loss and accuracy over batches, as one batch of them all would give them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import ops
from ..tensor import Tensor, as_tensor
from .checks import is_class_index


def option(loss: Callable[..., Any], name: str) -> Any:
    """What `loss` has as `name`, in an attribute or as the default of an argument; None where it has none."""
    if hasattr(loss, name):
        return getattr(loss, name)
    from inspect import signature  # not needed by the modules

    try:
        parameter = signature(loss).parameters.get(name)
    except (TypeError, ValueError):  # of a builtin function
        return None
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def is_summed(loss: Callable[..., Any]) -> bool:
    """Whether `loss` is a sum over the samples rather than a mean."""
    return option(loss, "reduction") == "sum"


def ignored_label(loss: Callable[..., Any]) -> int:
    """The label of samples that take no part."""
    label = option(loss, "ignore_index")
    return -100 if label is None else int(label)


class Evaluation:
    """Adds up the losses and the right answers of batches, each with the weight that it has in the whole."""

    def __init__(self, loss: Callable[[Any, Any], Tensor]) -> None:
        self._loss = loss
        self._summed, self._ignored = is_summed(loss), ignored_label(loss)
        self._by_class = option(loss, "ignore_index") is not None
        weight = option(loss, "weight") if self._by_class else None
        self._weights = None if weight is None else as_tensor(weight).detach()
        self._total = self._divisor = 0.0
        self._correct = self._counted = 0
        self._classified = False

    def add(self, output: Tensor, target: Tensor) -> None:
        value, divisor = self._loss(output, target).item(), self._divisor_of(target)
        if divisor:  # or else nothing took part, and the mean over nothing is NaN
            self._total += value if self._summed else value * divisor
            self._divisor += divisor
        if is_class_index(output.shape, target):
            self._classified = True
            self.add_answers(output, target)

    def add_answers(self, output: Tensor, labels: Tensor) -> None:
        """Of outputs (N, classes) for labels (N,): a row with a NaN is no right answer."""
        largest, place = output.max(1)
        counts = labels != self._ignored
        self._correct += int(((place == labels) * (largest == largest) * counts).sum().item())
        self._counted += int(counts.sum().item())

    def loss(self) -> float:
        if self._summed:
            return self._total
        return self._total / self._divisor if self._divisor else math.nan

    def accuracy(self) -> float:
        return self._correct / self._counted if self._counted else math.nan

    def result(self) -> dict[str, float]:
        return {"loss": self.loss(), **({"accuracy": self.accuracy()} if self._classified else {})}

    def _divisor_of(self, target: Tensor) -> float:
        """By what the mean over this batch divides: the samples, or the weights of the labels that take part."""
        if not self._by_class or target.dtype.kind == "f":
            return target.shape[0]
        counts = target != self._ignored
        if self._weights is None:
            return counts.sum().item()
        labels = (target * counts).reshape(-1)  # the ignored ones as class 0
        return (ops.gather_rows(self._weights, labels) * counts.reshape(-1)).sum().item()
