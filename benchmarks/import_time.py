"""A fresh interpreter that imports the library."""

from __future__ import annotations

import subprocess
import sys

from .row import Call, Row


class Import(Row):
    family = "import"
    name = "import in a new process"
    readme = True

    def pynn(self) -> Call:
        return importing("pynn")

    def numpy(self) -> Call:
        return importing("numpy")

    def torch(self) -> Call:
        return importing("torch")

    def sklearn(self) -> Call:
        return importing("sklearn.neural_network")


def importing(module: str) -> Call:
    command = [sys.executable, "-c", f"import {module}"]

    def run() -> None:
        subprocess.run(command, check=True)

    return run


ROWS = [Import()]
