"""The programs of examples/ run with the package alone, without a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from processes import run_python

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = run_python("-W", "error", path)
    assert run.returncode == 0 and run.stderr == "" and run.stdout, run
    assert not list(tmp_path.iterdir())
