"""What all commands share: errors of one line, the environment, what is behind stdout."""

import os
import signal
import subprocess
import sys

import pytest

import pynn
from commandline import PYNN, assert_one_line_error, run


def test_version_and_help():
    assert run("--version").stdout == f"pynn {pynn.__version__}\n"
    result = run("train", "--help")
    assert result.returncode == 0 and "--batch-size" in result.stdout and result.stderr == ""


def test_info():
    result = run("info")
    assert result.returncode == 0 and pynn.__version__ in result.stdout and "threads" in result.stdout


BAD = {
    "no command": ((), "COMMAND"),
    "unknown command": (("fly",), "fly"),
    "unknown model": (("train", "cat"), "cat"),
    "unknown option": (("train", "--speed=9"), "--speed=9"),
    "unknown data": (("train", "--data", "cats"), "cats"),
    "unknown optimizer": (("train", "--optimizer", "magic"), "magic"),
    "epochs 0": (("train", "--epochs", "0"), "--epochs: expected a whole number from 1 to 2^63 - 1, got '0'"),
    "epochs text": (("train", "--epochs", "many"), "got 'many'"),
    "batch size": (("train", "--batch-size", "-3"), "--batch-size"),
    "rate NaN": (("train", "--lr", "nan"), "--lr: expected a number > 0, got 'nan'"),
    "rate 0": (("train", "--lr", "0"), "--lr"),
    "seed": (("train", "--seed", "-1"), "--seed"),
    "threads": (("train", "--threads", "0"), "--threads"),
    "too many threads": (("train", "--threads", "99999999999"), "threads"),
    "hidden": (("train", "mlp", "--hidden", "10,,10"), "--hidden"),
    "hidden beyond 64 bits": (
        ("train", "mlp", "--hidden", "9" * 25),
        "--hidden: expected a whole number from 1 to 2^63 - 1",
    ),
    "hidden too large": (("train", "mlp", "--hidden", "9" * 15), ""),
    "hidden of lenet5": (("train", "--hidden", "10"), "--hidden goes with mlp, not with lenet5"),
    "pooling of mlp": (("train", "mlp", "--pooling", "max"), "--pooling goes with lenet5, not with mlp"),
    "activation of lenet_tf": (
        ("train", "lenet_tf", "--activation", "relu"),
        "--activation goes with lenet5 or mlp, not with lenet_tf",
    ),
    "not a model of images": (("train", "Perceptron"), "'Perceptron' (choose from"),
    "unknown schedule": (("train", "--schedule", "lunch"), "lunch"),
    "folder for the digits": (("train", "--data-dir", "/"), "--data-dir goes with"),
    "no such folder": (("train", "--data", "mnist", "--data-dir", "/no/such"), "mnist not found in /no/such"),
}


@pytest.mark.parametrize("kind", BAD)
def test_errors_are_one_line(kind, tmp_path):
    arguments, part = BAD[kind]
    out = ("--out", tmp_path / "out") if arguments[:1] == ("train",) else ()
    assert_one_line_error(run(*arguments, *out), part)


@pytest.mark.parametrize("variable", [("PYNN_ISA", "sse9"), ("PYNN_NUM_THREADS", "many")])
def test_a_wrong_environment_is_one_line(variable, tmp_path):
    """The variables are read while the package is imported, before any code of the command line."""
    name, value = variable
    for program in (PYNN, (sys.executable, tmp_path / "pynn")):  # the second as pip writes it
        (tmp_path / "pynn").write_text("import sys\nfrom pynn.cli import main\nsys.exit(main())\n")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), name: value}
        result = subprocess.run([*program, "info"], capture_output=True, text=True, timeout=60, env=environment)
        assert_one_line_error(result, f"{name} is '{value}'")


def buffered():
    """The environment in which Python's stdout is buffered, as without a wish for the contrary."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["info", "--help"])
def test_a_full_disk_behind_stdout(command):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*PYNN, command], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=buffered()
        )
    assert result.returncode == 2
    assert result.stderr == "pynn: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("command", ["info", "--help"])
def test_a_reader_that_has_seen_enough_is_no_error(command):
    """`pynn info | head -0`: the pipe behind stdout is closed."""
    end, pipe = os.pipe()
    os.close(end)
    result = subprocess.run([*PYNN, command], stdout=pipe, stderr=subprocess.PIPE, timeout=60, env=buffered())
    os.close(pipe)
    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_reader_of_the_progress_that_has_seen_enough(tmp_path):
    """`pynn train 2>&1 | head -1`: with stdout and stderr on one closed pipe there is nobody to tell."""
    end, pipe = os.pipe()
    os.close(end)
    result = subprocess.run([*PYNN, "train", "--epochs", "1", "--out", tmp_path], stdout=pipe, stderr=pipe, timeout=60)
    os.close(pipe)
    assert result.returncode == 128 + signal.SIGPIPE


def test_a_closed_stdout_is_no_error():
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *PYNN, "info"], stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
