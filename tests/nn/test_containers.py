"""Sequential and ModuleList as lists, and what Sequential runs as one kernel."""

from __future__ import annotations

import pickle
from copy import deepcopy as copy_of

import numpy as np
import pytest

import pynn
from pynn import nn


def names(container):
    return [name for name, _ in container.named_children()]


@pytest.mark.parametrize("make", [nn.Sequential, lambda *layers: nn.ModuleList(layers)])
def test_containers_are_lists(make):
    a, b, c, d = nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Linear(2, 2)
    container = make(a, b)
    assert container.extend([c]) is container and list(container) == [a, b, c]
    assert container.insert(1, d) is container and list(container) == [a, d, b, c]
    assert list(container.state_dict()) == ["1.weight", "1.bias"]
    container[-1] = d
    assert list(container) == [a, d, b, d]
    del container[1]
    assert list(container) == [a, b, d] and names(container) == ["0", "1", "2"]
    container.insert(-5, c).insert(9, a)
    assert list(container) == [c, a, b, d, a] and names(container) == ["0", "1", "2", "3", "4"]
    del container[1::2]
    assert list(container) == [c, b, a] and names(container) == ["0", "1", "2"]
    container.extend(container)
    assert len(container) == 6


def test_given_names_stay():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    model = nn.Sequential({"first": a, "last": b}).insert(1, c)
    model[0] = nn.Identity()
    assert names(model) == ["first", "1", "last"] and model.first is model[0]
    del model[0]
    assert names(model) == ["0", "last"] and list(model) == [c, b]


@pytest.mark.parametrize("container", [nn.Sequential(nn.ReLU()), nn.ModuleList([nn.ReLU()])])
def test_what_is_no_module_and_no_place_is_refused(container):
    kind, before = type(container).__name__, list(container)
    for call in (
        lambda: container.append(3),
        lambda: container.extend([3]),
        lambda: container.insert(0, 3),
        lambda: container.__setitem__(0, 3),
    ):
        with pytest.raises(TypeError, match=f"{kind}: expected a Module, got int"):
            call()
    for call in (lambda: container.__setitem__(1, nn.ReLU()), lambda: container.__delitem__(-2)):
        with pytest.raises(IndexError):
            call()
    with pytest.raises(TypeError):
        container["a"] = nn.ReLU()
    assert list(container) == before and names(container) == ["0"]


def test_a_changed_frozen_model_is_not_replayed():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).freeze()
    x = pynn.randn(2, 3)
    for _ in range(3):
        model(x)
    model[1] = nn.Tanh()
    np.testing.assert_array_equal(model(x).numpy(), pynn.tanh(model[0](x)).numpy())
    del model[1]
    np.testing.assert_array_equal(model(x).numpy(), model[0](x).numpy())


def test_the_calls_follow_every_change():
    """What a Sequential fuses is decided again after any change of a layer, and by a copy for itself."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2), nn.Sigmoid())
    x = pynn.randn(2, 1, 4, 4)

    def check(model):
        expected = x
        for layer in model:
            expected = layer(expected)
        np.testing.assert_array_equal(model(x).detach().numpy(), expected.detach().numpy())

    check(model)
    model[0].activation = "tanh"  # no longer free for the one that follows
    check(model)
    model[1] = nn.Tanh()  # which may not change places with the pooling
    check(model)
    for copy in (copy_of(model), pickle.loads(pickle.dumps(model))):
        with pynn.no_grad():
            copy[4].weight.fill_(1)
        copy[5] = nn.ReLU()
        check(copy)
    model.append(nn.Identity())
    check(model)


def test_calls_are_no_attributes():
    """What a Sequential remembers is neither seen by those who go over its layers nor a change of a frozen model."""
    model = nn.Sequential({"_plans": nn.Linear(3, 3), "relu": nn.ReLU()})
    for _ in model.children():
        model(pynn.randn(2, 3))
    before = dict(vars(model))
    model.freeze()
    for _ in range(4):
        model(pynn.randn(2, 3))
        nn.Linear(2, 2)
    assert vars(model)["_replay"]._programs and vars(model).keys() - before.keys() == {"_replay", "training"}
    with pytest.raises(ValueError, match="_plan"):
        nn.Sequential({"_plan": nn.ReLU()})


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("replaced", range(6))
def test_a_replaced_forward_is_called(replaced, frozen):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2), nn.Sigmoid())
    x = pynn.randn(2, 1, 4, 4)
    seen = []

    def forward(input, own=model[replaced].forward):
        seen.append(input.shape)
        return own(input)

    layer_by_layer = x
    for layer in model:
        if layer is model[replaced]:
            expected = [layer_by_layer.shape] * 3
        layer_by_layer = layer(layer_by_layer)
    model[replaced].forward = forward
    if frozen:
        model.freeze()
    for _ in range(3):
        np.testing.assert_array_equal(model(x).detach().numpy(), layer_by_layer.detach().numpy())
    assert seen == expected
