"""Telling a person how the training goes."""

from __future__ import annotations

import sys
import time
from typing import Any

_INTERVAL = 0.25  # seconds between two states of the line
_BACK_TO_START, _CLEAR_REST = "\r", "\x1b[K"


class Progress:
    """One rewritten line on a terminal, at most four times a second; one line an epoch elsewhere. Both on stderr.

    With verbose=0 the line of an epoch goes to the logger "pynn.train" at level INFO instead: silent unless logging is
    configured.
    """

    def __init__(self, epochs: int, verbose: int) -> None:
        self._epochs = epochs
        self._stream = sys.stderr if verbose else None
        self.live = bool(self._stream and self._stream.isatty())
        self._next = 0.0
        self._written = False

    def update(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """After a step, on a terminal (`live`)."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            self._write(
                f"{_BACK_TO_START}{self._epoch(epoch)}  {100 * step // steps:3d} %  loss {loss:.4g}{_CLEAR_REST}"
            )

    def epoch(self, row: dict[str, Any]) -> None:
        """After an epoch."""
        values = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name not in ("epoch", "seconds"))
        line = f"{self._epoch(row['epoch'])}  {values}  {row['seconds']:.2f} s"
        if self._stream is None:
            import logging  # 5 ms of import that only silent training needs

            logging.getLogger("pynn.train").info(line)
        elif self.live:
            self._write(f"{_BACK_TO_START}{line}{_CLEAR_REST}")
        else:
            self._write(f"{line}\n")

    def close(self) -> None:
        """Leave the last state of the line and go to the next one."""
        if self.live and self._written:
            self._write("\n")

    def _epoch(self, number: int) -> str:
        return f"epoch {number:{len(str(self._epochs))}d}/{self._epochs}"

    def _write(self, text: str) -> None:
        assert self._stream is not None
        self._written = True
        self._stream.write(text)
        self._stream.flush()
