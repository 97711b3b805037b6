"""The table of a model's layers."""

import numpy as np
import pytest

import pynn
from pynn import nn
from pynn.nn.observe import observed


def test_a_convolutional_model():
    features = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.Conv2d(6, 16, 5, stride=2, groups=2))
    model = nn.Sequential({"features": features, "flat": nn.Flatten(), "head": nn.Linear(16 * 144, 10)})
    table = nn.summary(model, (1, 28, 28))
    assert [(row.name, row.kind, row.output_shape) for row in table.rows] == [
        ("features.0", "Conv2d", (1, 6, 28, 28)),
        ("features.1", "Tanh", (1, 6, 28, 28)),
        ("features.2", "Conv2d", (1, 16, 12, 12)),
        ("flat", "Flatten", (1, 2304)),
        ("head", "Linear", (1, 10)),
    ]
    assert [row.parameters for row in table.rows] == [156, 0, 16 * 3 * 25 + 16, 0, 23050]
    # every output needs channels / groups * kernel products
    assert [row.multiply_adds for row in table.rows] == [6 * 28 * 28 * 25, 0, 16 * 144 * 3 * 25, 0, 23040]
    assert [row.parameter_bytes for row in table.rows] == [4 * row.parameters for row in table.rows]
    assert [row.activation_bytes for row in table.rows] == [4 * int(np.prod(row.output_shape)) for row in table.rows]
    assert table.parameters == sum(p.numel() for p in model.parameters())
    assert table.activation_bytes == sum(row.activation_bytes for row in table.rows)


def test_transposed_convolutions_count_their_inputs():
    table = nn.summary(nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)), (4, 5, 5))
    assert table.multiply_adds == 4 * 25 * (6 // 2) * 9
    assert nn.summary(nn.Sequential(nn.ConvTranspose1d(4, 6, 3)), (4, 5)).multiply_adds == 4 * 5 * 6 * 3
    assert nn.summary(nn.Sequential(nn.Conv1d(4, 6, 3)), (4, 5)).multiply_adds == 6 * 3 * 4 * 3
    assert nn.summary(nn.Sequential(nn.Linear(4, 6)), (7, 4)).multiply_adds == 7 * 24


def test_what_is_shared_counts_once():
    layer, act = nn.Linear(3, 3), nn.ReLU()
    table = nn.summary(nn.Sequential(layer, act, layer, act), (3,))
    assert [row.parameters for row in table.rows] == [12, 0, 0, 0]
    assert table.parameters == 12 and table.multiply_adds == 18 and table.parameter_bytes == 48


class Block(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(3, 3)
        self.scale = nn.Parameter(pynn.ones(3))
        self.register_buffer("count", pynn.zeros(2))

    def forward(self, x):
        return x + self.inner(x) * self.scale, None


def test_the_users_modules():
    model = Block().double()
    table = nn.summary(model, (3,))
    assert [(row.name, row.kind, row.parameters) for row in table.rows] == [("inner", "Linear", 12), ("", "Block", 3)]
    assert [row.parameter_bytes for row in table.rows] == [96, 40]
    assert [row.activation_bytes for row in table.rows] == [24, 24]


def test_the_model_stays_as_it_was():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 3)))
    model[2].eval()
    before = model.state_dict()
    nn.summary(model, (3,))
    with pytest.raises(ValueError, match="Linear '0': expected 3 input features, got 4"):
        nn.summary(model, (4,))
    assert [m.training for m in model.modules()] == [True, True, True, False, False]
    assert all("forward" not in vars(m) for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_the_text_is_a_table():
    text = str(nn.summary(nn.Sequential(nn.Linear(1000, 30), nn.ReLU()), (1000,)))
    assert text.splitlines() == [
        "layer  type    output shape  parameters  multiply-adds  weight bytes  output bytes",
        "-" * 82,
        "0      Linear  (1, 30)           30,030         30,000       120,120           120",
        "1      ReLU    (1, 30)                0              0             0           120",
        "-" * 82,
        "total                            30,030         30,000       120,120           240",
    ]


class Net(nn.Sequential):
    """A Sequential by another name, which runs as one."""


def test_a_derived_sequential_shows_its_activations():
    table = nn.summary(Net(nn.Linear(3, 4), nn.ReLU()), (3,))
    assert [(row.name, row.kind) for row in table.rows] == [("0", "Linear"), ("1", "ReLU")]


def test_observers_within_each_other():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    outer, inner = [], []
    x = pynn.zeros(1, 2)
    with observed(model, lambda name, *call: outer.append(name)):
        with observed(model, lambda name, *call: inner.append(name)):
            model(x)
        model(x)
    assert inner == ["0", "1", ""] and outer == ["0", "1", ""] * 2
    assert all("forward" not in vars(m) for m in model.modules())
