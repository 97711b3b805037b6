"""The stubs of the compiled module are fresh, and a program that uses the library type-checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from processes import PACKAGE, run_python

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "tests/typing/program.py"


@pytest.mark.skipif(not (ROOT / ".ci/stubs").is_file(), reason="needs the source tree")
def test_stubs_are_fresh(tmp_path):
    pytest.importorskip("pybind11_stubgen")
    run = run_python(ROOT / ".ci/stubs", tmp_path / "_core.pyi")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "_core.pyi").read_text() == (PACKAGE / "_core.pyi").read_text(), "old: run .ci/stubs"


def test_a_program_type_checks(tmp_path):
    pytest.importorskip("mypy")
    in_tree = {} if PACKAGE.parent.name == "site-packages" else {"MYPYPATH": str(PACKAGE.parent)}
    arguments = ["--strict", "--follow-imports=silent", "--cache-dir", tmp_path, PROGRAM]
    run = run_python("-m", "mypy", *arguments, **in_tree)
    assert run.returncode == 0, run.stdout + run.stderr
