"""The promise: the same bits at any thread count, batch split and vector width, for a whole model."""

import hashlib
import itertools

import numpy as np
import pytest

import pynn
from opcase import THREADS, all_threads, isa
from pynn import _core, nn, ops
from pynn.nn import functional as F


def make(seed=0, hidden=(300, 200)):
    pynn.manual_seed(seed)
    sizes = [784, *hidden, 10]
    layers = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def digest(arrays):
    h = hashlib.sha256()
    for a in arrays:
        h.update(np.ascontiguousarray(a).tobytes())
    return h.hexdigest()


def train(optimizer_class, steps=20, **kwargs):
    """Losses, outputs, gradients and weights of a short training."""
    model = make()
    optimizer = optimizer_class(model.parameters(), **kwargs)
    rng = np.random.default_rng(0)
    x = rng.random((steps, 250, 784), dtype=np.float32)
    y = rng.integers(0, 10, (steps, 250))
    seen = []
    for i in range(steps):
        optimizer.zero_grad()
        out = model(x[i])
        loss = ops.cross_entropy(out, y[i])
        loss.backward()
        seen += [out.detach().numpy(), loss.detach().numpy(), *[p.grad.numpy() for p in model.parameters()]]
        optimizer.step()
    return digest([*seen, *model.state_dict().values()])


OPTIMIZERS = [(pynn.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}), (pynn.optim.Adam, {"lr": 1e-3})]


@pytest.mark.parametrize(("optimizer", "kwargs"), OPTIMIZERS)
def test_training_at_any_thread_count(optimizer, kwargs):
    digests = set()
    for threads in THREADS:
        with pynn.threads(threads):
            digests.add(train(optimizer, **kwargs))
    assert len(digests) == 1


@pytest.mark.parametrize(("optimizer", "kwargs"), OPTIMIZERS)
def test_training_on_avx2_and_avx512(optimizer, kwargs):
    wanted = {"avx2", "avx512"}
    if not wanted <= set(_core.supported_isas()):
        pytest.skip("this CPU has not both avx2 and avx512")
    digests = set()
    for name in wanted:
        with isa(name):
            digests.add(train(optimizer, **kwargs))
    assert len(digests) == 1


@pytest.mark.parametrize("batch", [2, 3, 5, 17, 64, 200])
def test_a_row_does_not_know_its_batch(batch):
    model = make()
    x = np.random.default_rng(1).random((batch, 784), dtype=np.float32)
    with pynn.no_grad():
        whole = model(x).numpy()
        for i in range(batch):
            assert model(x[i : i + 1]).numpy().tobytes() == whole[i].tobytes()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_an_infinite_weight_spreads_alike(value):
    """Over the zeros around an image, whatever the threads, the vectors and the batch."""
    weight = np.ones((4, 4, 5, 5), np.float32)
    weight[0, 0, 0, 0] = value
    x = np.ones((5, 4, 6, 24), np.float32)
    outputs = []
    for name in {"avx2", "avx512"} & set(_core.supported_isas()):
        with isa(name):
            for threads in THREADS:
                with all_threads(threads):
                    outputs.append(F.conv2d(x, weight, padding=2).numpy())
            outputs.append(np.concatenate([F.conv2d(image[None], weight, padding=2).numpy() for image in x]))
    if not outputs:
        pytest.skip("neither AVX2 nor AVX-512")
    assert not np.isfinite(outputs[0]).all() and np.isfinite(outputs[0]).any()
    for output in outputs[1:]:
        np.testing.assert_array_equal(output, outputs[0])
