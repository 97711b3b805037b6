"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import _core
from ..tensor import Tensor
from .optimizer import Optimizer


class SGD(Optimizer):
    """w ← w - lr·g, with momentum m ← μ·m + (1 - dampening)·g in place of g (the first m is g).

    `nesterov` uses g + μ·m instead (Sutskever et al. 2013; needs momentum and no dampening). `weight_decay` adds
    weight_decay·w to g, `maximize` turns the sign of g. Formulas and defaults are PyTorch's; ValueError for negative
    options.
    """

    _state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs momentum > 0 and dampening = 0")

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        if group["momentum"] == 0:
            return self._launch(group, parameters, [], first=False)
        old = [p for p in parameters if "momentum_buffer" in self.state[p]]
        new = [p for p in parameters if "momentum_buffer" not in self.state[p]]
        for p in new:
            self.state[p]["momentum_buffer"] = _core.full_like(p._array, 0)
        for chosen, first in ((old, False), (new, True)):
            if chosen:
                self._launch(group, chosen, [self.state[p]["momentum_buffer"] for p in chosen], first)

    def _launch(self, group: dict[str, Any], parameters: list[Tensor], momenta: list[Any], first: bool) -> None:
        _core.sgd(
            [p._array for p in parameters],
            [p.grad._array for p in parameters],
            momenta,
            self._rate(group),
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            group["maximize"],
            first,
        )
