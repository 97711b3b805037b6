"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import _core
from ..tensor import Tensor, float64
from .optimizer import Optimizer


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015): means m of g and v of g², with bias corrections; w ← w - lr·m̂ / (√v̂ + eps).

    `weight_decay` adds weight_decay·w to g; `maximize` turns the sign of g. Formulas and defaults are PyTorch's;
    ValueError for negative options or betas outside [0, 1).
    """

    _decoupled = False
    _state_names = ("exp_avg", "exp_avg_sq", "step")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        betas = group["betas"]
        if not isinstance(betas, list | tuple) or len(betas) != 2 or not all(0 <= b < 1 for b in betas):
            raise ValueError(f"{type(self).__name__}: expected two betas in [0, 1), got {betas}")

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        for step, chosen in self._by_step(group, parameters):
            states = [self.state[p] for p in chosen]
            _core.adam(
                [p._array for p in chosen],
                [p.grad._array for p in chosen],
                [s["exp_avg"] for s in states],
                [s["exp_avg_sq"] for s in states],
                self._rate(group),
                step,
                beta1,
                beta2,
                group["eps"],
                group["weight_decay"],
                self._decoupled,
                group["maximize"],
            )

    def _by_step(self, group: dict[str, Any], parameters: list[Tensor]) -> list[tuple[Any, list[Tensor]]]:
        """The parameters by their step counter: one array for all that have always been updated together."""
        fresh = [p for p in parameters if "step" not in self.state[p]]
        if fresh:
            step = _core.full((3,), 0, float64)
            for p in fresh:
                zeros = (_core.full_like(p._array, 0) for _ in range(2))
                self.state[p] = dict(zip(("exp_avg", "exp_avg_sq", "step"), (*zeros, step), strict=True))
        counters: dict[int, tuple[Any, list[Tensor]]] = {}
        for p in parameters:
            step = self.state[p]["step"]
            counters.setdefault(id(step), (step, []))[1].append(p)
        if len(parameters) == len(group["params"]):
            return list(counters.values())
        # Some parameters have no gradient this time: those that share a counter with them go on with one of their own.
        waiting = {id(self.state.get(p, {}).get("step")) for p in group["params"] if p.grad is None}
        result = []
        for step, chosen in counters.values():
            own = _core.copy(step) if id(step) in waiting else step
            for p in chosen:
                self.state[p]["step"] = own
            result.append((own, chosen))
        return result

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        for values in state["state"].values():
            values["step"] = values["step"][0]
        return state

    def _loaded(self, parameter: Tensor, key: str, value: Any) -> Any:
        if key != "step":
            return super()._loaded(parameter, key, value)
        # Counters that are equal at loading stay apart: they may come from parameters that paused.
        array = _core.full((3,), 0, float64)
        _core.copy_(_core.index(array, slice(0, 1)), np.asarray(value, float64).reshape(-1)[:1])
        return array


class AdamW(Adam):
    """Adam with decoupled weight decay: w ← (1 - lr·weight_decay)·w before the step (Loshchilov and Hutter 2019)."""

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, maximize)
