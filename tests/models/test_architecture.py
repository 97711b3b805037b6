"""Models as JSON: every layer can be built again from its attributes, and nothing else can be built."""

import copy
import inspect
import json
import pickle

import numpy as np
import pytest

import pynn
from pynn import models, nn
from pynn.models import architecture, registry
from pynn.nn.loss import _Loss
from pynn.nn.parameter import loading

LAYERS = {
    name: cls
    for name, cls in architecture.CLASSES.items()
    if not issubclass(cls, _Loss) and cls not in architecture.CONTAINERS
}

# A value other than the default for each argument that a layer may have, small enough to be combined.
EXAMPLES = {
    "activation": "tanh",
    "affine": False,
    "approximate": "tanh",
    "bias": False,
    "ceil_mode": True,
    "count_include_pad": False,
    "dilation": 2,
    "dim": 0,
    "divisor_override": 3,
    "end_dim": 2,
    "eps": 0.25,
    "groups": 2,
    "in_channels": 4,
    "in_features": 3,
    "inplace": False,
    "kernel_size": 3,
    "momentum": 0.25,
    "negative_slope": 0.25,
    "num_features": 4,
    "out_channels": 6,
    "out_features": 2,
    "output_padding": 1,
    "output_size": 2,
    "p": 0.25,
    "padding": 1,
    "padding_mode": "zeros",
    "return_indices": True,
    "start_dim": 2,
    "stride": 2,
}


def arguments_of(cls, name):
    """The required arguments, and `name` with a value other than its default."""
    parameters = inspect.signature(cls).parameters.values()
    for parameter in parameters:
        assert parameter.name in (*EXAMPLES, "dtype"), f"{cls.__name__}: EXAMPLES needs a value for {parameter.name!r}"
    return {p.name: EXAMPLES[p.name] for p in parameters if p.default is p.empty or p.name == name}


CASES = [
    (name, argument) for name, cls in LAYERS.items() for argument in ["", *inspect.signature(cls).parameters.keys()]
]


@pytest.mark.parametrize(("name", "argument"), [case for case in CASES if case[1] != "dtype"])
def test_every_layer_is_built_again_from_its_attributes(name, argument):
    layer = LAYERS[name](**arguments_of(LAYERS[name], argument))
    description = json.loads(json.dumps(architecture.describe(layer)))
    other = architecture.build(description, {}, 10**4)
    assert type(other) is type(layer) and repr(other) == repr(layer)
    assert architecture.describe(other) == description
    if argument:
        value, given = getattr(other, argument), getattr(layer, argument)
        assert type(value) is type(given)
        if not isinstance(value, nn.Parameter):
            assert value == given


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_takes_its_memory_where_it_can_be_bounded(name):
    state = LAYERS[name](**arguments_of(LAYERS[name], "")).state_dict()
    with loading(sum(value.size for value in state.values())):
        before = pynn.random.default_generator.get_state()
        LAYERS[name](**arguments_of(LAYERS[name], ""))
        assert pynn.random.default_generator.get_state() == before
    if state:
        with loading(sum(value.size for value in state.values()) - 1), pytest.raises(ValueError, match="more than"):
            LAYERS[name](**arguments_of(LAYERS[name], ""))


def test_a_bound_ends_with_its_block():
    with pytest.raises(ValueError), loading(0):
        nn.Linear(2, 2)
    assert nn.Linear(2, 2).weight.detach().numpy().any()


def test_sequential_keeps_names_order_and_nesting():
    model = nn.Sequential({"z": nn.Sequential(*[nn.Linear(2, 2) for _ in range(12)]), "a": nn.ReLU()})
    description = json.loads(json.dumps(architecture.describe(model), sort_keys=True))
    assert repr(architecture.build(description, {}, 1000)) == repr(model)


def test_a_registered_model_is_its_name_and_arguments():
    model = models.mlp([4, np.int64(3), 2], activation="tanh")
    expected = {"name": "mlp", "arguments": {"sizes": [4, 3, 2], "activation": "tanh"}}
    for m in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert m.architecture == expected
        assert architecture.describe(m) == expected
    inside = architecture.describe(nn.Sequential({"body": model, "end": nn.Softmax()}))
    assert inside["layers"][0] == ["body", expected]


def test_arguments_are_those_of_the_call_and_not_of_later():
    sizes = [4, 3, 2]
    model = models.mlp(sizes)
    sizes.append(9)
    assert model.architecture["arguments"] == {"sizes": [4, 3, 2], "activation": "relu"}


def test_a_registered_model_that_was_changed_is_described_as_it_is():
    model = models.mlp([4, 3, 2])
    model.append(nn.Softmax())
    assert architecture.describe(model)["layers"][-1] == ["3", {"class": "Softmax", "arguments": {"dim": -1}}]
    other = models.mlp([4, 3, 2])
    other[0].bias = None
    assert architecture.describe(other)["layers"][0][1]["arguments"]["bias"] is False


def test_a_registered_class_is_its_name_and_arguments(monkeypatch):
    monkeypatch.setattr(registry, "_builders", dict(registry._builders))

    @registry.register
    class Net(nn.Module):
        def __init__(self, width=3):
            self.width = width
            self.layer = nn.Linear(width, width)

    description = architecture.describe(Net(5))
    assert description == {"name": "Net", "arguments": {"width": 5}}
    assert architecture.build(description, {}, 30).width == 5


def test_a_module_used_twice_stays_one():
    layer, act = nn.Linear(3, 3), nn.ReLU()
    description = architecture.describe(nn.Sequential(layer, act, nn.Sequential(act, layer)))
    other = architecture.build(description, {}, 100)
    assert other[2][1] is other[0] and other[2][0] is other[1]


def test_parameters_shared_by_different_layers_are_refused():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match=r"another model: .*'1.weight'.* instead of .*'0.weight'"):
        architecture.describe(model)


class Net(nn.Module):
    def __init__(self, width, activation="relu"):
        self.width = width
        self.activation = activation
        self.layer = nn.Linear(width, 2, activation=activation)

    def forward(self, x):
        return self.layer(x)


class Tied(nn.Module):
    def __init__(self):
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
        self.b.weight = self.a.weight


class Configured(nn.Module):
    def __init__(self, layers):
        self.body = nn.Sequential(*[nn.Linear(2, 2) for _ in range(layers)])

    def get_config(self):
        return {"layers": len(self.body)}


class Forgetful(nn.Module):
    def __init__(self, width):
        self.layer = nn.Linear(width, 2)


def test_classes_of_the_user():
    for model, custom in ((Net(3, "tanh"), Net), (Tied(), Tied), (Configured(3), Configured)):
        description = json.loads(json.dumps(architecture.describe(nn.Sequential(model, nn.ReLU()))))
        other = architecture.build(description, {custom.__name__: custom}, 100)
        assert type(other[0]) is custom and repr(other[0]) == repr(model)
    assert other[0].get_config() == {"layers": 3}


def test_a_class_that_keeps_no_arguments_is_refused():
    with pytest.raises(ValueError, match="Forgetful: its argument 'width' is not kept in an attribute"):
        architecture.describe(nn.Sequential(Forgetful(3)))


def test_a_model_that_its_constructor_does_not_build_is_refused():
    model = Net(3)
    model.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="Net: built again from its arguments it would be another model"):
        architecture.describe(model)
    model = Net(3)
    model.width = np.zeros(3)
    with pytest.raises(ValueError, match="Net: argument 'width': expected what JSON can hold, got ndarray"):
        architecture.describe(model)


def test_the_users_class_is_not_mistaken_for_a_layer():
    linear = type("Linear", (Net,), {})
    description = architecture.describe(linear(3))
    assert description["custom"] == "Linear"
    with pytest.raises(ValueError, match=r"class of the user's: give it as custom_objects={'Linear': Linear}"):
        architecture.build(description, {}, 100)


LINEAR = {"class": "Linear", "arguments": {"in_features": 2, "out_features": 2}}


def sequential(*layers):
    return {"class": "Sequential", "layers": [list(layer) for layer in layers]}


def nested(depth):
    description = LINEAR
    for _ in range(depth):
        description = sequential(("0", description))
    return description


HOSTILE = {
    "no object": ([], "expected an object"),
    "empty": ({}, "expected a class, name or custom class"),
    "more keys": ({**LINEAR, "code": "print(1)"}, "expected a class, name"),
    "unknown class": ({"class": "Lineal", "arguments": {}}, "Lineal is no layer of this pynn"),
    "a module of pynn": ({"class": "functional", "arguments": {}}, "functional is no layer"),
    "the base class": ({"class": "Module", "arguments": {}}, "Module is no layer"),
    "dunder class": ({"class": "__builtins__", "arguments": {}}, "no layer"),
    "class is a list": ({"class": ["Linear"], "arguments": {}}, "expected a name and arguments"),
    "a container with arguments": ({"class": "Sequential", "arguments": {}}, "Sequential is no layer"),
    "unknown model": ({"name": "gpt", "arguments": {}}, "gpt is no model of this pynn .lenet5"),
    "custom": ({"custom": "Net", "arguments": {}}, "custom_objects={'Net': Net}"),
    "arguments are a list": ({"class": "Linear", "arguments": [2, 2]}, "expected a name and arguments"),
    "missing argument": (
        {"class": "Linear", "arguments": {"in_features": 2}},
        "Linear cannot be built: .*out_features",
    ),
    "unknown argument": ({"class": "ReLU", "arguments": {"__class__": 1}}, "ReLU cannot be built"),
    "self": ({"class": "ReLU", "arguments": {"self": 1}}, "ReLU cannot be built"),
    "huge": ({"class": "Linear", "arguments": {"in_features": 10**12, "out_features": 10**12}}, "more than there are"),
    "beyond 64 bits": ({"class": "Linear", "arguments": {"in_features": 10**30, "out_features": 0}}, "cannot be built"),
    "huge model": ({"name": "mlp", "arguments": {"sizes": [10**6, 10**6]}}, "mlp cannot be built: .*more than there"),
    "huge kernel": (
        {"class": "Conv2d", "arguments": {"in_channels": 1, "out_channels": 1, "kernel_size": 10**9}},
        "Conv2d cannot be built: .*more than there are weights",
    ),
    "many layers": (sequential(*[(str(i), LINEAR) for i in range(1000)]), "Linear '16' cannot be built: .*more than"),
    "no groups": (
        {"class": "Conv2d", "arguments": {"in_channels": 1, "out_channels": 1, "kernel_size": 1, "groups": 0}},
        "Conv2d cannot be built",
    ),
    "text for a number": ({"class": "Flatten", "arguments": {"start_dim": "1"}}, "expected int for start_dim, got '1'"),
    "bool for a number": ({"class": "Flatten", "arguments": {"start_dim": True}}, "expected int for start_dim"),
    "text for a flag": ({"class": "Linear", "arguments": {**LINEAR["arguments"], "bias": "no"}}, "expected bool"),
    "layers are an object": ({"class": "Sequential", "layers": {"0": LINEAR}}, "expected a list of names and layers"),
    "a layer without a name": ({"class": "Sequential", "layers": [LINEAR]}, "expected a list of names"),
    "a number as a name": (sequential((0, LINEAR)), "expected a list of names"),
    "the same name twice": (sequential(("a", LINEAR), ("a", LINEAR)), "two layers are named 'a'"),
    "dunder name": (sequential(("__class__", LINEAR)), "'__class__' cannot name a module"),
    "dunder name in a method's place": (sequential(("__call__", LINEAR)), "cannot name a module"),
    "name of a method": (sequential(("forward", LINEAR)), "'forward' cannot name a module"),
    "name of the buffers": (sequential(("_buffers", LINEAR)), "'_buffers' cannot name a module"),
    "name with a dot": (sequential(("a.b", LINEAR)), "'a.b' cannot name a module"),
    "no name": (sequential(("", LINEAR)), "'' cannot name a module"),
    "unknown container": ({"class": "Linear", "layers": []}, "expected one of Sequential, ModuleList, got 'Linear'"),
    "container is a list": ({"class": [], "layers": []}, "expected one of Sequential"),
    "list with names": ({"class": "ModuleList", "layers": [["a", LINEAR]]}, "expected the names 0, 1"),
    "shared with nothing": (sequential(("0", {"shared": "1"})), "'0' is to be the same as '1'"),
    "shared with the whole": (sequential(("0", {"shared": ""})), "which is not a layer before it"),
    "shared is no name": ({"shared": []}, "which is not a layer before it"),
    "nested": (nested(51), "at most 50 layers inside each other"),
    "deeply nested": (nested(500), "at most 50 layers inside each other"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_architecture_is_refused(kind):
    description, message = HOSTILE[kind]
    before = pynn.memory_stats()["live_bytes"]
    with pytest.raises(ValueError, match=message):
        architecture.build(description, {}, 100)
    assert pynn.memory_stats()["live_bytes"] <= before + 2**16


def test_errors_of_the_users_constructor_are_kept():
    def fails():
        raise KeyError("its own")

    with pytest.raises(ValueError, match="Net cannot be built: 'its own'") as caught:
        architecture.build({"custom": "Net", "arguments": {}}, {"Net": fails}, 100)
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ValueError, match="Net: expected a Module, got int"):
        architecture.build({"custom": "Net", "arguments": {}}, {"Net": lambda: 1}, 100)
