"""Whole training steps and epochs of perceptrons and LeNets: every library in its usual eager form, and pynn's captured
steps beside the eager ones of the peers."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from .networks import Network, lenet5, lenet_tf, mlp
from .row import Call, Row, normal
from .timing import faster


class Step(Row):
    """zero_grad, forward, loss, backward, SGD with momentum 0.9.

    Compared are the loss and all gradients of the initial weights, in evaluation mode; timed is training, dropout
    included.
    """

    family = "training"
    tolerance = 1e-4
    training = True

    def __init__(self, network: Network, batch: int, readme: bool = True) -> None:
        self.network, self.batch, self.readme = network, batch, readme
        self.name = f"step of {network.name}, batch {batch}"
        self.flops = network.training_flops(batch)

    def inputs(self):
        classes = self.network.layers[-1][2]
        target = np.random.default_rng(1).integers(0, classes, self.batch)
        return normal(self.batch, *self.network.shape), target, self.network.weights()

    def pynn(self, x, target, weights) -> Call:
        import pynn

        return TrainingStep(pynn, self.network.pynn(), pynn.tensor(x), pynn.tensor(target), weights, {})

    def torch(self, x, target, weights) -> Call:
        """In the memory format that is faster."""
        import torch

        state = {name: torch.from_numpy(w) for name, w in weights.items()}

        def in_format(memory_format) -> Call:
            model, images = self.network.torch(), torch.tensor(x)
            if x.ndim == 4:
                model, images = model.to(memory_format=memory_format), images.contiguous(memory_format=memory_format)
            return TrainingStep(torch, model, images, torch.tensor(target), state, {"fused": True})

        return faster([in_format(torch.contiguous_format), in_format(torch.channels_last)])


class TrainingStep:
    """Of a library with PyTorch's names."""

    calls_to_check = 1

    def __init__(self, library, model, x, target, weights, options) -> None:
        self.model, self.x, self.target, self.weights = model, x, target, weights
        self.optimizer = library.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, **options)
        self.loss = library.nn.functional.cross_entropy
        model.load_state_dict(weights)

    def gradients(self, x, target) -> Any:
        self.optimizer.zero_grad()
        loss = self.loss(self.model(x), target)
        loss.backward()
        return loss

    def update(self, x, target) -> Any:
        loss = self.gradients(x, target)
        self.optimizer.step()
        return loss

    def __call__(self) -> None:
        self.update(self.x, self.target)

    def check(self) -> list[Any]:
        self.model.load_state_dict(self.weights)
        self.model.eval()
        for _ in range(self.calls_to_check):
            loss = self.gradients(self.x, self.target)
        self.model.train()
        return [loss, *(parameter.grad for parameter in self.model.parameters())]


class CapturedStep(Step):
    """The same, where pynn's side is a captured function."""

    def __init__(self, network: Network, batch: int, readme: bool = True) -> None:
        super().__init__(network, batch, readme)
        self.name = f"captured {self.name}"

    def pynn(self, x, target, weights) -> Call:
        import pynn

        return CapturedTrainingStep(pynn, self.network.pynn(), pynn.tensor(x), pynn.tensor(target), weights, {})


class CapturedTrainingStep(TrainingStep):
    calls_to_check = 3  # the last one is a replay

    def __init__(self, library, *arguments) -> None:
        super().__init__(library, *arguments)
        self.gradients = library.capture(self.gradients, strict=True)
        self.update = library.capture(self.update, strict=True)


def scaled(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 255


class Epoch(Row):
    """An epoch over MNIST's 60,000 images, from the initial weights and the shuffle to the last step.

    pynn takes the bytes and scales them batch by batch; the peers get them scaled, outside the time.
    """

    family = "training"
    training = True
    batch = 200

    def __init__(self, network: Network, readme: bool = False) -> None:
        self.network, self.readme = network, readme
        self.name = f"epoch of {network.name} on MNIST, batch {self.batch}, Adam"
        self.flops = network.training_flops(60000)

    def agree(self, ours, theirs) -> str:
        # the mean loss of the epoch; initial weights and shuffles differ
        error = abs(ours[0] / theirs[0] - 1)
        return "" if error <= 0.2 else f"the mean losses {ours[0]:.3f} and {theirs[0]:.3f} differ by {error:.0%}"

    def inputs(self):
        from pynn import datasets

        mnist = datasets.mnist()
        return mnist.train_images.reshape(-1, *self.network.shape), mnist.train_labels

    def pynn(self, images, labels) -> Call:
        import pynn

        pynn.manual_seed(0)

        def epoch():
            model = self.network.pynn()
            optimizer = pynn.optim.Adam(model.parameters(), lr=1e-3)
            trainer = pynn.train.Trainer(model, optimizer, pynn.nn.CrossEntropyLoss())
            history = trainer.fit((images, labels), epochs=1, batch_size=self.batch, verbose=0)
            return history[-1]["loss"]

        return epoch

    def torch(self, images, labels) -> Call:
        """In the memory format that is faster for some of the batches."""
        import torch

        torch.manual_seed(0)
        images, labels = torch.tensor(scaled(images)), torch.tensor(labels)

        def epoch(memory_format, samples):
            model = self.network.torch()
            if images.ndim == 4:
                model = model.to(memory_format=memory_format)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
            total = torch.zeros(())
            for chosen in torch.randperm(samples).split(self.batch):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
                loss.backward()
                optimizer.step()
                total += loss.detach()
            return total / (samples // self.batch)

        formats = torch.contiguous_format, torch.channels_last
        best = faster([partial(epoch, memory_format, 5 * self.batch) for memory_format in formats])
        return partial(epoch, best.args[0], len(images))


class PerceptronEpoch(Epoch):
    def sklearn(self, images, labels) -> Call:
        from sklearn.neural_network import MLPClassifier

        warnings.filterwarnings("ignore", message="Stochastic Optimizer: Maximum iterations")
        images = scaled(images)

        def epoch():
            model = MLPClassifier((100,), batch_size=self.batch, max_iter=1, alpha=0.0, random_state=0)
            return model.fit(images, labels).loss_curve_[-1]

        return epoch


ROWS = [
    Step(mlp(784, 30, 10, activation="Sigmoid"), 128),
    Step(mlp(8, 64, 64, 10, activation="ReLU"), 32),
    CapturedStep(mlp(784, 30, 10, activation="Sigmoid"), 128),
    CapturedStep(mlp(8, 64, 64, 10, activation="ReLU"), 32),
    Step(mlp(784, 512, 512, 10, activation="ReLU"), 256),
    Step(lenet5("Tanh", "average"), 64),
    Step(lenet5("ReLU", "max"), 64, readme=False),
    CapturedStep(lenet5("Tanh", "average"), 64),
    CapturedStep(lenet5("ReLU", "max"), 64, readme=False),
    Step(lenet_tf(), 64),
    PerceptronEpoch(mlp(784, 100, 10, activation="ReLU"), readme=True),
    Epoch(lenet5("Tanh", "average")),
]
