"""`pynn predict`."""

import os
import sys

import numpy as np
import pytest

import pynn
from commandline import assert_one_line_error, run, write_idx
from pynn import datasets, models


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
