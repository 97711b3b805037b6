"""The stubs of the compiled module are fresh, and a program that uses the library type-checks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STUB = ROOT / "pynn/_core.pyi"
PROGRAM = Path(__file__).parent / "typing/program.py"


@pytest.mark.skipif(not (ROOT / ".ci/stubs").is_file(), reason="needs the source tree")
def test_stubs_are_fresh(tmp_path):
    pytest.importorskip("pybind11_stubgen")
    subprocess.run([sys.executable, ROOT / ".ci/stubs", tmp_path / "_core.pyi"], check=True)
    assert (tmp_path / "_core.pyi").read_text() == STUB.read_text(), "out of date: run .ci/stubs"


def test_a_program_type_checks(tmp_path):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path, PROGRAM]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
