"""Arrays as shuffled batches."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import _core
from ..random import Generator, randperm
from ..tensor import Tensor, as_tensor, float32, float64, int64, uint8

# Epochs draw from streams of their own, apart from the generators of initial weights and dropout.
_FIRST_STREAM = 1 << 32


class Loader:
    """Batches of `inputs` (N, …) and `targets` (N, …): every iteration is one epoch of tensors (x, y), or x alone.

    Each epoch has its own order, fixed by (seed, epoch) alone; `shuffle=False` keeps the order of the arrays. A batch
    is gathered into memory of its own, so that it may be kept. Where normalisation is asked for, x is float32

        (inputs * scale - mean) / std

    computed by the kernel that gathers; `scale` is 1/255 for uint8 inputs and 1 for others unless given. `mean` and
    `std` are numbers, or one value per channel (axis 1). Other inputs keep their dtype; integer targets become int64.

    The arrays are shared, not copied. ValueError for lengths that differ and for options out of range.
    """

    def __init__(
        self,
        inputs: Any,
        targets: Any = None,
        batch_size: int = 64,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        scale: float | None = None,
        mean: Any = 0.0,
        std: Any = 1.0,
    ) -> None:
        if isinstance(targets, np.ndarray) and targets.dtype.kind in "iu":  # of any width and byte order
            targets = targets.astype(np.int64, copy=False)
        self.inputs = _rows(inputs, "inputs")
        self.targets = None if targets is None else _rows(targets, "targets")
        self.samples = self.inputs.shape[0]
        if self.targets is not None:
            if self.targets.shape[0] != self.samples:
                raise ValueError(
                    f"Loader: expected as many targets as inputs, got {self.targets.shape[0]} targets for "
                    f"{self.samples} inputs"
                )
            if self.targets.dtype.kind in "iu":
                self.targets = self.targets.long()
        self.batch_size = _whole(batch_size, "batch_size", 1)
        self.seed = _whole(seed, "seed", 0)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self._normalisation = _normalisation(self.inputs.dtype, scale, mean, std)
        self._next = (0, 0)  # epoch and batch with which the next iteration starts
        self._position = (0, 0)  # epoch and batch that follow the last one given out

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration gives, from 0; it may be set."""
        return self._next[0]

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._next = self._position = (_whole(number, "epoch", 0), 0)

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        epoch, start = self._position = self._next
        self._next = (epoch + 1, 0)
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Any]:
        order = _permutation(self.samples, self.seed, epoch) if self.shuffle else np.arange(self.samples)
        for number in range(start, len(self)):
            self._position = (epoch, number + 1)
            batch = self.take(order[number * self.batch_size : (number + 1) * self.batch_size])
            yield batch[0] if self.targets is None else batch
        self._position = (epoch + 1, 0)

    def take(self, index: Any) -> tuple[Tensor, Tensor | None]:
        """The samples at `index` (n,), normalised, with their targets."""
        rows = as_tensor(index, dtype=int64)._array
        if self._normalisation is None:
            x = _core.gather_rows(self.inputs._array, rows, None)
        else:
            factor, summand = self._normalisation
            x = _core.gather_normalized(self.inputs._array, rows, factor._array, summand._array, 1, None)
        y = None if self.targets is None else Tensor._wrap(_core.gather_rows(self.targets._array, rows, None))
        return Tensor._wrap(x), y

    def in_order(self, batch_size: int, targets: bool = True) -> Loader:
        """All of the same samples in the order of the arrays, normalised alike, with or without the targets."""
        other = copy.copy(self)
        other.batch_size = _whole(batch_size, "batch_size", 1)
        other.shuffle = other.drop_last = False
        other.targets = self.targets if targets else None
        other.epoch = 0
        return other

    def state_dict(self) -> dict[str, int]:
        """Where the iteration stands: a loader that loads it goes on with the batch after the last one given out."""
        epoch, batch = self._position
        return {"epoch": epoch, "batch": batch, **self._order()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on where `state` was taken, in the same epoch.

        ValueError where the order of the batches would not be the same: another seed, batch size, number of samples.
        """
        for name, value in self._order().items():
            if state[name] != value:
                raise ValueError(f"Loader.load_state_dict: expected {name} {value}, got {state[name]}")
        position = _whole(state["epoch"], "epoch", 0), _whole(state["batch"], "batch", 0)
        if position[0] >= 2**62 or position[1] > len(self):
            raise ValueError(
                f"Loader.load_state_dict: expected an epoch and at most {len(self)} batches, got {position}"
            )
        self._next = self._position = position

    def _order(self) -> dict[str, int]:
        """What the order of the batches depends on, besides the position."""
        names = ("seed", "samples", "batch_size", "shuffle", "drop_last")
        return {name: int(getattr(self, name)) for name in names}


def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: keyed by (seed, epoch), so that every epoch can be had without those before it."""
    return randperm(n, Generator(seed, stream=_FIRST_STREAM + epoch)).numpy()


def _rows(values: Any, name: str) -> Tensor:
    rows = as_tensor(values).detach()
    if rows.ndim == 0:
        raise ValueError(f"Loader: expected at least 1 dimension for {name}, got a single number")
    return rows


def _whole(value: Any, name: str, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ValueError(f"Loader: expected a whole number >= {least} for {name}, got {value!r}")
    return number


def _normalisation(dtype: np.dtype, scale: float | None, mean: Any, std: Any) -> tuple[Tensor, Tensor] | None:
    """Factor and summand of the kernel, or None where the inputs are taken as they are."""
    scale = (1 / 255 if dtype == uint8 else 1.0) if scale is None else float(scale)
    mean, std = np.asarray(mean, float64), np.asarray(std, float64)
    if not (np.isfinite(scale) and np.isfinite(mean).all()):
        raise ValueError(f"Loader: expected finite numbers for scale and mean, got {scale} and {mean}")
    if not (np.isfinite(std).all() and (std > 0).all()):
        raise ValueError(f"Loader: expected numbers > 0 for std, got {std}")
    if mean.ndim > 1 or std.ndim > 1 or (mean.ndim == std.ndim == 1 and len(mean) != len(std)):
        raise ValueError(
            "Loader: expected a number or one value per channel for mean and std, "
            f"got shapes {mean.shape} and {std.shape}"
        )
    if dtype != uint8 and scale == 1 and not mean.any() and (std == 1).all():
        return None
    factor, summand = np.broadcast_arrays(scale / std, -mean / std)
    return as_tensor(np.array(factor, float32)), as_tensor(np.array(summand, float32))
