"""Whole models in files: what is saved comes back, and what is no model is refused with its file's name."""

import copy
import json
import pickle
import random

import numpy as np
import pytest
from safetensors.numpy import save_file

import pynn
from opcase import same_bits
from pynn import io, models, nn


def convolutional():
    body = nn.Sequential({"conv": nn.Conv2d(1, 4, 3, padding=((1, 0), (1, 1)), stride=2), "act": nn.Tanh()})
    model = nn.Sequential(body, nn.Flatten(), nn.Linear(4 * 4 * 4, 3))
    model.preprocessing = nn.Preprocessing((1, 8, 8), scale=1 / 16, mean=0.5, std=0.25)
    model.classes = ("a", "b", "c")
    return model


def saved(tmp_path, model=None):
    path = tmp_path / "model.safetensors"
    pynn.save(model or convolutional(), path)
    return path


def rewrite(path, change):
    """The same file with another description."""
    arrays, description = io.load_weights(path)
    description = change(description) or description
    save_file(arrays, path, {"pynn": json.dumps({"format_version": 1, **description})})


def test_a_model_comes_back(tmp_path):
    model = convolutional().eval()
    loaded = pynn.load(saved(tmp_path, model))
    x = pynn.randn(5, 1, 8, 8)
    assert repr(loaded) == repr(model)
    assert same_bits(loaded(x).detach().numpy(), model(x).detach().numpy())
    assert all(not module.training for module in loaded.modules())
    assert all(p.requires_grad for p in loaded.parameters())
    assert loaded[0].conv.weight._array.strides == model[0].conv.weight._array.strides
    assert loaded.classes == ("a", "b", "c") and loaded.preprocessing.config() == model.preprocessing.config()


def test_the_same_model_gives_the_same_bytes(tmp_path):
    path = saved(tmp_path)
    content = path.read_bytes()
    pynn.save(pynn.load(path), path)
    assert path.read_bytes() == content


def test_the_mode_is_not_stored(tmp_path):
    model = convolutional()
    a = saved(tmp_path, model).read_bytes()
    assert saved(tmp_path, model.eval()).read_bytes() == a


def test_a_registered_model_comes_back(tmp_path):
    model = models.mlp([16, 5, 3], "sigmoid")
    loaded = pynn.load(saved(tmp_path, model))
    assert loaded.architecture == model.architecture
    np.testing.assert_array_equal(loaded.predict(np.ones((2, 16))), model.predict(np.ones((2, 16))))
    assert io.load_weights(tmp_path / "model.safetensors")[1] == {
        "architecture": {"name": "mlp", "arguments": {"sizes": [16, 5, 3], "activation": "sigmoid"}}
    }


def test_the_perceptron_comes_back(tmp_path):
    model = models.Perceptron(2)
    model.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [-1, -1, -1, 1])
    loaded = pynn.load(saved(tmp_path, model))
    assert loaded([[1.0, 1.0], [0.0, 1.0]]).tolist() == [1, -1]
    assert not any(p.requires_grad for p in loaded.parameters())


def test_double_precision_comes_back(tmp_path):
    model = convolutional().double()
    loaded = pynn.load(saved(tmp_path, model))
    x = pynn.randn(2, 1, 8, 8).double()
    assert {p.dtype for p in loaded.parameters()} == {np.dtype(np.float64)}
    assert same_bits(loaded(x).detach().numpy(), model(x).detach().numpy())
    assert loaded[2].weight._array.strides == model[2].weight._array.strides


def test_shared_layers_stay_shared(tmp_path):
    layer = nn.Linear(3, 3)
    loaded = pynn.load(saved(tmp_path, nn.Sequential(layer, nn.ReLU(), layer)))
    assert loaded[0] is loaded[2] and len(list(loaded.parameters())) == 2
    np.testing.assert_array_equal(loaded[0].weight.detach(), layer.weight.detach())


def test_loading_draws_no_random_numbers(tmp_path):
    path = saved(tmp_path)
    pynn.manual_seed(7)
    pynn.load(path)
    drawn = pynn.randn(3).tolist()
    pynn.manual_seed(7)
    assert pynn.randn(3).tolist() == drawn


class Net(nn.Module):
    def __init__(self, width):
        self.width = width
        self.layer = nn.Linear(width, 2)

    def forward(self, x):
        return self.layer(x)


def test_a_class_of_the_user(tmp_path):
    model = Net(3)
    path = saved(tmp_path, model)
    with pytest.raises(ValueError, match=r"model.safetensors: Net is a class of the user's: .*custom_objects={'Net'"):
        pynn.load(path)
    loaded = pynn.load(path, {"Net": Net})
    np.testing.assert_array_equal(loaded.layer.weight.detach(), model.layer.weight.detach())


def test_an_attribute_of_the_users_that_is_called_classes_is_left_alone(tmp_path):
    model = convolutional()
    model.classes, model.preprocessing = 10, None
    assert io.load_weights(saved(tmp_path, model))[1].keys() == {"architecture"}


def test_what_cannot_be_saved_leaves_no_file(tmp_path):
    class Local(nn.Module):
        def __init__(self, size):
            pass

    with pytest.raises(ValueError, match="save: Local: its argument 'size' is not kept"):
        pynn.save(Local(3), tmp_path / "m")
    with pytest.raises(TypeError, match="save: expected a Module, got dict"):
        pynn.save({}, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_weights_alone_say_how_to_load_them(tmp_path):
    io.save_weights(tmp_path / "w", convolutional().state_dict(), {"classes": ["a"]})
    with pytest.raises(ValueError, match=r"w: holds weights without .*load_state_dict\(pynn.io.load_weights\(path\)"):
        pynn.load(tmp_path / "w")


WRONG_WEIGHTS = {
    "missing": (lambda a: a.pop("2.bias"), r"weights missing: \['2.bias'\], unexpected: none"),
    "unexpected": (lambda a: a.update(extra=np.zeros(2)), r"weights missing: none, unexpected: \['extra'\]"),
    "shape": (lambda a: a.update({"2.bias": np.zeros(4, "f4")}), r"'2.bias': expected shape \(3,\), got \(4,\)"),
    "transposed": (lambda a: a.update({"2.weight": a["2.weight"].T.copy()}), r"'2.weight': expected shape \(3, 64\)"),
    "integers": (lambda a: a.update({"2.bias": np.zeros(3, "i4")}), "'2.bias': expected float32, got int32"),
    "half": (lambda a: a.update({"2.bias": np.zeros(3, "f2")}), "'2.bias': expected float32, got float16"),
}


@pytest.mark.parametrize("kind", WRONG_WEIGHTS)
def test_wrong_weights_are_named(tmp_path, kind):
    change, message = WRONG_WEIGHTS[kind]
    arrays, description = io.load_weights(saved(tmp_path))
    change(arrays)
    save_file(arrays, tmp_path / "bad", {"pynn": json.dumps({"format_version": 1, **description})})
    with pytest.raises(ValueError, match=f"bad: .*{message}"):
        pynn.load(tmp_path / "bad")


WRONG_DESCRIPTIONS = {
    "architecture": (lambda d: d.update(architecture=[]), "expected an object"),
    "preprocessing": (lambda d: d.update(preprocessing=3), "preprocessing"),
    "input_shape": (lambda d: d["preprocessing"].update(input_shape=[1, -8, 8]), "expected sizes >= 1"),
    "no input_shape": (lambda d: d["preprocessing"].pop("input_shape"), "preprocessing: .*input_shape"),
    "scale": (lambda d: d["preprocessing"].update(scale="1"), "expected a finite number for scale"),
    "huge scale": (lambda d: d["preprocessing"].update(scale=1e308), "expected a finite number for scale"),
    "mean": (lambda d: d["preprocessing"].update(mean=[1, 2, 3]), "for each of 1 channels, for mean"),
    "std": (lambda d: d["preprocessing"].update(std=0), "expected numbers > 0 for std"),
    "infinity": (lambda d: d["preprocessing"].update(mean=float("inf")), "expected a finite number"),
    "other": (lambda d: d["preprocessing"].update(code="x"), "preprocessing: .*code"),
    "classes": (lambda d: d.update(classes=[1, 2]), "expected a list of names as classes"),
    "padding": (
        lambda d: d["architecture"]["layers"][0][1]["layers"][0][1]["arguments"].update(padding="full"),
        "Conv2d '0.conv' cannot be built: .*expected padding as .*, got 'full'",
    ),
    "huge": (
        lambda d: d["architecture"]["layers"][2][1]["arguments"].update(in_features=10**12, out_features=10**12),
        "Linear '2' cannot be built: a parameter of sizes .* is more than there are weights",
    ),
}


@pytest.mark.parametrize("kind", WRONG_DESCRIPTIONS)
def test_wrong_descriptions_are_named(tmp_path, kind):
    change, message = WRONG_DESCRIPTIONS[kind]
    path = saved(tmp_path)

    def changed(description):
        change(description)

    rewrite(path, changed)
    with pytest.raises(ValueError, match=f"model.safetensors: .*{message}"):
        pynn.load(path)


def loaded_or_none(path):
    """The model; None where the file gives a ValueError or OSError."""
    try:
        return pynn.load(path)
    except (ValueError, OSError) as error:
        assert path.name in str(error)
        return None


def answers(model):
    """Whether a model, of a changed description perhaps, takes an image or says why it does not."""
    try:
        model(np.ones((1, 1, 8, 8), model[2].weight.dtype))
    except (ValueError, TypeError, IndexError) as error:
        assert str(error)
    return True


def test_damaged_files_give_an_error_or_a_model(tmp_path):
    content = saved(tmp_path).read_bytes()
    draw = random.Random(0)
    sound = 0
    for number in range(500):
        damaged = bytearray(content)
        if number % 5 == 0:
            del damaged[draw.randrange(len(damaged)) :]
        else:  # half of them in the header, where they matter
            for _ in range(draw.choice((1, 1, 1, 8))):
                at = draw.randrange(len(damaged) if number % 2 else int.from_bytes(content[:8], "little") + 8)
                damaged[at] ^= 1 << draw.randrange(8)
        (tmp_path / "damaged").write_bytes(damaged)
        model = loaded_or_none(tmp_path / "damaged")
        sound += model is not None and answers(model)
    assert 50 <= sound <= 450


ODD = [None, True, -1, 0, 2, 10**6, 10**12, 10**30, 1e308, -0.5, "x", "__class__", "ReLU", [], {}, [[]], ["0", {}]]


def places(value):
    """(container, key) of everything in a JSON value."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


def test_odd_descriptions_give_an_error_or_a_model(tmp_path):
    arrays, original = io.load_weights(saved(tmp_path))
    draw = random.Random(0)
    before = pynn.memory_stats()["peak_bytes"]
    for _ in range(500):
        description = copy.deepcopy(original)
        for _ in range(draw.choice((1, 1, 2))):
            container, key = draw.choice(list(places(description)))
            kind = draw.randrange(4)
            if kind == 0:
                del container[key]
            elif kind == 1 and isinstance(container, dict):
                container[draw.choice(("__init__", "self", "x", "arguments"))] = container.pop(key)
            else:
                container[key] = copy.deepcopy(draw.choice(ODD))
        save_file(arrays, tmp_path / "odd", {"pynn": json.dumps({"format_version": 1, **description})})
        loaded_or_none(tmp_path / "odd")
    assert pynn.memory_stats()["peak_bytes"] <= before + 2**20


def test_predictions_of_pixels_are_those_of_training(mnist):
    pynn.manual_seed(0)
    model = models.mlp([784, 30, 10])
    model.preprocessing = nn.Preprocessing((1, 28, 28), scale=1 / 255, flatten=True)
    images = mnist.test_images[:700]
    trainer = pynn.train.Trainer(model, pynn.optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss())
    outputs = trainer.predict(pynn.data.Loader(images.reshape(-1, 784), scale=1 / 255))
    expected = pynn.softmax(outputs, 1).numpy()
    for x in (images, images[:, None], images.reshape(-1, 784)):
        assert same_bits(model.predict(x), expected)
    for size in (1, 7, 512, 10**6):
        assert same_bits(model.predict(images, size), expected)
    assert same_bits(model.predict(images[5]), expected[5:6])


def test_predict_takes_what_is_scaled_already():
    model = convolutional()
    pixels = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8) % 17
    scaled = ((pixels / np.float32(16) - np.float32(0.5)) / np.float32(0.25)).astype(np.float32)
    for x in (scaled, scaled.astype(np.float64), pynn.tensor(scaled)[:, None], pixels.astype(np.int64)):
        np.testing.assert_array_equal(model.predict(x), model.predict(pixels))
    assert model.predict(pixels).shape == (3, 3) and model.predict(pixels[:0]).shape == (0, 3)
    np.testing.assert_allclose(model.predict(pixels).sum(1), 1, rtol=1e-6)
    assert model.double().predict(pixels).dtype == np.float64


def test_predict_leaves_the_modes_alone():
    model = convolutional()
    model[0].eval()
    model.predict(np.zeros((8, 8)))
    assert model.training and not model[0].training and model[2].training


@pytest.mark.parametrize("shape", [(3, 8, 7), (3, 64), (64,), (3, 3, 8, 8), (3, 1, 1, 8, 8), (8, 1, 8), ()])
def test_predict_names_both_sizes(shape):
    message = r"predict: expected samples of shape \(N, 1, 8, 8\) or \(N, 8, 8\), or one of them, got"
    with pytest.raises(ValueError, match=message):
        convolutional().predict(np.zeros(shape, np.uint8))


def test_predict_names_what_else_is_wrong():
    model = convolutional()
    with pytest.raises(TypeError, match="got bool"):
        model.predict(np.zeros((8, 8), bool))
    for size in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="predict: expected a whole number >= 1 for batch_size"):
            model.predict(np.zeros((8, 8)), size)
    with pytest.raises(ValueError, match=r"predict: expected outputs \(N, classes\), got shape"):
        model[0].predict(np.zeros((2, 1, 8, 8)))


def test_channels_have_a_mean_each():
    preprocessing = nn.Preprocessing((2, 1, 2), scale=0.5, mean=(1, 2), std=[1, 4])
    x = np.array([[[[2, 4]], [[4, 12]]]], np.uint8)
    assert preprocessing(x).tolist() == [[[[0, 1]], [[0, 1]]]]
    assert nn.Preprocessing((2, 1, 2), 0.5, (1, 2), (1, 4), flatten=True)(x[0]).tolist() == [[0, 1, 0, 1]]
    assert pickle.loads(pickle.dumps(preprocessing)).config() == preprocessing.config()
    assert repr(preprocessing) == (
        "Preprocessing(input_shape=(2, 1, 2), scale=0.5, mean=(1.0, 2.0), std=(1.0, 4.0), flatten=False)"
    )
