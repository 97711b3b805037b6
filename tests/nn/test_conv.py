import copy

import numpy as np
import pytest

import pynn
from opcase import same_bits
from pynn import nn

LAYERS = [
    (lambda: nn.Conv2d(4, 6, 3, padding=1), (2, 4, 7, 5), (2, 6, 7, 5)),
    (lambda: nn.Conv2d(4, 6, (3, 2), stride=2, dilation=(1, 2), groups=2), (2, 4, 9, 9), (2, 6, 4, 4)),
    (lambda: nn.Conv2d(4, 8, 5, padding="same", bias=False), (2, 4, 6, 6), (2, 8, 6, 6)),
    (lambda: nn.Conv1d(3, 5, 4, stride=3), (2, 3, 13), (2, 5, 4)),
    (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (2, 4, 5, 4), (2, 6, 10, 8)),
    (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (2, 4, 5), (2, 6, 11)),
]


@pytest.mark.parametrize(("make", "given", "expected"), LAYERS)
def test_shapes_state_and_training(make, given, expected):
    pynn.manual_seed(0)
    layer = make()
    x = np.random.default_rng(0).standard_normal(given).astype(np.float32)
    y = layer(x)
    assert y.shape == expected
    other = make()
    other.load_state_dict(layer.state_dict())
    assert same_bits(other(x).detach().numpy(), y.detach().numpy())
    assert other.weight._array.strides == layer.weight._array.strides
    assert same_bits(copy.deepcopy(layer)(x).detach().numpy(), y.detach().numpy())
    (y * y).sum().backward()
    for p in layer.parameters():
        assert p.grad.shape == p.shape and np.abs(p.grad.numpy()).max() > 0
    pynn.optim.SGD(layer.parameters(), lr=1e-3).step()
    after = layer(x)
    assert (after * after).sum().item() < (y * y).sum().item()


@pytest.mark.parametrize("kind", [nn.Sigmoid, nn.Tanh, nn.ReLU])
def test_sequential_fuses_with_the_same_bits(kind):
    pynn.manual_seed(0)
    layer = nn.Conv2d(3, 5, 3, padding=1)
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    fused, apart = nn.Sequential(layer, kind())(x), kind()(layer(x))
    assert same_bits(fused.detach().numpy(), apart.detach().numpy())


def test_channels_lie_last_in_memory():
    layer = nn.Conv2d(4, 6, (3, 2))
    assert layer.weight.shape == (6, 4, 3, 2) and layer.weight._array.strides == (24, 1, 8, 4)
    y = layer(np.zeros((2, 4, 5, 5), np.float32))
    assert y._array.strides == (72, 1, 24, 6)


def test_repr_and_arguments():
    assert repr(nn.Conv2d(3, 6, 5, padding=2)) == "Conv2d(3, 6, kernel_size=(5, 5), stride=(1, 1), padding=2)"
    text = "ConvTranspose1d(4, 2, kernel_size=(3,), stride=(2,), output_padding=(1,), groups=2, bias=False)"
    assert repr(nn.ConvTranspose1d(4, 2, 3, 2, output_padding=1, groups=2, bias=False)) == text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "Conv2d: expected in_channels divisible by groups = 2, got 3"),
        (lambda: nn.Conv2d(0, 4, 3), "Conv2d: expected an integer >= 1 and < 2.31 for in_channels, got 0"),
        (lambda: nn.Conv2d(3, 4, 3, groups=0), "Conv2d: expected an integer >= 1 and < 2.31 for groups, got 0"),
        (lambda: nn.Conv2d(3, np.array([4, 4]), 3), r"< 2.31 for out_channels, got array\(\[4, 4\]\)"),
        (lambda: nn.Conv2d(3, True, 3), "for out_channels, got True"),
        (
            lambda: nn.Conv2d(1, 4, (3, 3, 3)),
            r"Conv2d: expected kernel_size as integers >= 1 and < 2.31, one or 2, got",
        ),
        (lambda: nn.Conv2d(1, 4, np.array([3, 3])), r"Conv2d: expected kernel_size as .*, got array\(\[3, 3\]\)"),
        (lambda: nn.Conv2d(1, 4, pynn.tensor([3, 3])), "Conv2d: expected kernel_size as .*, got tensor"),
        (lambda: nn.Conv1d(1, 4, 3, stride=0), "Conv1d: expected stride as an integer >= 1 and < 2.31, got 0"),
        (lambda: nn.Conv2d(1, 4, 3, dilation=2**70), "Conv2d: expected dilation as integers >= 1 and < 2.31"),
        (lambda: nn.Conv2d(1, 4, 3, padding="full"), "Conv2d: expected padding as .*'same' or 'valid', got 'full'"),
        (lambda: nn.Conv2d(1, 4, 3, padding=-1), "Conv2d: expected padding as .*, got -1"),
        (lambda: nn.Conv2d(1, 4, 3, padding=(1, 1, 1, 1)), r"Conv2d: expected padding as .*, got \(1, 1, 1, 1\)"),
        (lambda: nn.Conv2d(1, 4, 3, padding=np.array([1, 1])), "Conv2d: expected padding as .*, got array"),
        (lambda: nn.Conv2d(1, 4, 3, padding=2**62), "Conv2d: expected padding as integers >= 0 and < 2.31"),
        (lambda: nn.Conv1d(1, 4, 3, 2, padding="same"), r"Conv1d: padding 'same' needs stride 1, got \(2,\)"),
        (lambda: nn.ConvTranspose2d(1, 4, 3, padding="same"), "ConvTranspose2d: expected padding as .*, got 'same'"),
        (lambda: nn.ConvTranspose1d(1, 4, 3, output_padding=-1), "ConvTranspose1d: expected output_padding as an int"),
        (lambda: nn.Conv2d(1, 4, 3, padding_mode="reflect"), "Conv2d: expected padding_mode 'zeros', got 'reflect'"),
        (lambda: nn.Conv2d(1, 4, 3, activation="gelu"), "Conv2d: expected one of .* as activation, got 'gelu'"),
        (lambda: nn.Conv2d(3, 4, 3)(np.zeros((2, 1, 5, 5), np.float32)), "Conv2d: .*expected 3 input channels, got 1"),
        (
            lambda: nn.Conv2d(3, 4, 7)(np.zeros((2, 3, 5, 5), np.float32)),
            r"kernel \(7, 7\) is larger than the padded input",
        ),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (pynn.tensor(1), 1),
        (np.array(1), 1),
        (np.int64(1), 1),
        ([1, 1], (1, 1)),
        ([[1, 1], 1], ((1, 1), 1)),
        ("same",) * 2,
    ],
)
def test_padding_in_many_forms(given, kept):
    layer = nn.Conv2d(3, 4, 3, padding=given)
    assert layer.padding == kept and type(layer.padding) is type(kept)
    assert layer(np.zeros((2, 3, 5, 5), np.float32)).shape == (2, 4, 5, 5)


@pytest.mark.parametrize("name", ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"])
def test_weights_move_from_torch(name):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(4, 6, 3, stride=2, padding=1, groups=2)
    ours = getattr(nn, name)(4, 6, 3, stride=2, padding=1, groups=2)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 8)[: 4 if name.endswith("2d") else 3]).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(ours(x).detach().numpy(), theirs(torch.from_numpy(x)).numpy(), atol=1e-5)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, ceil_mode=True)])
def test_relu_after_max_pooling_has_the_same_bits(pool):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 9, 9)).astype(np.float32)
    x[:, :, :3] = rng.choice(np.array([0.0, -0.0, -1.0, 1.0, np.nan, np.inf], np.float32), x[:, :, :3].shape)
    results = []
    for model in (nn.Sequential(nn.ReLU(), pool), lambda t: pool(nn.ReLU()(t))):
        t = pynn.tensor(x, requires_grad=True)
        y = model(t)
        y.backward(pynn.tensor(np.arange(1, y.numel() + 1, dtype=np.float32).reshape(y.shape)))
        results.append((y.detach().numpy(), t.grad.numpy()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (np.signbit(a) == np.signbit(b)).all()


@pytest.mark.parametrize("kind", [nn.Sigmoid, nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("layer", [nn.Conv2d(3, 6, 3, padding=1), nn.ConvTranspose2d(3, 6, 3, padding=1)])
def test_average_pooling_after_an_activation_has_the_same_bits(layer, kind):
    x = np.random.default_rng(0).standard_normal((4, 3, 9, 12)).astype(np.float32)
    pool, act = nn.AvgPool2d(2), kind()
    results = []
    for model in (nn.Sequential(layer, act, pool), lambda t: pool(act(layer(t))), lambda t: pool(act(layer(t)) + 0)):
        layer.zero_grad()
        t = pynn.tensor(x, requires_grad=True)
        y = model(t)
        y.backward(pynn.tensor(np.arange(1, y.numel() + 1, dtype=np.float32).reshape(y.shape)))
        results.append((y.detach().numpy(), *[v.grad.numpy().copy() for v in (t, layer.weight, layer.bias)]))
    for other in results[1:]:
        assert all(same_bits(a, b) for a, b in zip(results[0], other, strict=True))
