"""Frozen models replay their forward passes: the same bits, and nothing stale."""

import copy
import pickle

import numpy as np
import pytest

import pynn
from opcase import precision, same_bits
from pynn import models, nn

rng = np.random.default_rng(0)


def images(n):
    return rng.standard_normal((n, 1, 28, 28)).astype(np.float32)


def recordings(model):
    return [program for program in model._replay._programs.values() if program]


@pytest.mark.parametrize("build", [models.lenet5, models.lenet_tf, lambda: models.lenet5("tanh", "average")])
def test_same_bits(build):
    model = build().eval()
    frozen = copy.deepcopy(model).freeze()
    for n in (1, 5, 1, 5, 1, 5, 1):
        x = images(n)
        assert same_bits(frozen(x).numpy(), model(x).detach().numpy())
    assert len(recordings(frozen)) == 2
    kept = [frozen(images(1)) for _ in range(4)]  # a result that is held is not written again
    values = [y.numpy().copy() for y in kept]
    frozen(images(1))
    assert all(same_bits(y.numpy(), v) for y, v in zip(kept, values, strict=True))


def change_weight(model):
    model[0].weight = nn.Parameter(pynn.zeros(*model[0].weight.shape)).requires_grad_(False)


def append_layer(model):
    model.append(nn.ReLU())


def train_again(model):
    model.train()


@pytest.mark.parametrize("change", [change_weight, append_layer, train_again])
def test_a_changed_model_is_not_replayed(change):
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.9), nn.Linear(5, 3)).freeze()
    x = rng.standard_normal((2, 4)).astype(np.float32)
    for _ in range(3):
        before = model(x).numpy().copy()
    assert recordings(model)
    change(model)
    assert model._replay is None or not same_bits(model(x).numpy(), before)
    pynn.manual_seed(0)
    plain = x
    for layer in model:
        plain = layer(plain)
    pynn.manual_seed(0)
    assert same_bits(model(x).numpy(), plain.numpy())
    assert model._replay is None


def test_gradients_are_not_replayed():
    model = nn.Sequential(nn.Linear(4, 3)).freeze()
    x = pynn.tensor(np.ones((2, 4), np.float32))
    for _ in range(3):
        model(x)
    inputs = pynn.tensor(np.ones((2, 4), np.float32), requires_grad=True)
    model(inputs).sum().backward()
    np.testing.assert_allclose(inputs.grad.numpy()[0], model[0].weight.numpy().sum(0), rtol=1e-6)
    model.requires_grad_()
    model(x).sum().backward()
    assert model[0].bias.grad is not None


def test_precision_is_part_of_the_kind():
    model = nn.Sequential(nn.Conv2d(32, 32, 3)).freeze()
    x = rng.standard_normal((1, 32, 10, 10)).astype(np.float32)
    fast = [model(x).numpy() for _ in range(3)][-1]
    with precision("strict"):
        assert not same_bits(model(x).numpy(), fast)
    assert same_bits(model(x).numpy(), fast)


def test_copies_and_observers():
    model = models.lenet5().freeze()
    x = images(2)
    for _ in range(3):
        y = model(x).numpy()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other._replay is None and same_bits(other(x).numpy(), y)
    assert "Conv2d" in str(nn.summary(model, (1, 28, 28)))
    assert same_bits(model(x).numpy(), y)


def test_wrong_input_and_layers_without_kernels():
    model = nn.Sequential(nn.Linear(4, 3)).freeze()
    for _ in range(3):
        with pytest.raises(ValueError, match="4"):
            model(np.ones((2, 5), np.float32))
    assert not pynn._core.is_recording()
    idle = nn.Sequential(nn.Identity()).freeze()
    for _ in range(4):
        assert idle(pynn.tensor([1.0])).tolist() == [1.0]


def test_shapes_are_bounded():
    model = nn.Sequential(nn.Linear(4, 3)).freeze()
    for n in list(range(1, 30)) * 2:
        assert model(np.ones((n, 4), np.float32)).shape == (n, 3)
    assert len(recordings(model)) == 8
