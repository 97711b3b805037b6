"""What an update of the weights is made of: accumulated and clipped gradients."""

import math

import numpy as np
import pytest

from pynn import optim
from pynn.nn import functional as F
from pynn.train import Callback, Trainer
from training import blobs, trainer, weights

X, Y = blobs(130)  # batches of 20: six and one of 10


class Gradients(Callback):
    """Keeps the gradients of each update, and what it is told about it."""

    def __init__(self):
        self.values, self.infos = [], []

    def on_step_end(self, trainer, info):
        parameters = list(trainer.model.parameters())
        self.values.append(np.concatenate([p.grad.numpy().ravel() for p in parameters]))
        self.infos.append(info)


def fit(batch_size, epochs=1, data=(X, Y), **options):
    seen = Gradients()
    t = trainer(**options)
    t.model[2].forward = lambda x: x  # without noise, which other batches would draw otherwise
    t.fit(data, epochs, batch_size, callbacks=[seen], verbose=0)
    return t, seen


@pytest.mark.parametrize("loss", [F.cross_entropy, F.mse_loss])
@pytest.mark.parametrize("accumulate", [2, 3, 4, 6, 7, 100])
def test_accumulation_is_a_larger_batch(loss, accumulate):
    data = (X, Y) if loss is F.cross_entropy else (X, np.eye(3, dtype=np.float32)[Y])
    a, one_by_one = fit(20, 2, data, loss=loss, accumulate=accumulate)
    b, at_once = fit(min(20 * accumulate, 130), 2, data, loss=loss)
    assert len(one_by_one.values) == len(at_once.values) == 2 * math.ceil(7 / accumulate)
    for x, y in zip(one_by_one.values, at_once.values, strict=True):
        assert np.abs(x - y).max() <= 4e-6 * np.abs(y).max()
    for x, y in zip(one_by_one.infos, at_once.infos, strict=True):
        assert x["samples"] == y["samples"] and abs(x["loss"] - y["loss"]) <= 1e-5 * y["loss"]
        assert x["step"] == min(y["step"] * accumulate, 7) and x["steps"] == 7
    assert abs(a.history[0]["loss"] - b.history[0]["loss"]) <= 1e-5
    for name, value in weights(a).items():
        np.testing.assert_allclose(value, weights(b)[name], rtol=1e-4, atol=1e-6)


def test_clipping_is_the_formula():
    limit = 0.3
    _, seen = fit(20, clip_grad_norm=limit)
    clipped = 0
    for gradient, info in zip(seen.values, seen.infos, strict=True):
        norm = float(np.linalg.norm(gradient.astype(np.float64)))
        assert abs(norm - min(limit, info["grad_norm"])) <= 1e-5
        clipped += info["grad_norm"] > limit
    assert 0 < clipped
    _, free = fit(20, clip_grad_norm=1e9)
    _, plain = fit(20)
    assert [g.tobytes() for g in free.values] == [g.tobytes() for g in plain.values]


def test_clipping_concerns_the_parameters_of_the_optimizer_after_accumulation():
    t = trainer()
    t.model[2].forward = lambda x: x
    last = t.model[3]
    seen = []

    class Norm(Callback):
        def on_step_end(self, trainer, info):
            norm = math.hypot(*np.concatenate([p.grad.numpy().ravel() for p in last.parameters()]).tolist())
            seen.append((norm, info["grad_norm"]))

    part = Trainer(t.model, optim.SGD(last.parameters(), lr=0.1), F.cross_entropy, accumulate=3, clip_grad_norm=0.1)
    part.fit((X, Y), 2, 20, callbacks=[Norm()], verbose=0)
    assert len(seen) == 6
    for norm, before in seen:
        assert abs(norm - min(before, 0.1)) <= 1e-6
    assert seen[0][1] > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "a whole number >= 1 for accumulate, got 0"),
        ({"accumulate": 1.5}, "a whole number >= 1 for accumulate, got 1.5"),
        ({"accumulate": True}, "a whole number >= 1 for accumulate, got True"),
        ({"clip_grad_norm": 0}, "a number > 0 or None for clip_grad_norm, got 0"),
        ({"clip_grad_norm": math.nan}, "a number > 0 or None for clip_grad_norm, got nan"),
        ({"clip_grad_norm": "1"}, "a number > 0 or None for clip_grad_norm, got '1'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=f"Trainer: expected {message}"):
        trainer(**options)


def test_a_loss_that_is_not_finite_in_a_group_changes_nothing():
    t = trainer(accumulate=3)
    before, count = weights(t), 0

    def loss(output, target):
        nonlocal count
        count += 1
        return F.cross_entropy(output, target) * (math.nan if count == 3 else 1)  # the third of the training

    t.loss = loss
    with pytest.raises(FloatingPointError, match="epoch 1, step 3"):
        t.fit((X, Y), 1, 20, verbose=0)
    for name, value in weights(t).items():
        if name != "2.batches":
            np.testing.assert_array_equal(value, before[name])
