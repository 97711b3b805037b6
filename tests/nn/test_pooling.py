import copy
import inspect

import numpy as np
import pytest

import pynn
from opcase import same_bits
from pynn import nn, ops

ARGUMENTS = {
    "MaxPool": [((2,), {}), ((3,), {"stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True})],
    "AvgPool": [((2,), {}), ((3, 2, 1), {"ceil_mode": True, "count_include_pad": False})],
    "AdaptiveMaxPool": [((3,), {}), ((4,), {})],
    "AdaptiveAvgPool": [((3,), {}), ((4,), {})],
    "MaxUnpool": [((2,), {}), ((3, 2, 1), {})],
}
NAMES = sorted(n for n in nn.__all__ if "ool" in n and n[-1] == "d")
LAYERS = [(name, *arguments) for name in NAMES for arguments in ARGUMENTS[name[:-2]]]


def images(name, seed=0):
    return np.random.default_rng(seed).standard_normal((2, 6, 9, 11)[: 2 + int(name[-2])]).astype(np.float32)


def call(library, layer, x):
    """The output, for an un-pooling that of the pooling and it."""
    name = type(layer).__name__
    if "Unpool" not in name:
        return layer(x)
    pool = getattr(library, name.replace("Unpool", "Pool"))(
        layer.kernel_size, layer.stride, layer.padding, return_indices=True
    )
    return layer(*pool(x), output_size=x.shape)


@pytest.mark.parametrize(("name", "arguments", "kwargs"), LAYERS)
def test_like_torch(name, arguments, kwargs):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*arguments, **kwargs), getattr(torch.nn, name)(*arguments, **kwargs)
    assert repr(ours) == repr(theirs)
    x = images(name)
    expected = call(torch.nn, theirs, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(call(nn, ours, x).numpy(), expected, rtol=1e-6, atol=1e-6)
    assert same_bits(call(nn, copy.deepcopy(ours), x).numpy(), call(nn, ours, x).numpy())


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_torchs(name):
    torch = pytest.importorskip("torch")

    def names(layer):
        return [(p.name, p.default) for p in inspect.signature(layer).parameters.values()]

    assert names(getattr(nn, name)) == names(getattr(torch.nn, name))


@pytest.mark.parametrize("name", NAMES)
def test_single_images_and_gradients(name):
    layer = getattr(nn, name)(2)
    x = pynn.tensor(images(name), requires_grad=True)
    whole = call(nn, layer, x)
    assert same_bits(call(nn, layer, x.detach().numpy()[1]).numpy(), whole.detach().numpy()[1])
    whole.sum().backward()
    assert np.abs(x.grad.numpy()).max() > 0


def test_indices():
    x = images("MaxPool2d")
    for layer, op in ((nn.MaxPool2d(2, return_indices=True), ops.max_pool2d),):
        np.testing.assert_array_equal(layer(x)[1].numpy(), op(x, 2, return_indices=True)[1].numpy())
    y, places = nn.AdaptiveMaxPool2d((3, None), return_indices=True)(x)
    np.testing.assert_array_equal(
        y.numpy().ravel(), np.take_along_axis(x.reshape(2, 6, -1), places.numpy().reshape(2, 6, -1), 2).ravel()
    )


def test_errors_name_the_layer():
    model = nn.Sequential({"pool": nn.MaxPool2d(2, padding=2)})
    with pytest.raises(ValueError, match=r"^MaxPool2d 'pool': expected padding of at most half a window, 1, got 2"):
        model(images("MaxPool2d"))
