"""A small problem to train on."""

from __future__ import annotations

import numpy as np

import pynn
from pynn import nn, optim
from pynn.nn import functional as F
from pynn.train import Callback, Trainer


def blobs(n=120, seed=0):
    """Three separable classes of points."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = np.array([[0, 3], [3, 0], [-3, -3]])[y] + rng.standard_normal((n, 2)) * 0.5
    return x.astype(np.float32), y


class Noise(nn.Module):
    """Draws from the default generator in training, and counts the batches in a buffer, as Dropout and BatchNorm do."""

    def __init__(self):
        self.register_buffer("batches", pynn.tensor(0.0))

    def forward(self, input):
        if not self.training:
            return input
        with pynn.no_grad():
            self.batches.add_(1)
        return input + pynn.randn(*input.shape) * 0.1


def trainer(optimizer="SGD", seed=0, lr=0.05, loss=F.cross_entropy, options=None, **trainer_options):
    pynn.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), Noise(), nn.Linear(8, 3))
    return Trainer(
        model, getattr(optim, optimizer)(model.parameters(), lr=lr, **(options or {})), loss, **trainer_options
    )


def weights(trainer):
    return trainer.model.state_dict()


def assert_same(a, b):
    """The same weights to the bit, and the same history but for the seconds."""
    assert weights(a).keys() == weights(b).keys()
    for name, value in weights(a).items():
        assert value.tobytes() == weights(b)[name].tobytes(), name
    assert rows(a) == rows(b)


def rows(trainer):
    return [[(k, v) for k, v in row.items() if k != "seconds"] for row in trainer.history]


class Killed(Exception):
    pass


class KillAfter(Callback):
    """Raises Killed after that many updates."""

    def __init__(self, updates):
        self.left = updates

    def on_step_end(self, trainer, info):
        self.left -= 1
        if not self.left:
            raise Killed
