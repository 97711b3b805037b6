"""The timing loop and the report; not how fast anything is."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pynn
from processes import run_python

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.report
    import benchmarks.timing
    import benchmarks.worker

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


def test_a_check_is_compared_in_place_of_the_call(benchmarks, monkeypatch):
    class Call:
        def __call__(self):
            return 1.0

        def check(self):
            return 2.0, [3.0]

    row = SimpleNamespace(training=False, inputs=tuple, pynn=Call)
    monkeypatch.setitem(sys.modules, "rows", SimpleNamespace(ROWS=[row]))
    assert benchmarks.worker.Service("pynn", 1).prepare("rows", 0) == [2.0, 3.0]


def test_the_whole_program(tmp_path):
    result = tmp_path / "result.json"
    arguments = ["activation", "--quick", "--peers", "numpy", "--match", "relu 128x30", "--json", result]
    run = run_python("-m", "benchmarks", *arguments, path=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    (row,) = json.loads(result.read_text())["rows"]
    assert row["name"] == "relu 128x30" and row["seconds"] > 0 and set(row["peers"]) == {"numpy"}
    assert "| relu 128x30 |" in run.stdout


def test_a_peer_runs_in_its_faster_setting(benchmarks, monkeypatch):
    now = 0.0

    def taking(seconds):
        def call():
            nonlocal now
            now += seconds

        return call

    slow, fast = taking(2.0), taking(1.0)
    monkeypatch.setattr(benchmarks.timing, "perf_counter", lambda: now)
    assert benchmarks.timing.faster([slow, fast]) is fast
    assert benchmarks.timing.faster([fast, slow]) is fast


def test_networks_are_those_of_pynn(benchmarks):
    from benchmarks import inference, training

    networks = {row.network.name: row.network for row in (*training.ROWS, *inference.ROWS)}
    assert len(networks) >= 6
    for network in networks.values():
        model = network.pynn()
        model.load_state_dict(network.weights())  # a KeyError or a ValueError for other layers
        assert sum(network.products()) == pynn.nn.summary(model, network.shape).multiply_adds


@pytest.mark.parametrize("peer", ["torch", "onnxruntime"])
def test_inference_agrees_with(peer, tmp_path):
    for module in (peer, *(["onnx"] if peer == "onnxruntime" else [])):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}")
    result = tmp_path / "result.json"
    arguments = ["inference", "--quick", "--peers", peer, "--match", "batch 1", "--json", result]
    run = run_python("-m", "benchmarks", *arguments, path=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = json.loads(result.read_text())["rows"]
    assert len(rows) == 3 and all(set(row["peers"]) == {peer} for row in rows)
