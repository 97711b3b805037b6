"""The timing loop and the report; not how fast anything is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from processes import run_python

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="needs the source tree")


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.report
    import benchmarks.timing

    return benchmarks


def test_a_block_drops_its_first_quarter(benchmarks, monkeypatch):
    now = 0.0
    calls = 0

    def call():
        nonlocal now, calls
        now += 5.0 if calls < 2 else 1.0  # the first two calls are slow
        calls += 1

    monkeypatch.setattr(benchmarks.timing, "perf_counter", lambda: now)
    assert benchmarks.timing.time_block(call, 8) == 1.0
    assert calls == 8


def test_a_block_is_long_enough(benchmarks, monkeypatch):
    now = 0.0

    def call():
        nonlocal now
        now += seconds

    monkeypatch.setattr(benchmarks.timing, "perf_counter", lambda: now)
    for seconds in (1e-6, 1e-4, 3e-3):
        calls = benchmarks.timing.calls_per_block(call)
        assert calls >= 4 and 0.02 <= calls * seconds <= 0.05
    seconds = 0.5
    assert benchmarks.timing.calls_per_block(call) == 1


def test_ratios_are_medians_over_rounds(benchmarks):
    compared = benchmarks.timing.compare([(1.0, 2.0), (1.0, 3.0), (2.0, 2.0)])
    assert compared.ratio == 2.0 and compared.low == 1.5 and compared.high == 2.5


def test_rows_that_disagree_are_found(benchmarks):
    row = benchmarks.row.Row()
    a = np.array([1.0, 2.0], np.float32)
    assert row.agree([a], [a]) == ""
    assert "differ" in row.agree([a], [a * 1.001])
    assert "differ" in row.agree([np.array([1.0, np.nan])], [a])
    assert "shape" in row.agree([a], [a[:1]])
    assert "outputs" in row.agree([a, a], [a])


def test_the_whole_program(tmp_path):
    result = tmp_path / "result.json"
    arguments = ["activation", "--quick", "--peers", "numpy", "--match", "relu 128x30", "--json", result]
    run = run_python("-m", "benchmarks", *arguments, path=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    (row,) = json.loads(result.read_text())["rows"]
    assert row["name"] == "relu 128x30" and row["seconds"] > 0 and set(row["peers"]) == {"numpy"}
    assert "| relu 128x30 |" in run.stdout
