"""The Trainer captures the passes of models and losses that are pynn's own."""

import functools

import pytest
from twins import recordings

import pynn
from opcase import same_bits
from pynn import nn, optim
from pynn.nn import functional as F
from pynn.train import Trainer
from training import blobs


class Plain(nn.Sequential):
    """The same layers, but a class of others, whose Python has to run."""


def trained(model_class, loss, **options):
    pynn.manual_seed(0)
    model = model_class(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.01), loss, **options)
    captured = []
    callback = lambda trainer, row: captured.append(trainer._run.gradients)  # noqa: E731
    x, y = blobs()
    trainer.fit((x, y), epochs=3, batch_size=50, validation=(x, y), callbacks=[callback], verbose=0)
    assert trainer._run.gradients is None
    return model.state_dict(), captured[0], [row["loss"] for row in trainer.history]


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), F.cross_entropy, nn.CrossEntropyLoss(reduction="sum")])
def test_a_trainer_captures_what_is_its_own(loss):
    weights, captured, losses = trained(nn.Sequential, loss, clip_grad_norm=1.0)
    assert len(recordings(captured)) == 2 and not captured.reason
    plain, none, plain_losses = trained(Plain, loss, clip_grad_norm=1.0)
    assert none is None and losses == plain_losses
    assert all(same_bits(weights[name], plain[name]) for name in weights)


def changed(change, model_class=nn.Sequential):
    """Weights of a training in which a callback changes something after the first epoch."""
    pynn.manual_seed(0)
    model = model_class(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss())
    callback = lambda trainer, row: change(trainer) if row["epoch"] == 1 else None  # noqa: E731
    trainer.fit(blobs(), epochs=3, batch_size=50, callbacks=[callback], verbose=0)
    return model.state_dict()


CALLS = []


class Own(nn.Module):
    def forward(self, x):
        CALLS.append(1)
        return x


CHANGES = {
    "loss": lambda trainer: setattr(trainer, "loss", nn.CrossEntropyLoss(label_smoothing=0.3)),
    "accumulate": lambda trainer: setattr(trainer, "accumulate", 2),
    "a module of others": lambda trainer: trainer.model.append(Own()) and None,
    "a forward of others": lambda trainer: setattr(trainer.model[1], "forward", lambda x: CALLS.append(1) or x),
    "a rate": lambda trainer: trainer.optimizer.param_groups[0].update(lr=0.5),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_callbacks_change(name):
    CALLS.clear()
    captured = changed(CHANGES[name])
    assert len(CALLS) in (0, 6)
    plain = changed(CHANGES[name], Plain)
    assert all(same_bits(captured[key], plain[key]) for key in plain)


def test_losses_that_only_look_like_ours():
    calls = []

    @functools.wraps(F.cross_entropy)
    def loss(output, target):
        calls.append(1)
        return F.cross_entropy(output, target)

    assert trained(nn.Sequential, loss)[1] is None and len(calls) >= 9
    with pytest.raises(ValueError):
        trained(nn.Sequential, nn.CrossEntropyLoss(reduction="none"))


def test_a_trainer_calls_the_python_of_others():
    for loss in (lambda output, target: F.cross_entropy(output, target), nn.CrossEntropyLoss()):
        model = Plain if isinstance(loss, nn.Module) else nn.Sequential
        assert trained(model, loss)[1] is None
    assert trained(nn.Sequential, nn.CrossEntropyLoss(), accumulate=2)[1] is None
