"""Data that cannot be trained on, found before the first step."""

from __future__ import annotations

import math

import numpy as np

from .. import ops
from ..tensor import Tensor


def check_finite(values: Tensor, name: str) -> None:
    """ValueError that names the first sample with NaN or infinity."""
    # A sum is ten times faster than a look at each; it may overflow, so that only a finite one is an answer.
    if values.dtype.kind != "f" or math.isfinite(ops.sum(values).item()):
        return
    array = np.asarray(values)
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        raise ValueError(f"{name}: NaN or infinity in sample {int(np.argmin(finite))}")


def is_class_index(output_shape: tuple[int, ...], targets: Tensor) -> bool:
    """Whether outputs (N, classes) meet integer targets (N,)."""
    return len(output_shape) == 2 and targets.ndim == 1 and targets.dtype.kind == "i"


def check_labels(labels: Tensor, output_shape: tuple[int, ...], ignored: int, caller: str) -> None:
    """ValueError where class indices do not fit the number of outputs; `ignored` is a label without a class."""
    if not is_class_index(output_shape, labels):
        return
    classes, values = output_shape[1], np.asarray(labels)
    wrong = ((values < 0) | (values >= classes)) & (values != ignored)
    if wrong.any():
        sample = int(np.argmax(wrong))
        raise ValueError(
            f"{caller}: expected labels 0 to {classes - 1} for {classes} outputs, "
            f"got {values[sample]} in sample {sample}"
        )
