import copy
import pickle

import numpy as np
import pytest

import pynn
from pynn import nn


def make():
    return nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Sequential(nn.Linear(3, 2, bias=False)))


class Tied(nn.Module):
    def __init__(self):
        self.a = nn.Linear(2, 2)
        self.b = nn.Linear(2, 2)
        self.b.weight = self.a.weight
        self.register_buffer("count", pynn.zeros(1))

    def forward(self, x):
        return self.b(self.a(x))


def test_names_and_shapes_are_pytorchs():
    state = make().state_dict()
    assert {k: v.shape for k, v in state.items()} == {
        "0.weight": (3, 4),
        "0.bias": (3,),
        "2.0.weight": (2, 3),
    }
    assert all(isinstance(v, np.ndarray) and v.flags.c_contiguous for v in state.values())


def test_weight_lies_in_and_out():
    assert nn.Linear(4, 3).weight._array.strides == (1, 3)


def test_default_initialisation():
    pynn.manual_seed(0)
    layer = nn.Linear(400, 300)
    weight = layer.state_dict()["weight"]
    assert abs(weight).max() <= 1 / 20
    assert abs(weight).max() >= 0.999 / 20
    assert abs(weight.mean()) <= 1e-3
    assert abs(weight.std() - 1 / 20 / 3**0.5) <= 1e-3


def test_load_keeps_memory_and_strides():
    model = make()
    weight = model[0].weight
    pointer, strides = weight._array.pointer, weight._array.strides
    values = {k: np.full(v.shape, i, np.float64) for i, (k, v) in enumerate(model.state_dict().items())}
    model.load_state_dict(values)
    assert (weight._array.pointer, weight._array.strides) == (pointer, strides)
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(model.state_dict()["0.bias"], [1, 1, 1])


def test_load_names_what_is_wrong_and_changes_nothing():
    model = make()
    before = model.state_dict()
    state = model.state_dict()
    state["0.bias"] = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match=r"'0.bias': expected shape \(3,\), got \(4,\)"):
        model.load_state_dict({k: v + 1 for k, v in state.items()})
    del state["0.bias"]
    state["extra"] = np.zeros(1)
    with pytest.raises(KeyError, match=r"missing \['0.bias'\], unexpected \['extra'\]"):
        model.load_state_dict(state)
    for bad in (None, np.zeros(3, complex), np.array(["a", "b", "c"])):
        with pytest.raises(TypeError, match=r"'0.bias': expected numbers, got dtype"):
            model.load_state_dict({**before, "0.bias": bad})
    with pytest.raises(TypeError, match="expected a dictionary of arrays, got list"):
        model.load_state_dict([1])
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    model.load_state_dict(state, strict=False)


def test_shared_parameters_and_buffers():
    model = Tied()
    assert [n for n, _ in model.named_parameters()] == ["a.weight", "a.bias", "b.bias"]
    assert list(model.state_dict()) == ["count", "a.weight", "a.bias", "b.weight", "b.bias"]
    clone = copy.deepcopy(model)
    assert clone.b.weight is clone.a.weight is not model.a.weight


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickle_and_deepcopy(protocol):
    model = make()
    x = pynn.randn(5, 4)
    expected = model(x).detach().numpy()
    for other in (pickle.loads(pickle.dumps(model, protocol)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other(x).detach().numpy(), expected)
        assert other[0].weight._array.strides == (1, 3)


def test_errors_name_the_layer():
    model = nn.Sequential({"body": make(), "head": nn.Linear(9, 1)})
    with pytest.raises(ValueError, match=r"Linear 'head': expected 9 input features, got 2 \(input shape \(5, 2\)\)"):
        model(pynn.zeros(5, 4))
    with pytest.raises(ValueError, match=r"Linear 'body.0': expected 4 input features, got 7"):
        model(pynn.zeros(5, 7))


def test_sequential_fuses_with_the_same_bits():
    x = pynn.randn(33, 4)
    for activation in (nn.Sigmoid(), nn.Tanh(), nn.ReLU()):
        layer = nn.Linear(4, 3)
        fused = nn.Sequential(layer, activation)(x)
        assert fused.detach().numpy().tobytes() == activation(layer(x)).detach().numpy().tobytes()


def test_modes_and_repr():
    model = make()
    assert not model.eval()[2][0].training
    assert model.train()[2][0].training
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Linear(in_features=4, out_features=3, bias=True)\n"
        "  (1): Sigmoid()\n"
        "  (2): Sequential(\n"
        "    (0): Linear(in_features=3, out_features=2, bias=False)\n"
        "  )\n"
        ")"
    )


def test_double_keeps_the_memory_order():
    model = nn.Linear(4, 3).double()
    assert model.weight.dtype == np.float64
    assert model.weight._array.strides == (1, 3)
    assert model(pynn.zeros(2, 4, dtype=pynn.float64)).dtype == np.float64


def test_numbers_of_numpy_are_sizes():
    layer = nn.Linear(np.int64(3), np.uint8(2))
    assert layer.weight.shape == (2, 3) and repr(layer) == "Linear(in_features=3, out_features=2, bias=True)"


def test_wrong_modules_are_refused():
    with pytest.raises(TypeError, match="expected a Module, got int"):
        nn.Sequential(3)
    with pytest.raises(ValueError, match="'forward' cannot name a module"):
        nn.Sequential({"forward": nn.Identity()})
    with pytest.raises(ValueError, match="in_features"):
        nn.Linear(-1, 3)


@pytest.mark.parametrize("value", [pynn.ones(3, 4), np.ones((3, 4), np.float32), 1.0])
def test_a_parameter_is_not_lost_by_an_assignment(value):
    layer = nn.Linear(4, 3)
    before = layer.weight
    with pytest.raises(TypeError, match=r"Linear: expected a Parameter or None as weight, got .* weight\.data = "):
        layer.weight = value
    assert layer.weight is before
    layer.weight = nn.Parameter(pynn.ones(3, 4))
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    layer.bias = pynn.ones(3)  # no parameter was there


def test_parameters_and_modules_under_given_names():
    model = nn.Module()
    model.register_parameter("scale", nn.Parameter(pynn.ones(2)))
    model.register_parameter("bias", None)
    model.add_module("head", nn.Linear(2, 1))
    model.add_module("head", nn.Identity())
    model.register_buffer("mean", pynn.zeros(2))
    model.register_buffer("none", None)
    assert list(model.state_dict()) == ["scale", "mean"] and list(model.buffers()) == [model.mean]
    assert [name for name, _ in model.named_modules()] == ["", "head"] and model.bias is None
    for name in ("", "a.b", "forward", "training", "_buffers", "head"):
        with pytest.raises(ValueError, match=f"Module: '{name}' cannot name a parameter"):
            model.register_parameter(name, nn.Parameter(pynn.ones(2)))
    with pytest.raises(ValueError, match="'scale' cannot name a module"):
        model.add_module("scale", nn.Identity())
    with pytest.raises(TypeError, match="register_parameter: expected a Parameter or None as bias, got Tensor"):
        model.register_parameter("bias", pynn.ones(2))
    with pytest.raises(TypeError, match="add_module: expected a Module or None as act, got function"):
        model.add_module("act", pynn.relu)


def test_a_frozen_model_answers_alike_and_cannot_be_changed():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3), Tied())
    model[4].a = model[4].b = nn.Linear(3, 3)
    x = pynn.randn(2, 2, 4, 4)
    expected = model(x).detach().numpy()
    outside = model[3].weight.detach()
    assert model.freeze() is model
    assert not model.training and not model[4].training
    y = model(x)
    assert not y.requires_grad and y.numpy().tobytes() == expected.tobytes()
    assert model[4].a is model[4].b and model[3].weight._array.strides == (1, 3)
    outside.fill_(7)  # memory that it shared before
    assert model(x).numpy().tobytes() == expected.tobytes()
    for tensor in (*model.parameters(), *[t for _, t in model.named_buffers()]):
        assert not tensor.requires_grad and not tensor.numpy().flags.writeable
        assert not np.from_dlpack(tensor).flags.writeable
        for change in (lambda t: t.fill_(0), lambda t: t.add_(1), lambda t: t.copy_(t * 2), nn.init.zeros_):
            with pytest.raises(ValueError, match="read-only"):
                change(tensor)
    with pytest.raises(ValueError, match=r"load_state_dict: '0.weight' is read-only: the model is frozen"):
        model.load_state_dict(model.state_dict())
    assert model(x).numpy().tobytes() == expected.tobytes()
    assert not model.double()[0].weight.numpy().flags.writeable


def test_a_copy_of_a_frozen_model_can_be_trained():
    model = nn.Linear(3, 2).freeze()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.requires_grad_()
        other(pynn.ones(1, 3)).sum().backward()
        pynn.optim.SGD(other.parameters(), lr=0.1).step()
        assert not np.array_equal(other.state_dict()["weight"], model.state_dict()["weight"])
    assert nn.Linear(0, 2).freeze()(pynn.zeros(1, 0)).shape == (1, 2)


class Doubled(nn.ReLU):
    """Derived from an activation that kernels know, and another function."""

    def forward(self, input):
        return super().forward(input) * 2


class Root(nn.Linear):
    """Derived from a layer whose kernel takes an activation; its own forward takes none."""

    def forward(self, input):
        return super().forward(input) ** 2


def test_sequential_fuses_nothing_that_is_derived():
    x = pynn.randn(3, 4)
    for first, second in ((nn.Linear(4, 4), Doubled()), (Root(4, 4), nn.ReLU()), (Doubled(), nn.Linear(4, 4))):
        np.testing.assert_array_equal(
            nn.Sequential(first, second)(x).detach().numpy(), second(first(x)).detach().numpy()
        )
    images = pynn.randn(1, 2, 4, 4)
    np.testing.assert_array_equal(
        nn.Sequential(Doubled(), nn.MaxPool2d(2))(images).numpy(), nn.MaxPool2d(2)(Doubled()(images)).numpy()
    )


def test_append_replaces_nothing():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    assert list(nn.Sequential({"1": a}).append(b)) == [a, b]
    assert list(nn.Sequential(a, b, c)[1:].append(a)) == [b, c, a]
    assert [name for name, _ in nn.Sequential(a, b).append(c).named_children()] == ["0", "1", "2"]
