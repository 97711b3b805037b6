"""What happened in each epoch."""

from __future__ import annotations

from typing import Any


class History(list[dict[str, Any]]):
    """One dictionary per completed epoch: epoch (from 1), loss, seconds, and val_loss, val_accuracy where asked for.

    `interrupted` says whether Ctrl-C ended the training early.
    """

    interrupted: bool = False

    def column(self, name: str) -> list[Any]:
        """One value per epoch; None where an epoch has none."""
        return [row.get(name) for row in self]

    def to_csv(self) -> str:
        """The table as CSV: a header, then a line for each epoch. Floats are written so that they read back equal."""
        import csv  # not needed for training
        import io

        names = list(dict.fromkeys(name for row in self for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self)
        return text.getvalue()
