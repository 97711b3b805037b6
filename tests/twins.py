"""Two equal trainings, an ordinary and a captured one."""

import numpy as np

import pynn
from opcase import same_bits
from pynn import nn, optim
from pynn.nn import functional as F

rng = np.random.default_rng(0)


def mlp(dropout=0.0):
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 3)).train()


def batch(n=8, shape=(6,)):
    return rng.standard_normal((n, *shape)).astype(np.float32), rng.integers(0, 3, n)


def host(tensor):
    return None if tensor is None else np.array(tensor.detach())


class Twins:
    """Two equal trainings: `ordinary` calls the function, `captured` what capture made of it."""

    def __init__(self, build=mlp, optimizer=optim.SGD, function=None, strict=True, **options):
        options = options or {"lr": 0.1}
        self.models = [build(), build()]
        self.models[1].load_state_dict(self.models[0].state_dict())
        self.optimizers = [optimizer(m.parameters(), **options) for m in self.models]
        ordinary, captured = [(function or self.usual)(m, o) for m, o in zip(self.models, self.optimizers, strict=True)]
        self.functions = [ordinary, pynn.capture(captured, strict=strict)]
        self.captured = self.functions[1]

    @staticmethod
    def usual(model, optimizer):
        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    def step(self, *arguments):
        """One call of each, with the same random numbers, and all results compared."""
        state = pynn.get_rng_state()
        results = []
        for function in self.functions:
            pynn.set_rng_state(state)
            results.append(host(function(*arguments)))
        assert same_bits(*results)
        self.compare()
        return results[1]

    def compare(self):
        for a, b in zip(self.models[0].parameters(), self.models[1].parameters(), strict=True):
            assert same_bits(host(a), host(b))
            assert (a.grad is None) == (b.grad is None)
            assert a.grad is None or same_bits(host(a.grad), host(b.grad))

    def both(self, change):
        for model, optimizer in zip(self.models, self.optimizers, strict=True):
            change(model, optimizer)


def recordings(captured):
    return [r for kind in captured._kinds.values() for r in kind.recordings]
