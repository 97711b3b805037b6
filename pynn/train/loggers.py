"""The history as a file that grows while the training goes on."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer


class _Logger(Callback):
    """Holds all rows of `trainer.history`, from its first epoch on, at any time: one line an epoch, flushed.

    A file that is there when `fit` starts is replaced by the rows of the history so far. So training that goes on, by
    another call of `fit` or from a checkpoint, leaves every epoch in it once. To a device or a pipe all rows so far are
    written at the start, and again when a column is new.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._file: TextIO | None = None

    def on_fit_start(self, trainer: Trainer) -> None:
        self._rewrite(trainer)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> bool | None:
        assert self._file is not None
        if not self._append(self._file, row):
            self._rewrite(trainer)
        self._file.flush()
        return None

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rewrite(self, trainer: Trainer) -> None:
        from ..io.files import is_stream, replacing  # not needed for training

        content = self._content(trainer)
        if is_stream(self.path):
            self._file = self._file or open(self.path, "w", encoding="utf-8", newline="")
            self._file.write(content)
            self._file.flush()
            return
        if self._file is not None:
            self._file.close()
        with replacing(self.path) as file:
            file.write(content.encode())
        self._file = open(self.path, "a", encoding="utf-8", newline="")

    def _content(self, trainer: Trainer) -> str:
        raise NotImplementedError

    def _append(self, file: TextIO, row: dict[str, Any]) -> bool:
        """Write the row; False where the whole file has to be written anew for it."""
        raise NotImplementedError


class CSVLogger(_Logger):
    """Writes the history to `path` as CSV while training goes on: `History.to_csv`, one line added after each epoch.

    A file that is there when `fit` starts is replaced by the epochs that `trainer.history` already has, so that going
    on, from a checkpoint too, leaves each epoch in it once. OSError where it cannot be written.
    """

    def _content(self, trainer: Trainer) -> str:
        self._columns = list(dict.fromkeys(name for row in trainer.history for name in row))
        return trainer.history.to_csv() if self._columns else ""

    def _append(self, file: TextIO, row: dict[str, Any]) -> bool:
        import csv

        if not set(row) <= set(self._columns):
            return False
        csv.DictWriter(file, self._columns, lineterminator="\n").writerow(row)
        return True


class JSONLogger(_Logger):
    """Writes the history to `path` while training goes on: JSON Lines, an object for each epoch, flushed after it.

    JSON has no NaN and no infinity: null. A file that is there when `fit` starts is replaced by the epochs that
    `trainer.history` already has, as by `CSVLogger`.
    """

    def _content(self, trainer: Trainer) -> str:
        return "".join(_json_line(row) for row in trainer.history)

    def _append(self, file: TextIO, row: dict[str, Any]) -> bool:
        file.write(_json_line(row))
        return True


def _json_line(row: dict[str, Any]) -> str:
    import json

    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in plain.items()}
    return json.dumps(finite, allow_nan=False) + "\n"
