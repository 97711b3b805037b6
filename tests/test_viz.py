"""Pictures: what they show, what they refuse, and that they touch no global state."""

import sys

import numpy as np
import pytest

import pynn
from processes import run_python
from pynn import nn

pytest.importorskip("matplotlib")
from pynn import viz

HISTORY = [
    {"epoch": i, "loss": 1 / i, "val_loss": 1 + (i - 3) ** 2, "val_accuracy": i / 10, "seconds": 0.1}
    for i in range(1, 6)
]


def convolutional():
    body = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU())
    model = nn.Sequential({"body": body, "flat": nn.Flatten(), "head": nn.Linear(5 * 36, 3)})
    model.preprocessing = nn.Preprocessing((1, 8, 8))
    return model


def lines(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}


def mosaic(figure):
    (image,) = figure.axes[0].get_images()
    return np.ma.filled(image.get_array(), np.nan)


def test_learning_curves():
    losses, accuracies = viz.learning_curves(HISTORY).axes
    drawn = lines(losses)
    assert drawn["training"] == [[i, 1 / i] for i in range(1, 6)]
    assert drawn["best: 1 in epoch 3"] == [[3, 1]]
    assert lines(accuracies)["best: 0.5 in epoch 5"] == [[5, 0.5]]
    assert losses.get_ylim()[0] == 0
    assert [a.get_title() for a in (losses, accuracies)] == ["loss", "accuracy"]


def test_learning_curves_of_what_there_is():
    (axes,) = viz.learning_curves([{"epoch": 1, "loss": 2.0}]).axes
    assert list(lines(axes)) == ["training"]
    (axes,) = viz.learning_curves([{"epoch": 1, "val_loss": None, "loss": 1.0}, {"epoch": 2, "loss": 1.0}]).axes
    assert list(lines(axes)) == ["training"]
    with pytest.raises(ValueError, match="at least one epoch"):
        viz.learning_curves([])


def test_filters_of_a_convolution():
    model = convolutional()
    figure = viz.filters(model)
    weight = model.body[0].weight.detach().numpy()
    canvas = mosaic(figure)
    values = set(np.unique(canvas[~np.isnan(canvas)]).tolist())
    assert values == set(weight.ravel().astype(np.float64).tolist())
    assert canvas[0, 0] == weight[0, 0, 0, 0] and canvas[0, 23] == weight[0, 0, 0, 2] and np.isnan(canvas[0, 24])
    low, high = figure.axes[0].get_images()[0].get_clim()
    assert -low == high == np.abs(weight).max()
    assert figure.axes[0].get_title() == "Conv2d: 5 filters of 3x3"
    assert "12 filters of 3x3, the first 4" in viz.filters(nn.Conv2d(3, 4, 3), count=4).axes[0].get_title()


def test_filters_of_a_linear_layer():
    assert "7 filters of 8x8" in viz.filters(nn.Linear(64, 7)).axes[0].get_title()
    assert "7 filters of 4x16" in viz.filters(nn.Linear(64, 7), input_shape=(4, 16)).axes[0].get_title()
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 5, 7))
    model.preprocessing = nn.Preprocessing((3, 2, 5), flatten=True)
    assert "21 filters of 2x5" in viz.filters(model).axes[0].get_title()
    for bad, shape in ((nn.Linear(8, 2), None), (nn.Linear(8, 2), (3, 3)), (nn.Linear(8, 2), (0, 8))):
        with pytest.raises(ValueError, match=r"filters: expected inputs of .*, got 8; give input_shape"):
            viz.filters(bad, input_shape=shape)
    for bad in (nn.ReLU(), nn.Conv1d(2, 2, 2)):
        with pytest.raises(ValueError, match="Linear or Conv2d layer first"):
            viz.filters(bad)


@pytest.mark.parametrize("layer", ["body.1", "body"])
def test_feature_maps(layer):
    model = convolutional()
    image = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    expected = np.asarray(model.body(model.preprocessing(image)).detach())
    canvas = mosaic(viz.feature_maps(model, image, layer))
    np.testing.assert_array_equal(canvas[:24:4, :24:4], expected[0, 0])
    assert "forward" not in vars(model.body[1]) and model.training
    figure = viz.feature_maps(model, image, model.body[0])
    assert figure.axes[0].get_title() == "Conv2d 'body.0': 5 channels of 6x6"


def test_feature_maps_names_what_is_wrong():
    model, image = convolutional(), np.zeros((8, 8), np.uint8)
    for layer in ("body.7", nn.ReLU()):
        with pytest.raises(ValueError, match=r"expected one of the layers body, body.0, body.1, flat, head"):
            viz.feature_maps(model, image, layer)
    with pytest.raises(ValueError, match=r"from layer 'head', got \(1, 3\)"):
        viz.feature_maps(model, image, "head")
    with pytest.raises(ValueError, match=r"got \(2, 5, 6, 6\)"):
        viz.feature_maps(model, np.stack([image, image]), "body")
    assert "forward" not in vars(model)


def test_confusion_counts():
    true, predicted = [0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 2, 0]
    assert viz.confusion_counts(true, predicted).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert viz.confusion_counts(true, predicted, 4).sum() == 6
    assert viz.confusion_counts([], [], 2).tolist() == [[0, 0], [0, 0]]
    for bad, message in (
        (([0], [0, 1]), "two arrays"),
        (([[0]], [[0]]), "two arrays"),
        (([-1], [0]), "expected classes 0 to 0, got -1 to 0"),
        (([5], [0], 3), "expected classes 0 to 2, got 0 to 5"),
    ):
        with pytest.raises(ValueError, match=message):
            viz.confusion_counts(*bad)
    with pytest.raises(TypeError, match="class indices, got dtype float64"):
        viz.confusion_counts([0.0], [0.0])


def test_confusion_matrix_has_its_numbers():
    figure = viz.confusion_matrix([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 2, 0], ["cat", "dog", "elephant"])
    (axes,) = figure.axes
    found = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axes.texts}
    assert found == {(0, 0): "1", (0, 1): "1", (1, 1): "1", (2, 0): "1", (2, 2): "2"}
    assert [t.get_text() for t in axes.get_yticklabels()] == ["cat", "dog", "elephant"]
    assert axes.get_title() == "4 of 6 right (66.67%)"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


@pytest.mark.parametrize("classes", [1, 2, 40])
def test_confusion_matrix_of_any_size(tmp_path, classes):
    y = np.arange(classes)
    viz.confusion_matrix(y, y, path=tmp_path / "c.png")
    with pytest.raises(ValueError, match="at least one class"):
        viz.confusion_matrix([], [])


def test_wrong_examples_are_sorted_by_confidence():
    images = np.arange(4 * 6).reshape(4, 2, 3)
    labels = np.array([0, 1, 0, 1])
    probabilities = np.array([[0.4, 0.6], [0.3, 0.7], [0.1, 0.9], [0.8, 0.2]])
    figure = viz.wrong_examples(images, labels, probabilities, ["no", "yes"])
    shown = [a for a in figure.axes if a.get_images()]
    titles = ["no → yes (90%)", "yes → no (80%)", "no → yes (60%)"]
    assert [a.get_title() for a in shown] == titles
    np.testing.assert_array_equal(shown[0].get_images()[0].get_array(), images[2])
    assert figure.get_suptitle() == "3 of 4 wrong"
    figure = viz.wrong_examples(images[:, None], labels, probabilities.argmax(1), count=2)
    assert [a.get_title() for a in figure.axes if a.get_images()] == ["0 → 1", "0 → 1"]
    assert figure.get_suptitle() == "3 of 4 wrong, the first 2"
    assert viz.wrong_examples(images, labels, labels).get_suptitle() == "all 4 right"
    viz.wrong_examples(np.zeros((1, 3, 4, 4)), [0], [1])


def test_wrong_examples_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"expected images \(N, H, W\)"):
        viz.wrong_examples(np.zeros((4, 2, 3, 3)), np.zeros(4), np.zeros(4))
    with pytest.raises(ValueError, match="a label and a prediction for each image"):
        viz.wrong_examples(np.zeros((4, 3, 3)), np.zeros(3), np.zeros(4))


def test_files_appear_whole_in_the_format_of_their_name(tmp_path):
    from matplotlib.figure import Figure

    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF"), ("a", b"\x89PNG")):
        assert isinstance(viz.learning_curves(HISTORY, tmp_path / name), Figure)
        assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(ValueError):
        viz.learning_curves(HISTORY, tmp_path / "a.unknown")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.pdf", "a.png", "a.svg"]


def test_nothing_global_is_touched():
    code = (
        "import sys, pynn\nassert 'matplotlib' not in sys.modules\nviz = pynn.viz\n"
        "assert 'matplotlib' not in sys.modules\nviz.learning_curves([{'epoch': 1, 'loss': 1.0}])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr


def test_without_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    for draw in (lambda: viz.filters(nn.Linear(4, 2)), lambda: viz.confusion_matrix([0], [0])):
        with pytest.raises(ImportError, match="pip install 'pynn-native"):
            draw()
    assert pynn.viz is viz
