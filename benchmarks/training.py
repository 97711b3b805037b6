"""Whole training steps and epochs of multi-layer perceptrons, every library in its usual eager form."""

from __future__ import annotations

import itertools
import warnings

import numpy as np

from .row import Call, Row, normal


def training_flops(examples: int, widths: tuple[int, ...]) -> float:
    """Of the matrix products: forward, weight gradient, and input gradient but for the first layer."""
    products = [a * b for a, b in itertools.pairwise(widths)]
    return 2.0 * examples * (3 * sum(products) - products[0])


class Step(Row):
    """zero_grad, forward, loss, backward, SGD with momentum 0.9."""

    family = "training"
    tolerance = 1e-4
    training = True

    def __init__(self, widths: tuple[int, ...], batch: int, activation: str) -> None:
        self.widths, self.batch, self.activation = widths, batch, activation
        self.name = f"step of MLP {'-'.join(map(str, widths))}, {activation}, batch {batch}"
        self.flops = training_flops(batch, widths)
        self.readme = True

    def inputs(self):
        weights = [normal(b, a) / np.sqrt(a) for a, b in itertools.pairwise(self.widths)]
        target = np.random.default_rng(1).integers(0, self.widths[-1], self.batch)
        return normal(self.batch, self.widths[0]), target, weights

    def pynn(self, x, target, weights) -> Call:
        import pynn

        return self._step(pynn, pynn.tensor(x), pynn.tensor(target), weights, {})

    def torch(self, x, target, weights) -> Call:
        import torch

        return self._step(torch, torch.from_numpy(x), torch.from_numpy(target), weights, {"fused": True})

    def _step(self, library, x, target, weights, options) -> Call:
        nn = library.nn
        layers = []
        for weight in weights:
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            zeros = np.zeros(weight.shape[0], np.float32)
            linear.load_state_dict({"weight": library.as_tensor(weight), "bias": library.as_tensor(zeros)})
            layers += [linear, getattr(nn, self.activation)()]
        model = nn.Sequential(*layers[:-1])
        optimizer = library.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, **options)
        cross_entropy = nn.functional.cross_entropy

        def step():
            optimizer.zero_grad()
            loss = cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            return loss

        return step


def scaled(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 255


class Epoch(Row):
    """An epoch over 60,000 images, from the initial weights and the shuffle to the last step.

    pynn takes the bytes and scales them batch by batch; the peers get them scaled, outside the time.
    """

    family = "training"
    name = "epoch of MLP 784-100-10 on MNIST, batch 200, Adam"
    flops = training_flops(60000, (784, 100, 10))
    training = True
    readme = True
    batch = 200

    def agree(self, ours, theirs) -> str:
        # the mean loss of the epoch; initial weights and shuffles differ
        error = abs(ours[0] / theirs[0] - 1)
        return "" if error <= 0.2 else f"the mean losses {ours[0]:.3f} and {theirs[0]:.3f} differ by {error:.0%}"

    def inputs(self):
        from pynn import datasets

        mnist = datasets.mnist()
        return mnist.train_images.reshape(-1, 784), mnist.train_labels

    def pynn(self, images, labels) -> Call:
        import pynn

        pynn.manual_seed(0)
        nn = pynn.nn

        def epoch():
            model = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
            optimizer = pynn.optim.Adam(model.parameters(), lr=1e-3)
            trainer = pynn.train.Trainer(model, optimizer, nn.CrossEntropyLoss())
            history = trainer.fit((images, labels), epochs=1, batch_size=self.batch, verbose=0)
            return history[-1]["loss"]

        return epoch

    def torch(self, images, labels) -> Call:
        import torch

        torch.manual_seed(0)
        nn = torch.nn
        images, labels = torch.from_numpy(scaled(images)), torch.from_numpy(labels)

        def epoch():
            model = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
            total = torch.zeros(())
            for chosen in torch.randperm(len(images)).split(self.batch):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
                loss.backward()
                optimizer.step()
                total += loss.detach()
            return total / (len(images) // self.batch)

        return epoch

    def sklearn(self, images, labels) -> Call:
        from sklearn.neural_network import MLPClassifier

        warnings.filterwarnings("ignore", message="Stochastic Optimizer: Maximum iterations")
        images = scaled(images)

        def epoch():
            model = MLPClassifier((100,), batch_size=self.batch, max_iter=1, alpha=0.0, random_state=0)
            return model.fit(images, labels).loss_curve_[-1]

        return epoch


ROWS = [
    Step((784, 30, 10), 128, "Sigmoid"),
    Step((8, 64, 64, 10), 32, "ReLU"),
    Step((784, 512, 512, 10), 256, "ReLU"),
    Epoch(),
]
