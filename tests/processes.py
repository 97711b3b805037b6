"""Fresh Python processes that import the same pynn as this one: conftest.py sets PYTHONPATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pynn

PACKAGE = Path(pynn.__file__).parent


def run_python(
    *arguments: str | Path, path: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the interpreter; modules also come from `path`. The caller looks at the result."""
    search = os.environ["PYTHONPATH"] + (f"{os.pathsep}{path}" if path else "")
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": search, **environment},
    )
