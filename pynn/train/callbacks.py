"""What is called while a Trainer trains: the base class, early stopping, schedules of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Base of all callbacks of `Trainer.fit`; override what is needed.

    A plain function is a callback too: it is called as function(trainer, row) in place of `on_epoch_end`. What a
    callback has to remember so that training resumed from a checkpoint goes on as if it had never stopped goes through
    `save_state` and `load_state`.
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step; `trainer.resumed` says whether a checkpoint was loaded just before."""

    def on_step_end(self, trainer: Trainer, info: dict[str, Any]) -> None:
        """After each update of the weights.

        `info`: epoch (from 1), step (batches of this epoch so far), steps (batches in an epoch), loss (mean over the
        samples of this update), samples (their number), and grad_norm where the Trainer clips it.
        """

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> bool | None:
        """After each epoch, with its row of the history. Return True to end the training."""

    def on_stop(self, trainer: Trainer) -> None:
        """After the last step where training ends without an error, Ctrl-C included; before any `on_fit_end`."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """However training ends, errors and Ctrl-C included; the callbacks are called in reverse order."""

    def save_state(self, trainer: Trainer) -> dict[str, Any] | None:
        """What belongs into a checkpoint: dictionaries, lists, strings, numbers, arrays; or None."""
        return None

    def load_state(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        """Take over what `save_state` gave; ValueError, and no change, where it does not fit."""


class FunctionCallback(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[Trainer, dict[str, Any]], Any]) -> None:
        self._function = function

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> bool | None:
        return self._function(trainer, row)


def as_callbacks(values: Iterable[Any]) -> list[Callback]:
    """Callbacks and functions as callbacks; TypeError for anything else."""
    result = []
    for value in values:
        if not isinstance(value, Callback) and (not callable(value) or isinstance(value, type)):
            raise TypeError(f"fit: expected functions or pynn.train.Callback objects as callbacks, got {value!r}")
        result.append(value if isinstance(value, Callback) else FunctionCallback(value))
    return result


class Best:
    """The best value so far of one column of the history."""

    def __init__(self, owner: str, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("min", "max", "auto"):
            raise ValueError(f"{owner}: expected 'min', 'max' or 'auto' as mode, got {mode!r}")
        if not is_number(min_delta) or not min_delta >= 0:
            raise ValueError(f"{owner}: expected a number >= 0 for min_delta, got {min_delta!r}")
        self.owner, self.monitor = owner, monitor
        self._sign = -1.0 if mode == "max" or (mode == "auto" and monitor.endswith("accuracy")) else 1.0
        self._min_delta = min_delta
        self.value: float | None = None

    def improves(self, row: Mapping[str, Any]) -> bool:
        """Whether `row` has a better value, which then is the best; NaN never is."""
        value = monitored(self.owner, row, self.monitor)
        better = not math.isnan(value) and (self.value is None or self._sign * (self.value - value) > self._min_delta)
        if better:
            self.value = value
        return better


def monitored(owner: str, row: Mapping[str, Any], monitor: str) -> float:
    """The value of a column; ValueError that names the columns where there is no such one."""
    if monitor not in row:
        hint = "; give fit a validation set" if monitor.startswith("val_") else ""
        raise ValueError(f"{owner}: expected one of the columns {', '.join(row)} to monitor, got {monitor!r}{hint}")
    return float(row[monitor])


def is_count(value: Any, least: int) -> bool:
    """Whether `value` is a whole number >= `least`."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least


def is_number(value: Any) -> bool:
    """Whether `value` is a real number, NaN included."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


class EarlyStopping(Callback):
    """Ends the training when column `monitor` of the history has not improved for `patience` epochs in a row.

    An improvement is one by more than `min_delta`; `mode` says whether lower ('min') or higher ('max') is better,
    'auto' takes 'max' for a name that ends in "accuracy". NaN is no improvement. `restore_best` puts the weights of the
    best epoch back however training ends: by itself, by another callback, by Ctrl-C or by an error.

    `best` is the best value, `best_epoch` its epoch (None before the first). A new call of `fit` starts afresh.
    ValueError for options out of range, and after the first epoch for a column that the history has not. (Prechelt
    1998.)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        if not is_count(patience, 0):
            raise ValueError(f"EarlyStopping: expected a whole number >= 0 for patience, got {patience!r}")
        self.patience = int(patience)
        self.restore_best = bool(restore_best)
        self._best = Best("EarlyStopping", monitor, mode, min_delta)
        self._reset()

    def _reset(self) -> None:
        self._best.value = None
        self.best_epoch: int | None = None
        self._waited = 0
        self._weights: dict[str, np.ndarray] | None = None

    @property
    def best(self) -> float | None:
        return self._best.value

    def on_fit_start(self, trainer: Trainer) -> None:
        if not trainer.resumed:
            self._reset()

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> bool | None:
        if self._best.improves(row):
            self.best_epoch = row["epoch"]
            self._waited = 0
            if self.restore_best:
                self._weights = trainer.model.state_dict()
            return False
        self._waited += 1
        return self._waited >= max(self.patience, 1)

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._weights is not None:
            trainer.model.load_state_dict(self._weights)

    def save_state(self, trainer: Trainer) -> dict[str, Any] | None:
        state = {"monitor": self._best.monitor, "best": self.best, "best_epoch": self.best_epoch}
        return {**state, "waited": self._waited, "weights": self._weights}

    def load_state(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        from .checkpoint import check_arrays  # which builds on this module

        best, epoch, waited, weights = (state[name] for name in ("best", "best_epoch", "waited", "weights"))
        if state["monitor"] != self._best.monitor:
            raise ValueError(f"EarlyStopping: expected monitor {self._best.monitor!r}, got {state['monitor']!r}")
        if (epoch is None) != (best is None) or not (epoch is None or is_count(epoch, 1)) or not is_count(waited, 0):
            raise ValueError(f"EarlyStopping: expected epochs, got best_epoch {epoch!r} and waited {waited!r}")
        if weights is not None:
            check_arrays("EarlyStopping: best weights", trainer.model.state_dict(), weights)
        self._best.value = None if best is None else float(best)
        self.best_epoch, self._waited = epoch, waited
        self._weights = weights if self.restore_best else None


class Schedule(Callback):
    """Steps a `pynn.optim.lr_scheduler` after each epoch, or after each update with `every="step"`.

    `monitor` is the column whose value the scheduler is stepped with; `ReduceLROnPlateau` needs one and takes val_loss
    unless told otherwise, the others take none. ValueError for another `every`, for a monitor with steps or with one of
    the others, and in `fit` for a scheduler of another optimizer than the Trainer's.
    """

    def __init__(self, scheduler: Any, every: str = "epoch", monitor: str | None = None) -> None:
        if every not in ("epoch", "step"):
            raise ValueError(f"Schedule: expected 'epoch' or 'step' for every, got {every!r}")
        self.scheduler = scheduler
        self.every = every
        self.monitor = "val_loss" if monitor is None and getattr(scheduler, "needs_metric", False) else monitor
        if monitor is not None and not getattr(scheduler, "needs_metric", True):
            raise ValueError(
                f"Schedule: {type(scheduler).__name__} is stepped without a value, got monitor={monitor!r}"
            )
        if self.monitor is not None and every == "step":
            raise ValueError(f"Schedule: {self.monitor} is known after an epoch only; expected every='epoch'")

    def on_fit_start(self, trainer: Trainer) -> None:
        if self.scheduler.optimizer is not trainer.optimizer:
            raise ValueError("Schedule: expected a scheduler of the Trainer's optimizer, got one of another")

    def on_step_end(self, trainer: Trainer, info: dict[str, Any]) -> None:
        if self.every == "step":
            self.scheduler.step()

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> bool | None:
        if self.monitor is not None:
            self.scheduler.step(monitored("Schedule", row, self.monitor))
        elif self.every == "epoch":
            self.scheduler.step()
        return None

    def save_state(self, trainer: Trainer) -> dict[str, Any] | None:
        return {"scheduler": type(self.scheduler).__name__, "state": self.scheduler.state_dict()}

    def load_state(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        name = type(self.scheduler).__name__
        if state["scheduler"] != name:
            raise ValueError(f"Schedule: expected the state of {name}, got that of {state['scheduler']}")
        self.scheduler.load_state_dict(state["state"])
