"""What `import pynn` may do. How long it takes is checked by .ci/run, with several tries."""

from __future__ import annotations

import json

import pytest

from processes import run_python

MODULES = 80  # that the import may add to NumPy's
HEAVY = (
    "matplotlib",
    "rich",
    "PIL",
    "torch",
    "sklearn",
    "scipy",
    "pandas",
    "multiprocessing",
    "csv",
    "gzip",
    "hashlib",
    "json",
    "logging",
    "pathlib",
    "urllib",
)


def in_new_process(code: str):
    """What the code leaves in `result`."""
    program = f"import json, os, sys, numpy\n{code}\nprint(json.dumps(result))"
    run = run_python("-c", program)
    assert run.returncode == 0 and run.stderr == "", run.stderr
    return json.loads(run.stdout)


def test_import_starts_no_thread():
    count = "len(os.listdir('/proc/self/task'))"
    before, after = in_new_process(f"before = {count}\nimport pynn\nresult = before, {count}")
    assert after == before


def test_import_loads_few_modules():
    added = in_new_process("before = set(sys.modules)\nimport pynn\nresult = sorted(set(sys.modules) - before)")
    assert len(added) <= MODULES, added
    heavy = [module for module in added if module.startswith(HEAVY)]
    assert not heavy


def test_import_leaves_the_floating_point_mode_alone():
    """Flush-to-zero set by a library at load changes the results of everything else in the process."""
    code = """
tiny = numpy.float32(1e-40)
import pynn
pynn.relu(pynn.tensor([1.0, -1.0]))
result = float(tiny * numpy.float32(1)) > 0 and float(numpy.float32(1e-38) / numpy.float32(100)) > 0
"""
    assert in_new_process(code)


def test_import_writes_nothing_and_leaves_signals_alone():
    code = """
import signal
before = [str(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGSEGV, signal.SIGTERM)]
import pynn
result = before == [str(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGSEGV, signal.SIGTERM)]
"""
    assert in_new_process(code)


def test_datasets_and_io_are_there_when_asked_for():
    code = "import pynn\nresult = [pynn.datasets.digits().name, callable(pynn.io.save_weights), dir(pynn)]"
    name, callable_, names = in_new_process(code)
    assert name == "digits" and callable_ and {"datasets", "io", "tensor"} <= set(names)


@pytest.mark.parametrize("variable, kind", [("PYNN_ISA", "ImportError"), ("PYNN_NUM_THREADS", "ValueError")])
def test_a_wrong_environment_is_an_error_of_the_import(variable, kind):
    result = run_python("-c", "import pynn", **{variable: "wrong"})
    assert result.returncode == 1 and f"{kind}: {variable} is 'wrong'" in result.stderr
