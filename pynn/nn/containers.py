"""Modules that hold modules."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from ..program import changes
from ..tensor import Tensor
from .activation import Activation, ReLU, Sigmoid, Tanh
from .conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from .linear import Linear
from .module import Module, is_builtin
from .pooling import MaxPool1d, MaxPool2d
from .replay import Replay

# Layers whose kernel applies an activation itself, and those activations. What is derived from them may compute
# something else, so that types are compared.
_FUSING = (Linear, Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d)
_FUSED = (ReLU, Sigmoid, Tanh)


def _checked(module: Any, owner: str) -> Module:
    if not isinstance(module, Module):
        raise TypeError(f"{owner}: expected a Module, got {type(module).__name__}")
    return module


class _Ordered(Module):
    """Submodules under the names "0", "1", … (or given ones), in order; a list of them."""

    def _layers(self) -> list[Module]:
        return [value for value in vars(self).values() if isinstance(value, Module)]

    def append(self, module: Module) -> Any:
        """Add a module at the end, under the first free number from the length on; returns this container."""
        name = next(str(i) for i in itertools.count(len(self)) if not hasattr(self, str(i)))
        setattr(self, name, _checked(module, type(self).__name__))
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add several modules at the end; returns this container."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Add a module before another one, with the numbers in names counted again; returns this container."""
        named = list(self.named_children())
        named.insert(operator.index(index), ("0", _checked(module, type(self).__name__)))
        return self._rename(named)

    def __setitem__(self, index: int, module: Module) -> None:
        name, _ = list(self.named_children())[operator.index(index)]
        setattr(self, name, _checked(module, type(self).__name__))

    def __delitem__(self, index: int | slice) -> None:
        named = list(self.named_children())
        del named[index]
        self._rename(named)

    def _rename(self, named: list[tuple[str, Module]]) -> Any:
        """Hold these instead, names that are numbers replaced by their place."""
        for name, _ in list(self.named_children()):
            delattr(self, name)
        for i, (name, module) in enumerate(named):
            setattr(self, str(i) if name.isdigit() else name, module)
        return self

    def __len__(self) -> int:
        return len(self._layers())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers())


def _commute(layer: Module, following: Module) -> bool:
    """Whether the two may be called in the other order: ReLU keeps the order of numbers, so the largest stays it."""
    if type(layer) is not ReLU or not isinstance(following, MaxPool1d | MaxPool2d):
        return False
    plain = type(following) in (MaxPool1d, MaxPool2d) and not following.return_indices
    return plain and not ("forward" in layer.__dict__ or "forward" in following.__dict__)


class _Plan:
    """The calls of a Sequential: layers in their order, with the activation that they apply themselves or None.

    Valid until an attribute of any module is set. A copy of the Sequential makes its own.
    """

    def __init__(self, model: _Ordered) -> None:
        self.epoch = changes.epoch  # before looking: another thread may set one meanwhile
        layers = model._layers()
        self.calls: list[tuple[Module, str | None]] = []
        i = 0
        while i < len(layers):
            layer = layers[i]
            following = layers[i + 1] if i + 1 < len(layers) else None
            i += 2
            if following is not None and _commute(layer, following):
                self.calls += (following, None), (layer, None)
            elif (
                type(layer) in _FUSING
                and layer.activation == "none"  # type: ignore[attr-defined]  # mypy cannot narrow by such a test
                and isinstance(following, Activation)
                and type(following) in _FUSED
                and not (i < len(layers) and _commute(following, layers[i]))
                and not ("forward" in layer.__dict__ or "forward" in following.__dict__)  # a user's own
            ):
                self.calls.append((layer, following.kind))
            else:
                self.calls.append((layer, None))
                i -= 1

    def __reduce__(self) -> tuple:
        return type(None), ()


class Sequential(_Ordered):
    """Modules called one after the other.

    `Sequential(a, b)` names them "0", "1"; `Sequential({"first": a, "second": b})` uses the given names. A Linear
    or convolution layer followed by Sigmoid, Tanh or ReLU runs as one kernel; a ReLU before max pooling runs after it,
    where there is less to do. Both have the bits of the modules one by one. A layer whose instance has a
    `forward` of its own, set as an attribute, is called by itself.
    """

    __slots__ = ("_plan",)  # beside the attributes, which others go over and compare

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named: dict[str, Any] = dict(modules[0])
        else:
            named = {str(i): m for i, m in enumerate(modules)}
        for name, module in named.items():
            setattr(self, self._checked_name(name, Module), _checked(module, "Sequential"))

    def freeze(self) -> Sequential:
        """As for every module. Where all layers are pynn's, a forward pass is recorded for each shape of input (up to 8
        of them) and replayed: the same kernels and bits without the Python between them.
        """
        super().freeze()
        if is_builtin(self):
            self._replay = Replay()
            self._replay.watch(self)
        return self

    def forward(self, input: Any) -> Tensor:
        replay = vars(self).get("_replay")
        if replay is not None:
            output = replay(self, input)
            if output is not None:
                return output
        plan = getattr(self, "_plan", None)
        if plan is None or plan.epoch is not changes.epoch:
            plan = _Plan(self)
            object.__setattr__(self, "_plan", plan)
        for layer, activation in plan.calls:
            input = layer(input) if activation is None else layer(input, activation=activation)
        return input

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module | Sequential:
        if isinstance(index, slice):
            return Sequential(dict(list(self.named_children())[index]))
        return self._layers()[index]


class ModuleList(_Ordered):
    """A list of modules whose parameters are found; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        for module in modules:
            self.append(module)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Module | ModuleList:
        if isinstance(index, slice):
            return ModuleList(self._layers()[index])
        return self._layers()[index]
