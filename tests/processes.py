"""Fresh Python processes that import the same pynn as this one, installed or in the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pynn

PACKAGE = Path(pynn.__file__).parent


def run_python(
    *arguments: str | Path, path: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the interpreter in an empty folder; modules also come from `path`."""
    folders = (PACKAGE.parent, path, os.environ.get("PYTHONPATH"))
    search = os.pathsep.join(str(folder) for folder in folders if folder)
    command = [sys.executable, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": search, **environment},
        )
