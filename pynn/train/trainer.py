"""The training loop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import nn
from ..autograd import no_grad
from ..data import Loader
from ..tensor import Tensor
from .checks import check_finite, check_labels, is_class_index
from .history import History
from .interrupt import Interrupt
from .progress import Progress

TRAINING_BATCH = 64
EVALUATION_BATCH = 512  # rows; the outputs are the same bits at any size

Data = tuple[Any, Any] | Loader
Callback = Callable[["Trainer", dict[str, Any]], Any]


class Trainer:
    """Trains `model` with `optimizer` on `loss(output, target)`.

    Data are a pair (inputs, targets) of arrays or a `pynn.data.Loader`. Arrays of inputs and floating-point targets are
    converted to the model's dtype; uint8 inputs are pixels and divided by 255 (a Loader may be told otherwise). Tensors
    are taken as they are. `seed` fixes the order of the samples where arrays are given. `history` goes on over several
    calls of `fit`. TypeError for a loss that cannot be called.
    """

    def __init__(self, model: nn.Module, optimizer: Any, loss: Callable[[Any, Any], Tensor], seed: int = 0) -> None:
        if not callable(loss) or isinstance(loss, type):
            raise TypeError(f"Trainer: expected a function or a loss module as loss, got {loss!r}")
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.seed = seed
        self.history = History()

    def fit(
        self,
        data: Data,
        epochs: int = 1,
        batch_size: int | None = None,
        validation: Data | None = None,
        callbacks: Iterable[Callback] = (),
        verbose: int = 1,
    ) -> History:
        """Train for `epochs` more epochs and return the history.

        Arrays are shuffled in every epoch and cut into batches of `batch_size` (64). The loss of an epoch is the mean
        of its batches', weighted by their samples; `validation` is evaluated after each. A callback is called as
        callback(trainer, row) after each epoch; one that returns True ends the training. Progress goes to stderr;
        `verbose=0` is silent.

        Ctrl-C ends the training after the last complete step and returns the history so far, `history.interrupted` set.
        Raises FloatingPointError that names epoch and step where a loss is not finite: the weights are those before
        that step. Raises ValueError for lengths that differ, labels out of range, NaN or infinity among the inputs.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int | np.integer) or epochs < 0:
            raise ValueError(f"fit: expected a number of epochs >= 0, got {epochs!r}")
        loader = self._loader(data, batch_size, "fit")
        self._check(loader, "fit")
        held_out = None if validation is None else self._loader(validation, batch_size, "fit: validation")
        if held_out is not None:
            self._check(held_out, "fit: validation")
        callbacks = tuple(callbacks)
        first = len(self.history) + 1
        progress = Progress(first + epochs - 1, verbose)
        self.history.interrupted = False
        try:
            with _mode(self.model, training=True), Interrupt() as interrupt:
                for epoch in range(first, first + epochs):
                    start = time.perf_counter()
                    row = {"epoch": epoch, "loss": self._epoch(loader, epoch, progress, interrupt)}
                    if held_out is not None:
                        row |= {f"val_{name}": value for name, value in self.evaluate(held_out).items()}
                    row["seconds"] = time.perf_counter() - start
                    self.history.append(row)
                    progress.epoch(row)
                    if any([callback(self, row) is True for callback in callbacks]):
                        break
        except KeyboardInterrupt:
            self.history.interrupted = True
        finally:
            progress.close()
        return self.history

    def _epoch(self, loader: Loader, epoch: int, progress: Progress, interrupt: Interrupt) -> float:
        """One pass over the data; the mean loss."""
        model, optimizer, loss_of = self.model, self.optimizer, self.loss
        total, samples, steps = 0.0, 0, len(loader)
        for step, (x, y) in enumerate(loader, 1):
            loss = loss_of(model(x), y)
            value = loss.item()
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the loss is {value} in epoch {epoch}, step {step}; the weights are those before this step"
                )
            optimizer.zero_grad()
            loss.backward()
            interrupt.updating = True
            optimizer.step()
            interrupt.updated()
            count = x.shape[0]
            total += value * count
            samples += count
            if progress.live:
                progress.update(epoch, step, steps, total / samples)
        return total / samples if samples else math.nan

    def evaluate(self, data: Data, batch_size: int | None = None) -> dict[str, float]:
        """{"loss": …} over `data` in evaluation mode, and "accuracy" where the targets are class indices."""
        loader = self._in_order(data, batch_size, "evaluate")
        total, correct, classified = 0.0, 0, False
        with _mode(self.model, training=False), no_grad():
            for x, y in loader:
                output = self.model(x)
                total += self.loss(output, y).item() * x.shape[0]
                if is_class_index(output.shape, y):
                    classified = True
                    correct += _correct(output, y)
        result = {"loss": total / loader.samples}
        return {**result, "accuracy": correct / loader.samples} if classified else result

    def accuracy(self, data: Data, batch_size: int | None = None) -> float:
        """The share of samples whose highest output is that of their class; targets are class indices."""
        loader = self._in_order(data, batch_size, "accuracy")
        correct = 0
        with _mode(self.model, training=False), no_grad():
            for x, y in loader:
                output = self.model(x)
                if not is_class_index(output.shape, y):
                    raise ValueError(
                        "accuracy: expected outputs (N, classes) and class indices (N,), "
                        f"got shapes {output.shape} and {y.shape} of {y.dtype.name}"
                    )
                correct += _correct(output, y)
        return correct / loader.samples

    def predict(self, inputs: Any, batch_size: int | None = None) -> np.ndarray:
        """The model's outputs for an array or the inputs of a Loader, in order, in evaluation mode."""
        loader = inputs if isinstance(inputs, Loader) else Loader(self._converted(inputs))
        loader = loader.in_order(EVALUATION_BATCH if batch_size is None else batch_size, targets=False)
        with _mode(self.model, training=False), no_grad():
            outputs = [self.model(x).numpy() for x in loader] or [self.model(loader.take([])[0]).numpy()]
        return np.concatenate(outputs)

    def _loader(self, data: Data, batch_size: int | None, caller: str) -> Loader:
        if isinstance(data, Loader):
            if batch_size is not None and caller == "fit":
                raise ValueError("fit: a Loader has a batch size of its own; leave out batch_size")
            if data.targets is None:
                raise ValueError(f"{caller}: expected a Loader with targets")
            return data
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise TypeError(f"{caller}: expected (inputs, targets) or a Loader, got {type(data).__name__}")
        inputs, targets = self._converted(data[0]), self._converted_targets(data[1])
        loader = Loader(inputs, targets, TRAINING_BATCH if batch_size is None else batch_size, seed=self.seed)
        loader.epoch = len(self.history)
        return loader

    def _in_order(self, data: Data, batch_size: int | None, caller: str) -> Loader:
        loader = self._loader(data, batch_size, caller)
        loader = loader.in_order(EVALUATION_BATCH if batch_size is None else batch_size)
        if not loader.samples:
            raise ValueError(f"{caller}: expected at least one sample, got none")
        return loader

    def _converted(self, inputs: Any) -> Any:
        """Arrays of numbers in the model's dtype; uint8 as it is, for the loader."""
        if isinstance(inputs, Tensor):
            return inputs
        array = np.asarray(inputs)
        dtype = self._dtype()
        if array.dtype == np.uint8:
            return array if dtype == np.float32 else array.astype(dtype) / 255
        if array.dtype.kind not in "biuf":
            raise TypeError(f"expected inputs of numbers, got dtype {array.dtype.name}")
        return array.astype(dtype, copy=False)

    def _converted_targets(self, targets: Any) -> Any:
        """Arrays of floats in the model's dtype, labels as they are."""
        if isinstance(targets, Tensor):
            return targets
        array = np.asarray(targets)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"expected targets of numbers, got dtype {array.dtype.name}")
        return array.astype(self._dtype(), copy=False) if array.dtype.kind == "f" else array

    def _dtype(self) -> np.dtype:
        return next((p.dtype for p in self.model.parameters()), np.dtype(np.float32))

    def _check(self, loader: Loader, caller: str) -> None:
        if not len(loader):
            raise ValueError(f"{caller}: expected at least one batch, got {loader.samples} samples")
        check_finite(loader.inputs, f"{caller}: inputs")
        check_finite(loader.targets, f"{caller}: targets")
        with _mode(self.model, training=False), no_grad():
            output = self.model(loader.take([0])[0])
        check_labels(loader.targets, output.shape, getattr(self.loss, "ignore_index", -100), caller)


def _correct(output: Tensor, labels: Tensor) -> int:
    return int((output.argmax(1) == labels).sum().item())


@contextlib.contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Training or evaluation mode; every module has its own mode back afterwards."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
