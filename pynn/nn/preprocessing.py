"""From raw samples, pixels for instance, to what a model was trained on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..tensor import Tensor, as_tensor

_LARGEST = float(np.finfo(np.float32).max)


class Preprocessing:
    """(sample * scale - mean) / std of raw samples; a part of the model's description and of its file.

    `input_shape` is that of one sample: (channels, height, width) of images. `mean` and `std` are numbers, or hold one
    value for each channel; `flatten` says that the model takes each sample as one row of numbers.

    Call it on raw samples (uint8 or other integers) to get float32 as the model was trained on, (N, *input_shape) or
    (N, numbers); floating-point samples are taken as scaled already. ValueError for arguments out of range.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        scale: float = 1 / 255,
        mean: float | tuple[float, ...] = 0.0,
        std: float | tuple[float, ...] = 1.0,
        flatten: bool = False,
    ) -> None:
        if not isinstance(input_shape, tuple | list) or not input_shape or not all(map(_is_size, input_shape)):
            raise ValueError(f"Preprocessing: expected sizes >= 1 of one sample as input_shape, got {input_shape!r}")
        self.input_shape = tuple(map(int, input_shape))
        self.scale = _numbers(scale, "scale", None)
        self.mean = _numbers(mean, "mean", self.input_shape[0])
        self.std = _numbers(std, "std", self.input_shape[0])
        if not np.all(np.asarray(self.std) > 0):
            raise ValueError(f"Preprocessing: expected numbers > 0 for std, got {std!r}")
        if not isinstance(flatten, bool):
            raise ValueError(f"Preprocessing: expected True or False for flatten, got {flatten!r}")
        self.flatten = flatten

    def config(self) -> dict[str, Any]:
        """The arguments that build it again."""
        return dict(vars(self))

    def samples(self, x: Any) -> Tensor:
        """`x` as (N, *input_shape): one sample or many; channel 1 of images may be left out, and rows of numbers are
        taken where the model takes such.

        ValueError that names both sizes where they do not fit, TypeError for bool.
        """
        t = as_tensor(x).detach()
        if t.dtype.kind == "b":
            raise TypeError("predict: expected integers or floating-point numbers, got bool")
        shape = self.input_shape
        forms = [shape]
        if len(shape) == 3 and shape[0] == 1:
            forms.append(shape[1:])
        if self.flatten:
            forms.append((math.prod(shape),))
        for form in forms:
            if t.shape == form:
                return ops.reshape(t, 1, *shape)
            if t.ndim == len(form) + 1 and t.shape[1:] == form:
                return ops.reshape(t, t.shape[0], *shape)
        expected = " or ".join(f"(N, {', '.join(map(str, form))})" for form in forms)
        raise ValueError(f"predict: expected samples of shape {expected}, or one of them, got {t.shape}")

    def __call__(self, x: Any) -> Tensor:
        t = self.samples(x)
        if t.dtype.kind != "f":
            t = ops.gather_rows(t, np.arange(t.shape[0]), self.scale, self.mean, self.std, axis=1)
        return ops.flatten(t, 1) if self.flatten else t

    def __repr__(self) -> str:
        return f"Preprocessing({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def _is_size(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 1


def _numbers(value: Any, name: str, channels: int | None) -> Any:
    """A finite number, or where `channels` is given a tuple of as many."""
    several = channels is not None and isinstance(value, tuple | list | np.ndarray) and np.ndim(value) == 1
    numbers = tuple(value) if several else (value,)
    if (several and len(numbers) != channels) or not all(map(_is_finite, numbers)):
        what = "a finite number" if channels is None else f"a finite number, or one for each of {channels} channels,"
        raise ValueError(f"Preprocessing: expected {what} for {name}, got {value!r}")
    return tuple(map(float, numbers)) if several else float(value)


def _is_finite(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and abs(value) <= _LARGEST
