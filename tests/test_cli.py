"""The command line, each command in a process of its own."""

import inspect
import os
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest

import pynn
from pynn import datasets, models
from pynn.cli import MODELS

PYNN = (sys.executable, "-m", "pynn")


def run(*arguments, **environment):
    return subprocess.run(
        [*PYNN, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "MPLBACKEND": "agg", **environment},
    )


def train(out, *arguments, **environment):
    return run("train", "--out", out, *arguments, **environment)


def assert_one_line_error(result, *parts, status=2):
    assert result.returncode == status, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("pynn: ")
    for part in parts:
        assert part in line


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`pynn train` without arguments but the folder."""
    out = tmp_path_factory.mktemp("run") / "new" / "folder"
    return out, train(out)


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


def write_idx(path, images):
    path.write_bytes(struct.pack(f">{1 + images.ndim}I", 0x800 + images.ndim, *images.shape) + images.tobytes())
    return path


def predicted(lines):
    """Name of the image → [(class, probability), …]."""
    pairs = [line.rsplit(": ", 1) for line in lines]
    return {name: [(p.split()[0], float(p.split()[1])) for p in rest.split(", ")] for name, rest in pairs}


def test_predicting_an_idx_file(trained, tmp_path):
    images = datasets.digits(28).test_images[:20]
    model = trained[0] / "model.safetensors"
    path = write_idx(tmp_path / "images", images)
    expected = pynn.load(model).predict(images)
    result = run("predict", model, path, path, "--top", 3)
    assert (result.returncode, result.stderr) == (0, "")
    found = predicted(result.stdout.splitlines())
    assert list(found) == [f"{path}[{i}]" for i in range(20)] and len(result.stdout.splitlines()) == 40
    for row, best in zip(expected, found.values(), strict=True):
        order = np.argsort(-row)[:3]
        assert best == [(str(i), round(float(row[i]), 4)) for i in order]
    inverted = run("predict", model, write_idx(tmp_path / "dark", 16 - images), "--invert", "--top", 10)
    assert [best[0] for best in predicted(inverted.stdout.splitlines()).values()] == [b[0] for b in found.values()]


def test_predicting_pictures(trained, tmp_path):
    image = pytest.importorskip("PIL.Image")
    model = trained[0] / "model.safetensors"
    digit = datasets.digits(28).test_images[3]
    image.fromarray((digit * 255.0 / 16).astype(np.uint8)).save(tmp_path / "small.png")
    pixels = np.kron(digit, np.ones((10, 10))) * 255 / 16
    image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "bright.png")
    image.fromarray((255 - pixels).astype(np.uint8)).convert("RGB").save(tmp_path / "dark.jpg", quality=95)
    expected = pynn.load(model).predict(digit)[0]
    for arguments in (["small.png"], ["bright.png"], ["dark.jpg", "--invert"]):
        result = run("predict", model, tmp_path / arguments[0], *arguments[1:])
        assert result.returncode == 0, result
        ((name, [(label, probability)]),) = predicted(result.stdout.splitlines()).items()
        assert name == str(tmp_path / arguments[0]) and label == str(expected.argmax())
        assert abs(probability - expected.max()) <= 0.02


def test_predictions_print_nothing_that_a_terminal_obeys(tmp_path):
    model = models.mlp([1, 1])
    model.preprocessing = pynn.nn.Preprocessing((1, 1, 1), flatten=True)
    model.classes = ["\x1b[2J\n"]
    pynn.save(model, tmp_path / "m")
    result = run("predict", tmp_path / "m", write_idx(tmp_path / "images", np.zeros((1, 1, 1), np.uint8)))
    assert result.stdout == f"{tmp_path / 'images'}[0]: '\\x1b[2J\\n' 1.0000\n"


def test_errors_of_predicting_are_one_line(trained, tmp_path):
    model = trained[0] / "model.safetensors"
    labels = write_idx(tmp_path / "labels", np.zeros(3, np.uint8))
    large = write_idx(tmp_path / "large", np.zeros((2, 30, 30), np.uint8))
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty").touch()
    pynn.io.save_weights(tmp_path / "weights", models.mlp([64, 10]).state_dict())
    pynn.save(models.mlp([64, 10]), tmp_path / "bare")
    for arguments, *parts in (
        ((model,), "FILE"),
        ((tmp_path / "none", labels), "none"),
        ((labels, labels), "labels: not a readable safetensors file"),
        ((tmp_path / "weights", large), "weights: holds weights without an architecture"),
        ((tmp_path / "bare", large), "bare: expected a model of grey images"),
        ((model, labels), "labels: expected images, found labels"),
        ((model, large), "large: ", "(N, 28, 28)", "got (2, 30, 30)"),
        ((model, tmp_path / "none"), "none"),
        ((model, tmp_path), "Is a directory"),
        ((model, large, "--top", "0"), "--top: expected a whole number from 1"),
    ):
        assert_one_line_error(run("predict", *arguments), *parts)
    without = "PNG and JPEG files need Pillow: pip install 'pynn-native[cli]'"
    (tmp_path / "PIL.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    assert_one_line_error(run("predict", model, tmp_path / "text.png", PYTHONPATH=path), without)


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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout():
    with open("/dev/full", "w") as full:
        result = subprocess.run([*PYNN, "info"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr == "pynn: [Errno 28] No space left on device\n"


def test_a_closed_stdout_is_no_error():
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *PYNN, "info"], stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")


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
    assert result.stderr.splitlines()[-1] == "pynn: [Errno 27] File too large"
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_is_one_line(tmp_path):
    result = train(tmp_path, "--optimizer", "sgd", "--lr", "1e38")
    assert_one_line_error(result, "the loss is", "epoch 1, step")
    assert not list(tmp_path.iterdir())


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
