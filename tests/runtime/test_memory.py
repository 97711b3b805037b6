"""The pool, and memory that stays flat."""

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

import pynn
from pynn import _core, ops

FLOAT = np.dtype("float32")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_stats_are_exact():
    gc.collect()
    before = pynn.memory_stats()
    a = _core.empty((1000,), FLOAT)
    during = pynn.memory_stats()
    assert during["live_bytes"] == before["live_bytes"] + 4096  # 4000 bytes in the class of 4096
    assert during["allocations"] == before["allocations"] + 1
    view = _core.reshape(a, (10, 100))
    del a
    assert pynn.memory_stats()["live_bytes"] == during["live_bytes"]
    host = np.asarray(view)
    del view
    assert pynn.memory_stats()["live_bytes"] == during["live_bytes"]
    del host
    assert pynn.memory_stats()["live_bytes"] == before["live_bytes"]


def test_release_memory_gives_memory_back():
    pynn.release_memory()
    before = resident()
    a = _core.full((25_000_000,), 1.0, FLOAT)
    assert resident() > before + 90e6
    del a
    assert resident() > before + 90e6 and pynn.memory_stats()["cached_bytes"] >= 100_000_000
    pynn.release_memory()
    assert resident() < before + 10e6
    stats = pynn.memory_stats()
    assert stats["cached_bytes"] == 0 and stats["workspace_bytes"] == 0


def test_the_cap_holds():
    cap = pynn.memory_stats()["cap_bytes"]
    try:
        _core.set_pool_cap(10_000_000)
        for n in range(1, 30):
            _core.empty((n * 100_000,), FLOAT)
        assert pynn.memory_stats()["cached_bytes"] <= 10_000_000
    finally:
        _core.set_pool_cap(cap)


@pytest.mark.parametrize("shape", [(1 << 62,), (1 << 31, 1 << 31), (1 << 40, 1 << 40), (0, 1 << 62), (1 << 45,)])
def test_impossible_sizes(shape):
    if 0 in shape:
        with pytest.raises(ValueError, match="address space"):
            _core.empty(shape, FLOAT)
        return
    with pytest.raises((MemoryError, ValueError)):
        _core.empty(shape, FLOAT)
    assert pynn.memory_stats()["peak_bytes"] < 1 << 40  # what was never had is no peak


def test_arrays_made_in_one_thread_and_dropped_in_another():
    gc.collect()
    before = pynn.memory_stats()["live_bytes"]
    made = []
    makers = [
        threading.Thread(target=lambda: made.extend(ops.relu(np.ones(5000, np.float32)) for _ in range(50)))
        for _ in range(4)
    ]
    for t in makers:
        t.start()
    for t in makers:
        t.join()
    assert len(made) == 200
    made.clear()
    gc.collect()
    assert pynn.memory_stats()["live_bytes"] == before


@pytest.mark.slow
def test_ten_thousand_random_shapes_leave_memory_flat():
    rng = np.random.default_rng(0)

    def step():
        shape = tuple(int(n) for n in rng.integers(1, 120, rng.integers(1, 4)))
        x = pynn.Tensor._wrap(_core.full(shape, 0.5, FLOAT))  # no NumPy: its memory is not ours to keep flat
        x.requires_grad = True
        ops.tanh(ops.sigmoid(x)).backward(pynn.Tensor._wrap(_core.full(shape, 1.0, FLOAT)))

    gc.collect()
    for _ in range(500):
        step()
    gc.collect()
    before, live = resident(), pynn.memory_stats()["live_bytes"]
    for _ in range(10_000):
        step()
    gc.collect()
    assert resident() <= 1.01 * before
    assert pynn.memory_stats()["live_bytes"] == live
