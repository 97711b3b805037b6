"""Checkpoints: what a training consists of, written between two steps and taken up again."""

from __future__ import annotations

import copy
import errno
import math
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import random
from ..data import Loader
from .callbacks import Best, Callback, is_count, is_number

if TYPE_CHECKING:
    from .trainer import Trainer


class Run:
    """Where a call of `fit` stands, after its last complete step."""

    def __init__(self, first: int, loader: Loader | None = None, callbacks: list[Callback] | None = None) -> None:
        self.first = first  # the epoch with which the call began
        self.loader = loader
        self._position: dict[str, int] | None = None
        self.callbacks = callbacks or []
        self.summed = False  # the loss is a sum over its samples, not a mean
        self.gradients: Any = None  # forward and backward pass of a batch, captured
        self.captured: tuple = ()  # what they are valid for
        self.total, self.samples = 0.0, 0  # of the epoch in progress: losses (times samples, of a mean), samples
        self.seconds = 0.0  # of the epoch in progress, before `started`
        self.started: float | None = None
        self.stopped = False  # a callback has ended the training
        self.rng: Any = None  # the default generator before an evaluation, which does not count as progress
        self.torn = False  # in the middle of a step
        self.uneven = False  # some callbacks have seen a step or an epoch that others have not

    def position(self) -> dict[str, int] | None:
        """Where the loader stands."""
        return self._position if self.loader is None else self.loader.state_dict()

    def loss(self) -> float:
        """Of the epoch in progress."""
        return self.total if self.summed else self.total / self.samples if self.samples else math.nan

    def leave_data(self) -> None:
        """Keep the position without the data and recordings."""
        self._position, self.loader, self.gradients, self.captured = self.position(), None, None, ()

    def elapsed(self) -> float:
        """Seconds of the epoch in progress."""
        return self.seconds + (0.0 if self.started is None else time.perf_counter() - self.started)


class Checkpoint(Callback):
    """Writes the whole state of the training to `path`, from which `fit(..., resume=path)` goes on to the same bits.

    Written after every `every_epochs` epochs, after every `every_steps` updates, when `every_seconds` have passed since
    the last time (at the end of an update; None: not), and where training ends without an error, Ctrl-C included. With
    `monitor` it is written after those epochs alone whose value in that column is the best so far ('min' or 'max' by
    `mode`, as for `EarlyStopping`).

    The file is replaced whole or not at all. ValueError for options out of range, OSError where it cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        every_epochs: int | None = 1,
        every_steps: int | None = None,
        every_seconds: float | None = None,
        monitor: str | None = None,
        mode: str = "auto",
    ) -> None:
        for name, value in (("every_epochs", every_epochs), ("every_steps", every_steps)):
            if value is not None and not is_count(value, 1):
                raise ValueError(f"Checkpoint: expected a whole number >= 1 or None for {name}, got {value!r}")
        if every_seconds is not None and not (is_number(every_seconds) and every_seconds >= 0):
            raise ValueError(f"Checkpoint: expected a number >= 0 or None for every_seconds, got {every_seconds!r}")
        if monitor is not None and (every_epochs, every_steps, every_seconds) != (1, None, None):
            raise ValueError("Checkpoint: with monitor, every epoch decides; leave out the other options")
        self.path = os.fspath(path)
        self.every_epochs, self.every_steps, self.every_seconds = every_epochs, every_steps, every_seconds
        self._best = None if monitor is None else Best("Checkpoint", monitor, mode)

    def on_fit_start(self, trainer: Trainer) -> None:
        from ..io.files import remove_leftovers  # not needed for training

        folder = os.path.dirname(self.path) or "."
        if not os.path.isdir(folder):  # known before the training rather than after an hour of it
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        remove_leftovers(self.path)
        if self._best is not None and not trainer.resumed:
            self._best.value = None
        self._steps = self._epochs = 0
        self._time = time.monotonic()

    def on_step_end(self, trainer: Trainer, info: dict[str, Any]) -> None:
        self._steps += 1
        if (self.every_steps is not None and self._steps % self.every_steps == 0) or (
            self.every_seconds is not None and time.monotonic() - self._time >= self.every_seconds
        ):
            self._save(trainer)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> bool | None:
        self._epochs += 1
        if self._best is not None:
            due = self._best.improves(row)
        else:
            due = self.every_epochs is not None and self._epochs % self.every_epochs == 0
        if due:
            self._save(trainer)
        return None

    def on_stop(self, trainer: Trainer) -> None:
        if self._best is None:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._time = time.monotonic()

    def save_state(self, trainer: Trainer) -> dict[str, Any] | None:
        return None if self._best is None else {"monitor": self._best.monitor, "best": self._best.value}

    def load_state(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        assert self._best is not None
        if state["monitor"] != self._best.monitor:
            raise ValueError(f"Checkpoint: expected monitor {self._best.monitor!r}, got {state['monitor']!r}")
        self._best.value = None if state["best"] is None else float(state["best"])


def state_of(trainer: Trainer) -> dict[str, Any]:
    """All that the next step and those after it depend on, besides the data."""
    run = trainer._run
    states = [(type(c).__name__, c.save_state(trainer)) for c in run.callbacks]
    return {
        **_options(trainer),
        "model": trainer.model.state_dict(),
        "optimizer_state": trainer.optimizer.state_dict(),
        "rng": random.get_rng_state() if run.rng is None else run.rng,
        "history": list(trainer.history),
        "loader": run.position(),
        "first": run.first,
        "total": run.total,
        "samples": run.samples,
        "seconds": run.elapsed(),
        "stopped": run.stopped,
        "callbacks": [[name, state] for name, state in states if state is not None],
    }


def restore(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Load the checkpoint into trainer, data and callbacks; ValueError, and no change, where it does not fit."""
    from ..io import load_checkpoint  # not needed for training

    run, state = trainer._run, load_checkpoint(path)
    callbacks = [(c, saved) for c in run.callbacks if (saved := c.save_state(trainer)) is not None]
    try:
        _check_callbacks(state, [type(c).__name__ for c, _ in callbacks])
        try:
            for (callback, _), (_, saved) in zip(callbacks, state["callbacks"], strict=True):
                callback.load_state(trainer, saved)
            _check(trainer, state)
            trainer.optimizer.load_state_dict(state["optimizer_state"])  # all of it or nothing; what follows is checked
        except BaseException:
            for callback, before in callbacks:
                callback.load_state(trainer, before)
            raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"fit: cannot resume from {os.fspath(path)}: {what}") from error
    random.set_rng_state(state["rng"])
    trainer.model.load_state_dict(state["model"])
    trainer.history[:] = state["history"]
    if run.loader is not None and state["loader"] is not None:
        run.loader.load_state_dict(state["loader"])
    run.first, run.stopped = state["first"], state["stopped"] is True
    run.total, run.samples, run.seconds = state["total"], state["samples"], state["seconds"]


def _options(trainer: Trainer) -> dict[str, Any]:
    """What has to be the same for the training to go on."""
    return {
        "optimizer": type(trainer.optimizer).__name__,
        "accumulate": trainer.accumulate,
        "clip_grad_norm": trainer.clip_grad_norm,
    }


def _check_callbacks(state: Mapping[str, Any], expected: list[str]) -> None:
    given = [name for name, _ in state["callbacks"]]
    if given != expected:
        raise ValueError(f"expected the states of the callbacks {expected}, got {given}")


def _check(trainer: Trainer, state: Mapping[str, Any]) -> None:
    for name, value in _options(trainer).items():
        if state[name] != value:
            raise ValueError(f"expected {name} {value}, got {state[name]}")
    check_arrays("model", trainer.model.state_dict(), state["model"])
    random.checked_rng_state(state["rng"])
    loader = trainer._run.loader
    if loader is not None and state["loader"] is not None:
        copy.copy(loader).load_state_dict(state["loader"])
    rows, columns = state["history"], ("epoch", "loss", "seconds")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a history of one dictionary for each epoch")
    for number, row in enumerate(rows, 1):
        if row.get("epoch") != number or not all(isinstance(row.get(name), int | float) for name in columns):
            raise ValueError(f"expected epoch, loss and seconds of epoch {number}, got {row}")
    if not is_count(state["first"], 1) or state["first"] > len(rows) + 1 or not is_count(state["samples"], 0):
        raise ValueError(f"expected numbers of epoch and samples, got {state['first']} and {state['samples']}")
    if not isinstance(state["total"], float) or not isinstance(state["seconds"], float):
        raise ValueError(f"expected numbers for loss and seconds, got {state['total']} and {state['seconds']}")


def check_arrays(what: str, expected: Mapping[str, np.ndarray], given: Mapping[str, Any]) -> None:
    """ValueError for the first name, shape or dtype that differs."""
    for name in [*expected, *given]:
        own, other = expected.get(name), given.get(name)
        if own is None or not isinstance(other, np.ndarray) or (own.shape, own.dtype) != (other.shape, other.dtype):
            raise ValueError(f"{what}: '{name}': expected {_described(own)}, got {_described(other)}")


def _described(array: Any) -> str:
    if array is None:
        return "none"
    return f"{array.dtype.name} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
