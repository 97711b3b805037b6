"""The thread team, seen from Python."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import pynn
from opcase import all_threads, same_bits
from pynn import _core, ops

LARGE = 400_000


@pytest.fixture
def x():
    return pynn.tensor(np.random.default_rng(0).standard_normal(LARGE).astype(np.float32))


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_import_starts_no_thread():
    count = "len(os.listdir('/proc/self/task'))"
    code = f"import os, numpy; n = {count}; import pynn; print({count} - n)"
    assert run(code).stdout.strip() == "0"


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_same_bits_and_as_many_threads_as_asked_for(x, n):
    _core.stop_team()
    with pynn.threads(1):
        expected = ops.sigmoid(x).numpy()
    with all_threads(n):
        assert pynn.get_num_threads() == n
        assert same_bits(ops.sigmoid(x).numpy(), expected)
        assert _core.team_workers() == n - 1


def test_threads_blocks_nest_and_concern_one_thread():
    before = pynn.get_num_threads()
    seen = []
    with pynn.threads(3) as nothing:
        with pynn.threads(5):
            assert pynn.get_num_threads() == 5
        assert nothing is None and pynn.get_num_threads() == 3
        other = threading.Thread(target=lambda: seen.append(pynn.get_num_threads()))
        other.start()
        other.join()
    assert seen == [before] and pynn.get_num_threads() == before


def test_a_block_ends_with_an_exception():
    with pytest.raises(ZeroDivisionError), pynn.threads(3):
        raise ZeroDivisionError
    assert _core.local_threads() == 0


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", None, True, 5000, 2**70])
def test_bad_numbers_of_threads(n):
    for function in (pynn.threads, pynn.set_num_threads):
        with pytest.raises(ValueError, match="threads: expected a whole number of threads from 1 to 1024"):
            function(n)


def test_set_num_threads():
    before = pynn.get_num_threads()
    try:
        pynn.set_num_threads(3)
        assert pynn.get_num_threads() == 3
        assert pynn.info()["threads"] == 3 and pynn.info()["threads_from"] == "set_num_threads"
    finally:
        pynn.set_num_threads(before)


def test_eight_callers_at_once(x):
    expected = ops.tanh(x).numpy()
    wrong = []

    def call():
        for _ in range(10):
            if not same_bits(ops.tanh(x).numpy(), expected):
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(8)]
    with all_threads(3):
        for t in callers:
            t.start()
        for t in callers:
            t.join()
    assert not wrong


def test_large_calls_release_the_gil(x):
    """While one thread computes, the Python code of another one runs."""
    large = pynn.tensor(np.zeros(30_000_000, np.float32))
    took = []
    done = threading.Event()

    def compute():
        with pynn.threads(1):
            start = time.perf_counter()
            ops.tanh(large)
            took.append(time.perf_counter() - start)
        done.set()

    worker = threading.Thread(target=compute)
    worker.start()
    ticks = 0
    while not done.is_set():
        ticks += 1
        time.sleep(0.0005)
    worker.join()
    assert ticks > 3, f"{ticks} turns in a call of {took[0]:.3f} s"


def test_an_idle_process_uses_no_cpu(x):
    with all_threads(3):
        ops.tanh(x)
    time.sleep(0.1)
    start = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - start <= 0.02 * 0.5


def child_result(work, timeout: float = 30) -> int:
    """The exit status of a forked child that runs `work`; -1 where it hangs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other libraries' threads
        pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(3)
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return -1


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("forks", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_forks(busy, forks):
    x = pynn.tensor(np.random.default_rng(0).standard_normal(20_000).astype(np.float32))
    expected = ops.sigmoid(x).numpy()
    stop = threading.Event()
    wrong = []

    def check():
        assert same_bits(ops.sigmoid(x).numpy(), expected)

    def keep_computing():
        with pynn.threads(3):
            while not stop.is_set():
                if not same_bits(ops.sigmoid(x).numpy(), expected):
                    wrong.append(1)

    other = threading.Thread(target=keep_computing)
    with all_threads(3):
        if busy:
            other.start()
        try:
            for _ in range(forks):
                check()
                assert child_result(check) == 0
                check()
        finally:
            stop.set()
            if busy:
                other.join()
    assert not wrong


def test_a_fork_finds_no_worker_running(x):
    """Python 3.12 warns where a process with threads forks: an idle team is joined before."""
    with all_threads(3):
        ops.sigmoid(x)
        assert _core.team_workers() == 2
        assert child_result(lambda: None) == 0
        assert _core.team_workers() == 0
        ops.sigmoid(x)
        assert _core.team_workers() == 2


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PYNN_NUM_THREADS", v) for v in ("0", "-1", "two", "1.5", "9" * 30)] + [("PYNN_SPIN_US", "1001")],
)
def test_bad_variables_are_named_at_import(variable, value):
    result = run("import pynn", **{variable: value})
    assert result.returncode == 1
    assert f"ValueError: {variable} is '{value}'" in result.stderr


def test_a_variable_is_read_once():
    """A worker that read it later could not report an error."""
    code = """
import os, pynn, numpy as np
os.environ["PYNN_SPIN_US"] = "fast"
pynn.set_num_threads(2)
pynn._core.always_use_team(True)
print(pynn.ops.sigmoid(pynn.ones(100000)).sum().item() > 0, pynn._core.team_workers())
"""
    assert run(code).stdout.split() == ["True", "1"]


def test_workers_leave_signals_to_the_program_but_not_faults(x):
    with all_threads(2):
        ops.sigmoid(x)
        masks = []
        for task in Path("/proc/self/task").iterdir():
            if (task / "comm").read_text().startswith("pynn-"):
                (line,) = [s for s in (task / "status").read_text().splitlines() if s.startswith("SigBlk:")]
                masks.append(int(line.split()[1], 16))
    assert masks
    for mask in masks:
        assert mask >> (signal.SIGINT - 1) & 1 and mask >> (signal.SIGTERM - 1) & 1
        assert not any(mask >> (s - 1) & 1 for s in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL))


def threads_and_bound(**environment: str) -> str:
    return run(
        "import pynn; i = pynn.info(); print(i['threads'], i['threads_from'])",
        **{"OMP_NUM_THREADS": "", "PYNN_NUM_THREADS": "", **environment},
    ).stdout.strip()


def test_variables_bound_the_number():
    assert threads_and_bound(PYNN_NUM_THREADS="1") == "1 PYNN_NUM_THREADS"
    if pynn.info()["affinity_cores"] > 1 and not pynn.info()["cgroup_cpu_quota"]:
        assert threads_and_bound(OMP_NUM_THREADS="1,2") == "1 OMP_NUM_THREADS"
        assert not threads_and_bound(OMP_NUM_THREADS="many").endswith("OMP_NUM_THREADS")  # not ours to judge
        assert threads_and_bound(PYNN_NUM_THREADS="1000") == threads_and_bound()  # no reason for more than the cores


def test_a_clean_exit_while_workers_sleep_or_spin():
    code = """
import pynn, numpy as np, threading
from pynn import _core
_core.always_use_team(True)
x = pynn.tensor(np.ones(100000, np.float32))
def forever():
    while True: pynn.ops.tanh(x)
threading.Thread(target=forever, daemon=True).start()
with pynn.threads(3): pynn.ops.tanh(x)
"""
    result = run(code)
    assert (result.returncode, result.stderr) == (0, "")
