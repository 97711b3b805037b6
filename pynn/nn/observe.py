"""Looking at the layers of a model while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .containers import Sequential
from .module import Module

Observer = Callable[[str, Module, tuple, Any], None]


@contextmanager
def observed(model: Module, observer: Observer) -> Iterator[None]:
    """Call observer(dotted name, module, arguments, output) after each module's forward inside the block.

    A Sequential calls its layers one by one, so that activations are seen too, with the same bits as fused. Not for a
    model that another thread uses meanwhile.
    """
    modules = list(model.named_modules())
    before = [vars(module).get("forward") for _, module in modules]
    for name, module in modules:
        module.forward = _reporting(name, module, observer)  # type: ignore[method-assign]  # found before the class's
    try:
        yield
    finally:
        for (_, module), own in zip(modules, before, strict=True):
            if own is None:
                del module.forward
            else:
                module.forward = own  # type: ignore[method-assign]


def _reporting(name: str, module: Module, observer: Observer) -> Callable[..., Any]:
    def in_order(input: Any) -> Any:
        for layer in module:  # type: ignore[attr-defined]
            input = layer(input)
        return input

    forward = in_order if getattr(module.forward, "__func__", None) is Sequential.forward else module.forward

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        observer(name, module, args, output)
        return output

    return wrapper
