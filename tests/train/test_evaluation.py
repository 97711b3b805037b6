"""What Trainer.evaluate and Trainer.accuracy report: what the loss says of all the data at once."""

import functools
import math

import numpy as np
import pytest

import pynn
from pynn import nn
from pynn.nn import functional as F
from pynn.train import Trainer
from training import blobs, trainer

X, Y = blobs(130)
ONE_HOT = np.eye(3, dtype=np.float32)[Y]
IGNORED = Y.copy()
IGNORED[:50] = 2  # whole batches of 7 and of 20
FAR = np.where(Y == 2, -100, Y)
WEIGHTS = np.array([0.1, 1, 5], np.float32)

LOSSES = {
    "mean": (F.cross_entropy, Y),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), Y),
    "sum of a function": (F.half_sse_loss, ONE_HOT),
    "sum of a partial": (functools.partial(F.mse_loss, reduction="sum"), ONE_HOT),
    "mean over samples": (nn.HalfSSELoss("mean"), ONE_HOT),
    "ignored": (nn.CrossEntropyLoss(ignore_index=2), IGNORED),
    "ignored, partial": (functools.partial(F.cross_entropy, ignore_index=2), IGNORED),
    "ignored, summed": (nn.CrossEntropyLoss(ignore_index=2, reduction="sum"), IGNORED),
    "ignored by default": (F.cross_entropy, FAR),
    "weights": (nn.CrossEntropyLoss(WEIGHTS), Y),
    "weights, ignored": (nn.CrossEntropyLoss(WEIGHTS, ignore_index=2), IGNORED),
    "weights of a partial": (functools.partial(F.cross_entropy, weight=WEIGHTS), FAR),
    "probabilities": (nn.CrossEntropyLoss(WEIGHTS), ONE_HOT),
    "smoothing": (nn.CrossEntropyLoss(WEIGHTS, label_smoothing=0.3), Y),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("batch_size", [1, 7, 20, 130, None])
def test_the_loss_is_that_of_one_batch(kind, batch_size):
    loss, targets = LOSSES[kind]
    t = trainer(loss=loss)
    with pynn.no_grad():
        expected = loss(pynn.tensor(t.predict(X)), targets).item()
    result = t.evaluate((X, targets), batch_size)
    assert abs(result["loss"] - expected) <= 1e-5 * abs(expected)
    t.fit((X, Y if targets.ndim == 1 else targets), validation=(X, targets), verbose=0)
    assert t.history[0]["val_loss"] == t.evaluate((X, targets))["loss"]


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(ignore_index=2), functools.partial(F.cross_entropy, ignore_index=2)]
)
def test_ignored_samples_have_no_accuracy(loss):
    t = trainer(loss=loss)
    t.fit((X, Y), 1, verbose=0)
    kept = IGNORED != 2
    expected = np.mean(t.predict(X).argmax(1)[kept] == Y[kept])
    assert 0 < expected < 1
    assert t.accuracy((X, IGNORED), 7) == t.evaluate((X, IGNORED), 7)["accuracy"] == expected


def test_where_all_are_ignored_there_is_nothing_to_say():
    t = trainer(loss=nn.CrossEntropyLoss(ignore_index=2))
    assert all(math.isnan(value) for value in t.evaluate((X, np.full(130, 2))).values())
    assert math.isnan(t.accuracy((X, np.full(130, 2))))


@pytest.mark.parametrize("method", ["evaluate", "accuracy"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X * np.nan, Y * 0), "inputs: NaN or infinity in sample 0"),
        ((X, np.where(Y == 2, 7, Y)), "expected labels 0 to 2 for 3 outputs, got 7 in sample"),
    ],
)
def test_what_cannot_be_judged(method, data, message):
    with pytest.raises(ValueError, match=f"{method}: {message}"):
        getattr(trainer(), method)(data)


def test_nan_is_no_right_answer():
    class Diverged(nn.Module):
        def forward(self, x):
            return x + pynn.tensor(np.array([np.nan, 0, 0], np.float32))

    t = trainer()
    t.model = nn.Sequential(t.model, Diverged())
    assert (t.predict(X).argmax(1) == 0).all()
    assert t.accuracy((X, Y * 0)) == t.evaluate((X, Y * 0))["accuracy"] == 0


def test_a_summed_loss_in_training():
    """The epoch's loss is the sum of its batches', and accumulated batches have the gradient of the larger one."""
    weights, losses = [], []

    def loss(output, target, reduction="sum"):
        value = F.half_sse_loss(output, target, reduction)
        losses.append(value.item())
        return value

    for batch_size, accumulate in ((20, 1), (5, 4)):
        t = trainer(loss=loss, lr=1e-3, accumulate=accumulate)
        t.model[2].forward = lambda x: x  # without noise
        losses.clear()
        t.fit((X, ONE_HOT), 1, batch_size, verbose=0)
        assert abs(t.history[0]["loss"] - sum(losses)) <= 1e-9 * sum(losses)
        weights.append(np.concatenate([p.detach().numpy().ravel() for p in t.model.parameters()]))
    assert np.abs(weights[0] - weights[1]).max() <= 1e-6


@pytest.mark.parametrize("stop", [True, np.bool_(True), np.array(True), pynn.tensor(True), pynn.tensor(3.0) > 2])
def test_every_true_stops(stop):
    assert len(trainer().fit((X, Y), 3, callbacks=[lambda t, row: stop], verbose=0)) == 1


@pytest.mark.parametrize("value", [None, False, np.bool_(False), 17, "text", [1], np.ones(3), pynn.tensor(1.0)])
def test_nothing_else_does(value):
    assert len(trainer().fit((X, Y), 3, callbacks=[lambda t, row: value], verbose=0)) == 3


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i2", ">i8"])
def test_labels_of_any_integers(dtype):
    expected = trainer().fit((X, Y), 1, verbose=0).column("loss")
    for data in ((X, Y.astype(dtype)), pynn.data.Loader(X, Y.astype(dtype))):
        assert trainer().fit(data, 1, verbose=0).column("loss") == expected


def test_bools_as_labels():
    ours = trainer().fit((X, Y == 1), 1, verbose=0)
    assert ours.column("loss") == trainer().fit((X, (Y == 1) * 1), 1, verbose=0).column("loss")


@pytest.mark.parametrize("dtype", ["f2", ">f4", ">f8"])
def test_floats_of_any_width(dtype):
    half = X.astype("f2")
    expected = trainer(loss=F.mse_loss).fit((half.astype("f4"), ONE_HOT), 1, verbose=0).column("loss")
    assert (
        trainer(loss=F.mse_loss).fit((half.astype(dtype), ONE_HOT.astype(dtype)), 1, verbose=0).column("loss")
        == expected
    )


def test_pixels_in_a_tensor_are_scaled_as_in_an_array():
    pixels = (X > 0).astype(np.uint8) * 255
    for dtype in (np.float32, np.float64):
        model = nn.Linear(2, 3, dtype=dtype)
        t = Trainer(model, pynn.optim.SGD(model.parameters(), lr=0.1), F.cross_entropy)
        outputs = t.predict(pixels)
        np.testing.assert_array_equal(t.predict(pynn.tensor(pixels)), outputs)
        np.testing.assert_array_equal(t.predict((X > 0).astype(dtype)), outputs)
