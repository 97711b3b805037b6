"""`pynn train`."""

import inspect
import os
import subprocess
import sys

import pytest

import pynn
from commandline import assert_one_line_error, train
from pynn import datasets, models
from pynn.cli import MODELS


def test_training_without_arguments(trained):
    out, result = trained
    assert result.returncode == 0, result
    (line,) = result.stdout.splitlines()
    assert line.startswith("test accuracy 0.") and "of 297 images" in line
    assert float(line.split()[2]) >= 0.91  # writers that no training image is from; seeds 0 to 2 reach 0.93
    assert result.stderr.count("epoch ") == 60
    assert {"model.safetensors", "history.csv"} <= {p.name for p in out.iterdir()}
    assert not [p for p in out.iterdir() if p.suffix == ".tmp"]


def test_the_saved_model_has_the_printed_accuracy(trained):
    out, result = trained
    model = pynn.load(out / "model.safetensors")
    data = datasets.digits(28)
    correct = int((model.predict(data.test_images).argmax(1) == data.test_labels).sum())
    assert f"({correct} of 297 images)" in result.stdout
    assert model.architecture == {
        "name": "lenet5",
        "arguments": {"activation": "relu", "pooling": "max", "classes": 10},
    }
    assert model.classes == tuple("0123456789")
    assert model.preprocessing.config() == {
        "input_shape": (1, 28, 28),
        "scale": 1 / 16,
        "mean": 0.0,
        "std": 1.0,
        "flatten": False,
    }


def test_each_model_trains_on_the_digits(tmp_path):
    for name, options, arguments, shape in (
        ("mlp", (), {"sizes": [64, 100, 10], "activation": "relu"}, (1, 8, 8)),
        ("mlp", ("--hidden", "20,10", "--activation", "tanh"), {"sizes": [64, 20, 10, 10], "activation": "tanh"}, None),
        (
            "lenet5",
            ("--activation", "tanh", "--pooling", "average"),
            {"activation": "tanh", "pooling": "average", "classes": 10},
            (1, 28, 28),
        ),
        ("lenet_tf", ("--batch-size", 300), {"classes": 10, "dropout": 0.5}, (1, 28, 28)),
    ):
        result = train(tmp_path, name, *options, "--epochs", 1)
        assert result.returncode == 0, result
        model = pynn.load(tmp_path / "model.safetensors")
        assert model.architecture == {"name": name, "arguments": arguments}
        assert shape in (None, model.preprocessing.input_shape)
        assert model.preprocessing.flatten == (name == "mlp")


def test_the_models_that_can_be_trained_are_registered():
    for name, options in MODELS.items():
        parameters = inspect.signature(models.get(name)).parameters
        assert set(options) - {"hidden"} == {"activation", "pooling"} & set(parameters)


@pytest.mark.slow
def test_lenet5_on_mnist(tmp_path):
    if "PYNN_DATA" not in os.environ:
        pytest.skip("needs the files of MNIST: set PYNN_DATA")
    result = train(tmp_path, "lenet5", "--data", "mnist", "--epochs", 10, "--seed", 1)
    assert result.returncode == 0, result
    accuracy = result.stdout.split()[2]
    assert "of 10000 images" in result.stdout and float(accuracy) >= 0.99, accuracy


def test_the_history_has_a_row_for_each_epoch(trained):
    table = (trained[0] / "history.csv").read_text().splitlines()
    assert table[0] == "epoch,loss,val_loss,val_accuracy,seconds"
    assert [line.split(",")[0] for line in table[1:]] == [str(i) for i in range(1, 61)]


def test_curves_and_confusion_are_pictures(trained):
    pytest.importorskip("matplotlib")
    for name in ("curves.png", "confusion.png"):
        assert (trained[0] / name).read_bytes().startswith(b"\x89PNG")
        assert name in trained[1].stdout


def test_without_matplotlib_a_line_says_so(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')")
    result = train(tmp_path / "out", "--epochs", 1, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert result.returncode == 0
    assert [line for line in result.stderr.splitlines() if "pip install 'pynn-native[cli]'" in line]
    files = {p.name for p in (tmp_path / "out").iterdir()}
    assert files == {"model.safetensors", "history.csv", "checkpoint.safetensors"}


def test_the_seed_fixes_the_weights(tmp_path):
    for name, seed, threads in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        options = ("--epochs", 1, "--seed", seed, "--threads", threads, "--optimizer", "sgd", "--hidden", "20,10")
        assert train(tmp_path / name, "mlp", *options).returncode == 0
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_a_malformed_file_is_one_line(tmp_path):
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (tmp_path / name).write_bytes(b"\0\0\x08\x03")
    result = train(tmp_path / "out", "--data", "mnist", "--data-dir", tmp_path)
    assert_one_line_error(result, "train-images-idx3-ubyte: expected an IDX header")


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").touch()
    assert_one_line_error(train(tmp_path / "file"), "file")
    assert_one_line_error(train(tmp_path / "file" / "below"), "file")


def test_a_folder_that_cannot_be_written(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root writes anywhere")
    tmp_path.chmod(0o500)
    assert_one_line_error(train(tmp_path), "cannot write into")


def test_a_file_that_cannot_be_written_is_one_line_after_the_training(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    result = train(tmp_path, "--epochs", 1)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("pynn: ") and "Traceback" not in result.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"model.safetensors", "checkpoint.safetensors"}


def test_a_disk_that_fills_leaves_no_part_of_a_file(tmp_path):
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); from pynn.cli import main; "
    )
    command = [sys.executable, "-c", limited + "sys.exit(main())", "train", "--epochs", "1", "--out", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == f"pynn: [Errno 27] File too large: '{tmp_path / 'checkpoint.safetensors'}'"
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_is_one_line(tmp_path):
    result = train(tmp_path, "--optimizer", "sgd", "--lr", "1e38")
    assert_one_line_error(result, "the loss is", "epoch 1, step")
    assert not list(tmp_path.iterdir())
