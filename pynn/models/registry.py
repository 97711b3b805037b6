"""Models that the command line and files call by name."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

_builders: dict[str, Callable[..., Any]] = {}


def register(builder: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a function that builds a model, or of a class of models: `get` finds it under its own name.

    A model that the function built says so in its `architecture`: {"name": …, "arguments": …}, defaults included.
    """
    if not isinstance(builder, type):
        builder = _recording(builder)
    _builders[builder.__name__] = builder
    return builder


def _recording(builder: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(builder)

    @functools.wraps(builder)
    def build(*args: Any, **kwargs: Any) -> Any:
        model = builder(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        model.architecture = {"name": builder.__name__, "arguments": copy.deepcopy(dict(given.arguments))}
        return model

    return build


def get(name: str) -> Callable[..., Any]:
    """The function that builds the model `name`. ValueError for an unknown one."""
    if name not in _builders:
        raise ValueError(f"models.get: expected one of the models {', '.join(names())}, got {name!r}")
    return _builders[name]


def names() -> list[str]:
    """The names of all models."""
    return sorted(_builders)
