"""Schedules of the learning rate, with the names, arguments and values of torch.optim.lr_scheduler.

Each is a formula of its own counter `last_epoch`, which `step()` raises by 1: call it once an epoch or once an update,
after `optimizer.step()`. Unlike PyTorch's, which multiply what they find, two schedules of one optimizer do not
compose, and a rate set by hand lasts until the next step. In a Trainer, `pynn.train.Schedule` steps them.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .optimizer import Optimizer


class LRScheduler:
    """Base of the schedules: sets the learning rate of every group of `optimizer`, at once and in each step.

    Subclasses define `_rate(base, group)`, the rate after `last_epoch` steps of a group that began with rate `base`,
    and check their options in `_check()`. A `last_epoch` other than -1 goes on from there, with the rates that an
    earlier schedule left in the groups as "initial_lr".
    """

    needs_metric = False  # whether step() takes one

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._take(optimizer)
        if last_epoch == -1:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
        elif not all("initial_lr" in group for group in optimizer.param_groups):
            raise ValueError(f"{self._name}: last_epoch={last_epoch} needs 'initial_lr' in the optimizer's groups")
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = int(last_epoch)
        self._check()
        self.step()

    def _take(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{self._name}: expected a pynn optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _rate(self, base: float, group: int) -> float:
        raise NotImplementedError(f"{self._name} defines no _rate()")

    def _check(self) -> None:
        """ValueError for options out of range."""

    def _expect(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"{self._name}: expected {expected} for {name}, got {getattr(self, name)}")

    def step(self) -> None:
        """Go on to the next learning rates."""
        self.last_epoch += 1
        for i, (base, group) in enumerate(zip(self.base_lrs, self.optimizer.param_groups, strict=True)):
            group["lr"] = self._rate(base, i)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Options and counters, without the optimizer and without functions."""
        return {name: copy.copy(value) for name, value in vars(self).items() if _is_state(value)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over options and counters; the optimizer's own state holds the rates. ValueError changes nothing."""
        own = self.state_dict()
        if own.keys() != state_dict.keys():
            raise ValueError(f"{self._name}.load_state_dict: expected {', '.join(own)}, got {', '.join(state_dict)}")
        for name, value in own.items():
            if not _alike(name, value, state_dict[name]):
                raise ValueError(
                    f"{self._name}.load_state_dict: '{name}': expected the likes of {value}, got {state_dict[name]}"
                )
        loaded = copy.copy(self)
        vars(loaded).update({name: copy.copy(value) for name, value in state_dict.items()})
        loaded._check()
        vars(self).update(vars(loaded))


def _is_state(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_state(v) for v in value)
    return isinstance(value, bool | int | float | str)


_COUNTERS = ("last_epoch", "num_bad_epochs", "cooldown_counter")


def _alike(name: str, own: Any, other: Any) -> bool:
    """Whether `other` may take the place of `own` in a state."""
    if isinstance(own, list):
        fits = isinstance(other, list) and (name == "milestones" or len(own) == len(other))
        return fits and all(_alike(name, 0.0, v) for v in other)
    if isinstance(own, bool | str):
        return type(other) is type(own)
    if name in _COUNTERS:
        return type(other) is int and other >= 0
    return isinstance(other, int | float) and not isinstance(other, bool)


class LambdaLR(LRScheduler):
    """lr = initial lr · lr_lambda(t); a function, or a list of one for each group. Functions are not in the state."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        self._take(optimizer)
        groups = len(optimizer.param_groups)
        functions: list[Callable[[int], float]] = (
            list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda] * groups
        )
        if len(functions) != groups:
            raise ValueError(f"LambdaLR: expected a function for each of {groups} groups, got {len(functions)}")
        self.lr_lambdas = functions
        super().__init__(optimizer, last_epoch)

    def _rate(self, base: float, group: int) -> float:
        return base * self.lr_lambdas[group](self.last_epoch)


class StepLR(LRScheduler):
    """lr = initial lr · gamma^⌊t / step_size⌋."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _check(self) -> None:
        self._expect("step_size", self.step_size >= 1, "a number >= 1")

    def _rate(self, base: float, group: int) -> float:
        return base * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """lr = initial lr · gamma^n, where n of the `milestones` have been reached."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, base: float, group: int) -> float:
        return base * self.gamma ** bisect_right(self.milestones, self.last_epoch)


class ExponentialLR(LRScheduler):
    """lr = initial lr · gamma^t."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, base: float, group: int) -> float:
        return base * self.gamma**self.last_epoch


class LinearLR(LRScheduler):
    """lr = initial lr · a factor that goes in a line from `start_factor` to `end_factor` in `total_iters` steps."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _check(self) -> None:
        self._expect("start_factor", 0 < self.start_factor <= 1, "a number in (0, 1]")
        self._expect("end_factor", 0 <= self.end_factor <= 1, "a number in [0, 1]")
        self._expect("total_iters", self.total_iters >= 1, "a number >= 1")

    def _rate(self, base: float, group: int) -> float:
        done = min(self.last_epoch / self.total_iters, 1.0)
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (initial lr - eta_min)·(1 + cos(π·t / T_max)) / 2 (Loshchilov and Hutter 2017)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _check(self) -> None:
        self._expect("T_max", self.T_max > 0, "a number > 0")

    def _rate(self, base: float, group: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2


class OneCycleLR(LRScheduler):
    """Up to `max_lr` and down again in `total_steps` steps, the momentum the other way round (Smith and Topin 2018).

    The rate begins with max_lr / div_factor, reaches `max_lr` after the share `pct_start` of the steps and ends with
    max_lr / div_factor / final_div_factor; `three_phase` comes back to the first rate in as many steps as it rose and
    ends from there. `anneal_strategy`: 'cos' or 'linear'. With `cycle_momentum` the momentum, or the first beta, goes
    from `max_momentum` to `base_momentum` and back. `max_lr` and both momenta: a number, or a list of one for each
    group. `total_steps` may be given as `epochs` times `steps_per_epoch`. To be stepped after each update; ValueError
    for options out of range and for a step after the last.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._take(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: expected total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        self.total_steps, self.pct_start, self.anneal_strategy = total_steps, pct_start, anneal_strategy
        self.cycle_momentum, self.three_phase, self.final_div_factor = cycle_momentum, three_phase, final_div_factor
        self.max_lrs = self._per_group("max_lr", max_lr)
        self.base_momenta = self._per_group("base_momentum", base_momentum)
        self.max_momenta = self._per_group("max_momentum", max_momentum)
        if not div_factor > 0:
            raise ValueError(f"OneCycleLR: expected a number > 0 for div_factor, got {div_factor}")
        if cycle_momentum and not ("momentum" in optimizer.defaults or "betas" in optimizer.defaults):
            raise ValueError("OneCycleLR: cycle_momentum needs an optimizer with momentum or betas")
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, self.max_lrs, strict=True):
                group["initial_lr"] = rate / div_factor
        super().__init__(optimizer, last_epoch)

    def _per_group(self, name: str, value: Any) -> list[float]:
        groups = len(self.optimizer.param_groups)
        values = list(value) if isinstance(value, list | tuple) else [value] * groups
        if len(values) != groups:
            raise ValueError(f"OneCycleLR: expected {name} for each of {groups} groups, got {len(values)}")
        return values

    def _check(self) -> None:
        self._expect("total_steps", self.total_steps >= 1, "a number >= 1")
        self._expect("pct_start", 0 <= self.pct_start <= 1, "a number in [0, 1]")
        self._expect("anneal_strategy", self.anneal_strategy in ("cos", "linear"), "'cos' or 'linear'")
        self._expect("final_div_factor", self.final_div_factor > 0, "a number > 0")

    def step(self) -> None:
        super().step()
        if self.cycle_momentum:
            for i, group in enumerate(self.optimizer.param_groups):
                low, high = self.base_momenta[i], self.max_momenta[i]
                momentum = self._annealed(high, low, high, high)
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum

    def _rate(self, base: float, group: int) -> float:
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: step {self.last_epoch} of a schedule of {self.total_steps} steps")
        return self._annealed(base, self.max_lrs[group], base, base / self.final_div_factor)

    def _annealed(self, first: float, top: float, again: float, last: float) -> float:
        """The value between its ends in the phase of the present step."""
        up, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        phases = [(0.0, up, first, top), (up, end, top, last)]
        if self.three_phase:
            phases = [(0.0, up, first, top), (up, 2 * up, top, again), (2 * up, end, again, last)]
        begin, finish, a, b = next((p for p in phases if self.last_epoch <= p[1]), phases[-1])
        share = (self.last_epoch - begin) / (finish - begin) if finish != begin else 1.0
        if self.anneal_strategy == "linear":
            return a + (b - a) * share
        return b + (a - b) * (1 + math.cos(math.pi * share)) / 2


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the learning rates by `factor` when a metric has not improved for more than `patience` steps.

    `step(metrics)` takes the metric, better when lower ('min') or higher ('max') by more than `threshold`, which is a
    share of the best value ('rel') or a difference ('abs'). After a reduction `cooldown` steps do not count. No rate
    falls below `min_lr` (a number, or a list of one for each group) and none changes by `eps` or less.
    """

    needs_metric = True

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        self._take(optimizer)
        groups = len(optimizer.param_groups)
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.min_lrs = list(min_lr) if isinstance(min_lr, list | tuple) else [min_lr] * groups
        if len(self.min_lrs) != groups:
            raise ValueError(f"ReduceLROnPlateau: expected min_lr for each of {groups} groups, got {min_lr}")
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]
        self._check()

    def _check(self) -> None:
        self._expect("mode", self.mode in ("min", "max"), "'min' or 'max'")
        self._expect("threshold_mode", self.threshold_mode in ("rel", "abs"), "'rel' or 'abs'")
        self._expect("factor", self.factor < 1, "a number < 1")

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Take the metric of another epoch into account."""
        value = float(metrics)
        self.last_epoch += 1
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                rate = max(group["lr"] * self.factor, least)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if math.isinf(self.best):  # of no metric so far
            return sign * value > sign * self.best
        margin = self.best * self.threshold if self.threshold_mode == "rel" else self.threshold
        return sign * value > sign * (self.best + sign * margin)
