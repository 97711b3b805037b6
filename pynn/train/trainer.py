"""The training loop."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from typing import Any

import numpy as np

from .. import nn, random
from ..autograd import no_grad
from ..creation import full_like
from ..data import Loader
from ..nn.module import is_builtin, mode
from ..program import capture, changes
from ..tensor import Tensor
from .callbacks import Callback, as_callbacks, is_count, is_number
from .checkpoint import Run, restore, state_of
from .checks import check_finite, check_labels, is_class_index
from .evaluation import Evaluation, ignored_label, is_summed
from .history import History
from .interrupt import Interrupt
from .progress import Progress

TRAINING_BATCH = 64
EVALUATION_BATCH = 512  # rows; the outputs are the same bits at any size

Data = tuple[Any, Any] | Loader


class Trainer:
    """Trains `model` with `optimizer` on `loss(output, target)`.

    Data are a pair (inputs, targets) of arrays or tensors, or a `pynn.data.Loader`. uint8 inputs are pixels and divided
    by 255 (a Loader may be told otherwise). Other arrays of inputs and floating-point targets are converted to the
    model's dtype, arrays of integers or bools as targets to int64; other tensors are taken as they are. `seed` fixes
    the order of the samples where no Loader is given. `history` goes on over several calls of `fit`.

    `accumulate=k` updates the weights after every k batches, by the gradient of the loss over all their samples (their
    mean, or their sum for a loss with reduction "sum"), as one batch of them all would give it in k times the memory.
    The last group of an epoch may be smaller. `clip_grad_norm` bounds the norm of all gradients together before each
    update (`nn.utils.clip_grad_norm_`).

    Where all layers and the loss are pynn's own and `accumulate` is 1, `fit` replays the forward and backward pass (see
    `pynn.capture`): the same bits, without the Python between the kernels.

    TypeError for a loss that cannot be called, ValueError for options out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        loss: Callable[[Any, Any], Tensor],
        seed: int = 0,
        accumulate: int = 1,
        clip_grad_norm: float | None = None,
    ) -> None:
        if not callable(loss) or isinstance(loss, type):
            raise TypeError(f"Trainer: expected a function or a loss module as loss, got {loss!r}")
        if not is_count(accumulate, 1):
            raise ValueError(f"Trainer: expected a whole number >= 1 for accumulate, got {accumulate!r}")
        if clip_grad_norm is not None and not (is_number(clip_grad_norm) and 0 < clip_grad_norm < math.inf):
            raise ValueError(f"Trainer: expected a number > 0 or None for clip_grad_norm, got {clip_grad_norm!r}")
        self.accumulate = int(accumulate)
        self.clip_grad_norm = None if clip_grad_norm is None else float(clip_grad_norm)
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.seed = seed
        self.history = History()
        self.resumed = False
        self._run = Run(first=1)
        self._asked: list[str | os.PathLike[str]] | None = None  # checkpoints to write when all callbacks are done

    def fit(
        self,
        data: Data,
        epochs: int = 1,
        batch_size: int | None = None,
        validation: Data | None = None,
        callbacks: Iterable[Callback | Callable[[Trainer, dict[str, Any]], Any]] = (),
        verbose: int = 1,
        resume: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train for `epochs` more epochs and return the history.

        Arrays are shuffled in every epoch and cut into batches of `batch_size` (64). The loss of an epoch is the mean
        of its batches', weighted by their samples, or their sum for a loss with reduction "sum"; `validation` is
        evaluated after each. Callbacks are `pynn.train.Callback` objects, or functions called as
        callback(trainer, row) after each epoch; one that returns True (NumPy's or a tensor too, but nothing else that
        counts as true) ends the training. Progress goes to stderr; `verbose=0` is silent.

        `resume`: a checkpoint of an earlier call with the same data and callbacks. Training goes on after the step
        where it was written, in the middle of an epoch too, and ends as that call would have ended, bit for bit;
        `epochs` counts from the beginning of that call and may be higher than it was. Nothing is changed where the
        file does not fit (ValueError that says what differs) or cannot be read (OSError).

        Ctrl-C ends the training after the step in progress and returns the history so far, `history.interrupted` set;
        a second one does not wait and is raised. Raises FloatingPointError that names epoch and step where a loss is
        not finite: the weights are those before that step. Raises ValueError for lengths that differ, labels out of
        range, NaN or infinity among the inputs.
        """
        if not is_count(epochs, 0):
            raise ValueError(f"fit: expected a number of epochs >= 0, got {epochs!r}")
        loader = self._loader(data, batch_size, "fit")
        self._check(loader, "fit")
        held_out = None if validation is None else self._loader(validation, batch_size, "fit: validation")
        if held_out is not None:
            self._check(held_out, "fit: validation")
        before, self._run = self._run, Run(len(self.history) + 1, loader, as_callbacks(callbacks))
        self._run.summed = is_summed(self.loss)
        if resume is not None:
            try:
                restore(self, resume)
            except BaseException:
                self._run = before
                raise
        self.resumed = resume is not None
        self.history.interrupted = False
        last = self._run.first + epochs - 1
        with contextlib.ExitStack() as at_end:
            progress = Progress(last, verbose)
            at_end.callback(self._run.leave_data)
            at_end.callback(progress.close)
            at_end.enter_context(mode(self.model, training=True))
            interrupt = at_end.enter_context(Interrupt())
            for callback in self._run.callbacks:
                callback.on_fit_start(self)
                at_end.callback(callback.on_fit_end, self)
            at_end.callback(interrupt.hold)  # the callbacks' endings are not cut short
            try:
                self._epochs(loader, held_out, last, progress, interrupt)
            except KeyboardInterrupt:
                self.history.interrupted = True
                if self._run.torn:
                    raise
            interrupt.hold()
            if not self._run.uneven:
                self._notify("on_stop")
        self.history.interrupted |= interrupt.pending
        return self.history

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write the whole state of the training to one file, for `fit(..., resume=path)`.

        Model, optimizer, random numbers, position in the data and within the epoch, history, states of the callbacks.
        Asked for by a callback it is written as soon as all callbacks have been called. OSError where the file cannot
        be written, RuntimeError after an error in the middle of a step.
        """
        from ..io import save_checkpoint  # not needed for training

        if self._asked is not None:
            self._asked.append(path)
            return
        if self._run.torn:
            raise RuntimeError("save_checkpoint: the training was ended by an error in the middle of a step")
        save_checkpoint(path, state_of(self))

    def _epochs(
        self, loader: Loader, held_out: Loader | None, last: int, progress: Progress, interrupt: Interrupt
    ) -> None:
        run = self._run
        for epoch in range(len(self.history) + 1, last + 1):
            if run.stopped:
                break
            run.started = time.perf_counter()
            batches = iter(loader)
            self._steps(loader, batches, epoch, progress, interrupt)
            row = {"epoch": epoch, "loss": run.loss()}
            if held_out is not None:
                run.rng = random.get_rng_state()
                row |= {
                    f"val_{name}": value for name, value in self._evaluated(held_out.in_order(EVALUATION_BATCH)).items()
                }
            interrupt.hold()
            run.rng = None
            row["seconds"] = run.elapsed()
            self.history.append(row)
            next(batches, None)  # the loader now stands at the beginning of the next epoch
            run.total, run.samples, run.seconds, run.started = 0.0, 0, 0.0, None
            progress.epoch(row)
            self._notify("on_epoch_end", row)
            interrupt.release()

    def _steps(
        self, loader: Loader, batches: Iterator[Any], epoch: int, progress: Progress, interrupt: Interrupt
    ) -> None:
        """The rest of one pass over the data."""
        run, steps = self._run, len(loader)
        step = loader.state_dict()["batch"]
        watched = any(type(c).on_step_end is not Callback.on_step_end for c in run.callbacks)
        while step < steps:
            interrupt.hold()
            run.torn = True
            group = [next(batches) for _ in range(min(self.accumulate, steps - step))]
            result = self._step(group, epoch, step)
            step += len(group)
            run.torn = False
            if watched:
                self._notify("on_step_end", {"epoch": epoch, "step": step, "steps": steps, **result})
            interrupt.release()
            if progress.live:
                progress.update(epoch, step, steps, run.loss())

    def _step(self, group: list[tuple[Tensor, Tensor]], epoch: int, step: int) -> dict[str, Any]:
        """One update of the weights by the mean gradient over a group of batches."""
        run, total = self._run, 0.0
        samples = sum([x.shape[0] for x, _ in group])
        gradients = self._captured()
        self.optimizer.zero_grad()
        for x, y in group:
            step += 1
            loss = gradients(x, y) if gradients else self.loss(self.model(x), y)
            value = loss.item()
            if not math.isfinite(value):
                self.optimizer.zero_grad()
                raise FloatingPointError(
                    f"the loss is {value} in epoch {epoch}, step {step}; the weights are those before this step"
                )
            size = x.shape[0]
            if not gradients:
                loss.backward(None if run.summed or size == samples else full_like(loss, size / samples))
            share = value if run.summed else value * size
            total += share
            run.total += share
        result = {"loss": total if run.summed else total / samples, "samples": samples}
        if self.clip_grad_norm is not None:
            parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
            result["grad_norm"] = nn.utils.clip_grad_norm_(parameters, self.clip_grad_norm).item()
        self.optimizer.step()
        run.samples += samples
        return result

    def _captured(self) -> Any:
        """The forward and backward pass of a batch as a captured function, where no Python of others runs in it."""
        run, now = self._run, (self.model, self.loss, self.accumulate, changes.epoch)
        if not (run.captured and all(map(is_, run.captured, now))):
            if not (self.accumulate == 1 and is_builtin(self.model) and is_builtin(self.loss)):
                run.gradients = None
            elif run.gradients is None or run.captured[:2] != now[:2]:
                run.gradients = capture(self._gradients)
            run.captured = now
        return run.gradients

    def _gradients(self, x: Tensor, y: Tensor) -> Tensor:
        loss = self.loss(self.model(x), y)
        if loss.numel() == 1:  # else it is refused where its value is read
            loss.backward()
        return loss

    def _notify(self, hook: str, *args: Any) -> None:
        """Call all callbacks, then write the checkpoints that they asked for, so that each holds what all have done."""
        self._asked, self._run.uneven = [], True
        try:
            for callback in self._run.callbacks:
                result = getattr(callback, hook)(self, *args)
                if hook == "on_epoch_end" and _is_true(result):
                    self._run.stopped = True
        finally:
            asked, self._asked = self._asked, None
        self._run.uneven = False
        for path in dict.fromkeys(asked):
            self.save_checkpoint(path)

    def evaluate(self, data: Data, batch_size: int | None = None) -> dict[str, float]:
        """{"loss": …} over `data` in evaluation mode, and "accuracy" where the targets are class indices.

        The loss is that of all of `data` as one batch, whatever `batch_size`: a sum for a loss with reduction "sum",
        else a mean in which each sample counts as it does in the loss. (A loss shows `reduction`, `ignore_index` and
        `weight` as attributes or as defaults of its arguments.) Samples with its `ignore_index` count in neither
        number; where all have it both are NaN. ValueError as `fit` for NaN or infinity and for labels out of range.
        """
        loader = self._in_order(data, batch_size, "evaluate")
        self._check(loader, "evaluate")
        return self._evaluated(loader)

    def _evaluated(self, loader: Loader) -> dict[str, float]:
        evaluation = Evaluation(self.loss)
        with mode(self.model, training=False), no_grad():
            for x, y in loader:
                evaluation.add(self.model(x), y)
        return evaluation.result()

    def accuracy(self, data: Data, batch_size: int | None = None) -> float:
        """The share of samples whose highest output is that of their class, as `evaluate` counts them.

        Targets are class indices; ValueError otherwise.
        """
        loader = self._in_order(data, batch_size, "accuracy")
        self._check(loader, "accuracy")
        evaluation = Evaluation(self.loss)
        with mode(self.model, training=False), no_grad():
            for x, y in loader:
                output = self.model(x)
                if not is_class_index(output.shape, y):
                    raise ValueError(
                        "accuracy: expected outputs (N, classes) and class indices (N,), "
                        f"got shapes {output.shape} and {y.shape} of {y.dtype.name}"
                    )
                evaluation.add_answers(output, y)
        return evaluation.accuracy()

    def predict(self, inputs: Any, batch_size: int | None = None) -> np.ndarray:
        """The model's outputs for an array or the inputs of a Loader, in order, in evaluation mode."""
        loader = inputs if isinstance(inputs, Loader) else Loader(self._converted(inputs))
        loader = loader.in_order(EVALUATION_BATCH if batch_size is None else batch_size, targets=False)
        with mode(self.model, training=False), no_grad():
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
        if isinstance(inputs, Tensor) and inputs.dtype != np.uint8:
            return inputs
        array = np.asarray(inputs)
        dtype = self._dtype()
        if array.dtype == np.uint8:
            return array if dtype == np.float32 else array.astype(dtype) / 255
        if array.dtype.kind not in "biuf":
            raise TypeError(f"expected inputs of numbers, got dtype {array.dtype.name}")
        return array.astype(dtype, copy=False)

    def _converted_targets(self, targets: Any) -> Any:
        """Arrays of floats in the model's dtype, labels as int64."""
        if isinstance(targets, Tensor):
            return targets
        array = np.asarray(targets)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"expected targets of numbers, got dtype {array.dtype.name}")
        return array.astype(self._dtype() if array.dtype.kind == "f" else np.int64, copy=False)

    def _dtype(self) -> np.dtype:
        return next((p.dtype for p in self.model.parameters()), np.dtype(np.float32))

    def _check(self, loader: Loader, caller: str) -> None:
        assert loader.targets is not None  # _loader has looked
        if not len(loader):
            raise ValueError(f"{caller}: expected at least one batch, got {loader.samples} samples")
        check_finite(loader.inputs, f"{caller}: inputs")
        check_finite(loader.targets, f"{caller}: targets")
        with mode(self.model, training=False), no_grad():
            output = self.model(loader.take([0])[0])
        check_labels(loader.targets, output.shape, ignored_label(self.loss), caller)


def _is_true(result: Any) -> bool:
    """Whether a callback wants to end the training; what `file.write` returns, say, means nothing."""
    return result is True or (getattr(result, "dtype", None) == np.bool_ and bool(result))
