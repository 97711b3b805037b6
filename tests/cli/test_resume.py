"""`pynn train` after Ctrl-C, and with --resume."""

import signal
import subprocess
import sys

import pytest

from commandline import PYNN, assert_one_line_error, train


def interrupt(out, *arguments):
    """Starts `pynn train` and sends Ctrl-C after the first epoch; returns what it left on stderr."""
    command = [*PYNN, "train", "--out", str(out), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline().startswith("epoch")
        process.send_signal(signal.SIGINT)
        printed, err = process.communicate(timeout=60)
    assert process.returncode == 130 and printed == ""
    return err.splitlines()


def history_of(out):
    lines = (out / "history.csv").read_text().splitlines()
    return [line.rpartition(",")[0] for line in lines]  # without the seconds


def test_ctrl_c_and_resume(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    last = interrupt(out, "--schedule", "constant", "--epochs", 1000000, "--resume")[-1]
    epochs = len(history_of(out)) - 1
    assert last == (
        f"pynn: interrupted after {epochs} epochs; the same command with --resume goes on from "
        f"{out / 'checkpoint.safetensors'}"
    )
    assert {p.name for p in out.iterdir()} == {"model.safetensors", "history.csv", "checkpoint.safetensors"}
    options = ("--schedule", "constant", "--epochs", epochs + 2)  # more than before, too
    assert train(whole, *options).returncode == 0
    result = train(out, *options, "--resume", "--threads", 1, "--lr", 0.001, "--pooling", "max")
    assert result.returncode == 0 and result.stderr.count("epoch ") == 2, result
    assert history_of(out) == history_of(whole)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    again = train(out, *options, "--resume")  # nothing left to do
    assert (again.returncode, again.stdout) == (0, result.stdout) and "epoch " not in again.stderr


def test_resume_goes_on_with_the_schedule(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    options = ("mlp", "--epochs", 40, "--batch-size", 4)
    interrupt(out, *options)
    assert len(history_of(out)) <= 40
    assert train(whole, *options).returncode == 0
    assert train(out, *options, "--resume").returncode == 0
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert train(tmp_path / "constant", *options, "--schedule", "constant").returncode == 0
    assert history_of(tmp_path / "constant") != history_of(whole)


def test_resume_with_other_options_is_one_line(tmp_path):
    assert train(tmp_path, "mlp", "--epochs", 1).returncode == 0
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    for option, value, message in (
        ("--lr", 0.5, "lr was 0.001, now it is 0.5"),
        ("--batch-size", 32, "batch size was 64, now it is 32"),
        ("--schedule", "constant", "schedule was cosine, now it is constant"),
        ("--epochs", 2, "epochs was 1, now it is 2"),
        ("--activation", "tanh", "activation was relu, now it is tanh"),
        ("--hidden", "20,10", "hidden was [100], now it is [20, 10]"),
        ("--optimizer", "sgd", "optimizer was adam, now it is sgd"),
        ("--seed", 3, "seed was 0, now it is 3"),
    ):
        result = train(tmp_path, "mlp", "--epochs", 1, "--resume", option, value)
        assert_one_line_error(result, "cannot resume from", message)
    assert_one_line_error(train(tmp_path, "--resume"), "cannot resume from", "model was mlp, now it is lenet5")
    (tmp_path / "checkpoint.safetensors").write_bytes(before["checkpoint.safetensors"][:-1])
    assert_one_line_error(train(tmp_path, "--resume"), "checkpoint.safetensors: not a readable safetensors file")
    (tmp_path / "checkpoint.safetensors").write_bytes(before["checkpoint.safetensors"])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def interrupt_first_step(out, *arguments):
    """`pynn train` with Ctrl-C in its first step."""
    program = (
        "import os, signal, sys; from pynn import cli; "
        "cli.Schedule.on_step_end = lambda *_: os.kill(os.getpid(), signal.SIGINT); sys.exit(cli.main())"
    )
    command = [sys.executable, "-c", program, "train", "--out", str(out), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert_one_line_error(result, "interrupted after 0 epochs", status=130)


def contents(out):
    return {p.name: p.read_bytes() for p in out.iterdir() if p.name != "checkpoint.safetensors"}


def test_ctrl_c_before_the_first_epoch_leaves_the_finished_run(tmp_path):
    assert train(tmp_path, "mlp", "--epochs", 2).returncode == 0
    before = contents(tmp_path)
    assert {"model.safetensors", "history.csv"} <= before.keys()
    interrupt_first_step(tmp_path, "mlp", "--epochs", 3, "--seed", 1)
    assert contents(tmp_path) == before
    assert train(tmp_path, "mlp", "--epochs", 3, "--seed", 1, "--resume").returncode == 0
    assert len(history_of(tmp_path)) == 4 and contents(tmp_path)["model.safetensors"] != before["model.safetensors"]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_an_unfinished_run_is_not_overwritten_unawares(schedule, tmp_path):
    options = ("mlp", "--epochs", 2, "--schedule", schedule)
    interrupt_first_step(tmp_path, *options)
    checkpoint = tmp_path / "checkpoint.safetensors"
    before = checkpoint.read_bytes()
    assert_one_line_error(
        train(tmp_path, *options),
        f"{tmp_path} holds an unfinished run (0 of 2 epochs): "
        "go on with --resume, start again with --overwrite, or choose another --out",
    )
    assert_one_line_error(train(tmp_path, *options, "--resume", "--overwrite"), "not allowed with")
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.name] and checkpoint.read_bytes() == before
    assert train(tmp_path, *options, "--overwrite").returncode == 0
    assert train(tmp_path, *options).returncode == 0  # over a finished run
    checkpoint.write_bytes(before[:-1])
    assert_one_line_error(train(tmp_path, *options), "not of a finished run: go on with --resume, start again")
