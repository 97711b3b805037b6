"""The base of all optimisers: parameter groups, state, checks."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .. import _core
from ..autograd import check_gradients, enable_grad
from ..program import Notes, note, noting
from ..tensor import Tensor, float64


def _noted(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that a recording hears of."""

    @functools.wraps(step)
    def noted(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if noting:
            note(Notes.optimizer, self)
        return step(self, *args, **kwargs)

    return noted


class Optimizer:
    """Changes parameters by their gradients; subclasses define `_update(group, parameters)`.

    `params`: tensors that require grad, or dictionaries with "params" and options that differ from `defaults`. The
    options are in `param_groups` and may be changed between steps. The interface is that of torch.optim.
    """

    _state_names: tuple[str, ...] | None = None  # what a parameter's state consists of; None: not checked

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in vars(cls):
            cls.step = _noted(cls.step)  # type: ignore[method-assign]

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"{type(self).__name__}: expected an iterable of tensors or dicts, got one tensor")
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: expected parameters, got an empty list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own options."""
        name = type(self).__name__
        params = param_group["params"]
        group = {**self.defaults, **param_group, "params": [params] if isinstance(params, Tensor) else list(params)}
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in group["params"]:
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: expected tensors, got {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(f"{name}: expected leaf tensors, got the result of an op (shape {p.shape})")
            if id(p) in known:
                raise ValueError(f"{name}: a parameter of shape {p.shape} is given twice")
            known.add(id(p))
        self._check(group)
        self.param_groups.append(group)

    def _check(self, group: dict[str, Any]) -> None:
        name = type(self).__name__
        for option in ("lr", "weight_decay", "eps", "momentum", "dampening"):
            if option in group and not isinstance(group[option], int | float | np.number):
                raise TypeError(f"{name}: expected a number for {option}, got {group[option]!r}")
            if option in group and not group[option] >= 0 and option != "dampening":
                raise ValueError(f"{name}: expected {option} >= 0, got {group[option]}")
        for option in ("maximize", "nesterov"):
            if option in group and not isinstance(group[option], bool | np.bool_):
                raise TypeError(f"{name}: expected a bool for {option}, got {group[option]!r}")

    @_noted
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. `closure` computes the loss again and returns it."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                try:
                    self._update(group, parameters)
                except AttributeError:  # asked afterwards: a step has no time for it
                    check_gradients(type(self).__name__, parameters)
                    raise
        return loss

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        raise NotImplementedError(f"{type(self).__name__} defines no _update()")

    def _rate(self, group: dict[str, Any]) -> Any:
        """The learning rate as an array, so that a recorded step follows a schedule."""
        if noting:
            note(Notes.rate, group)
        array = group.get("_rate")
        if array is None:
            array = group["_rate"] = _core.full((1,), 0, float64)
        _core.write_number(array, group["lr"])
        return array

    def _write_rates(self) -> None:
        """Bring the arrays of the learning rates up to date, for a recorded step."""
        for group in self.param_groups:
            if "_rate" in group:
                self._rate(group)

    def _recorded_state(self) -> list[tuple[Any, Any]]:
        """All that a recorded step takes over: lists and dictionaries with copies of them."""
        groups = [part for group in self.param_groups for part in (group, group["params"])]
        return [(c, c.copy()) for c in (vars(self), self.param_groups, *groups, self.state, *self.state.values())]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or set them to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    p.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Options and state (NumPy arrays, copied) with parameters numbered in order."""
        numbers = {id(p): i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}
        state = {numbers[id(p)]: {k: _saved(v) for k, v in s.items()} for p, s in self.state.items()}
        groups = [
            {k: [numbers[id(p)] for p in v] if k == "params" else v for k, v in g.items() if not k.startswith("_")}
            for g in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over options and state; nothing is changed where they do not fit (ValueError, TypeError)."""
        name = type(self).__name__
        given = state_dict["param_groups"]
        sizes, expected = [len(g["params"]) for g in given], [len(g["params"]) for g in self.param_groups]
        if sizes != expected:
            raise ValueError(f"{name}.load_state_dict: expected groups of {expected} parameters, got {sizes}")
        ordered = [p for g in self.param_groups for p in g["params"]]
        numbers = [n for g in given for n in g["params"]]
        state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, p in zip(numbers, ordered, strict=True):
            values = state_dict["state"].get(number, {})
            if values and self._state_names is not None and set(values) != set(self._state_names):
                raise ValueError(
                    f"{name}.load_state_dict: expected the state {', '.join(self._state_names)} of a parameter, "
                    f"got {', '.join(map(str, values))}"
                )
            for key, value in values.items():
                state[p][key] = self._loaded(p, key, value)
        options = [{k: v for k, v in g.items() if k != "params" and not k.startswith("_")} for g in given]
        for group, new in zip(self.param_groups, options, strict=True):
            self._check({**group, **new})
        for group, new in zip(self.param_groups, options, strict=True):
            group.update(new)
            group.pop("_rate", None)
        self.state = state

    def _loaded(self, parameter: Tensor, key: str, value: Any) -> Any:
        """A state in the memory order of its parameter."""
        if np.shape(value) != parameter.shape:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: '{key}': expected shape {parameter.shape}, "
                f"got {np.shape(value)}"
            )
        array = _core.full_like(parameter._array, 0)
        _core.copy_(array, np.asarray(value))
        return array

    def __getstate__(self) -> dict[str, Any]:
        groups = [{k: v for k, v in g.items() if not k.startswith("_")} for g in self.param_groups]
        state = [(p, {k: _saved(v) for k, v in s.items()}) for p, s in self.state.items()]
        return {**vars(self), "param_groups": groups, "state": state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.state = defaultdict(dict)
        for p, values in state["state"]:
            self.state[p] = {k: self._loaded(p, k, v) for k, v in values.items()}

    def __repr__(self) -> str:
        shown = {k: v for k, v in self.param_groups[0].items() if k != "params" and not k.startswith("_")}
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in shown.items())})"


def _saved(value: Any) -> Any:
    return np.array(np.asarray(value), order="C")
