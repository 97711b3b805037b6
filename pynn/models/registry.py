"""Models that the command line and files call by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_builders: dict[str, Callable[..., Any]] = {}


def register(builder: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: `get` finds the function under its own name."""
    _builders[builder.__name__] = builder
    return builder


def get(name: str) -> Callable[..., Any]:
    """The function that builds the model `name`. ValueError for an unknown one."""
    if name not in _builders:
        raise ValueError(f"expected one of the models {', '.join(names())}, got {name!r}")
    return _builders[name]


def names() -> list[str]:
    """The names of all models."""
    return sorted(_builders)
