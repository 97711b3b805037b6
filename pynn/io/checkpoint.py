"""The state of a training in one safetensors file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..tensor import Tensor
from .weights import load_weights, save_weights


def save_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write `state` to one safetensors file, which takes the place of `path` whole or not at all.

    state: dictionaries (of any keys that are strings or numbers), lists and tuples, nested as deep as needed, of
    arrays, tensors, numbers, strings and None. Arrays are the file's tensors, under names like `model/0.weight`; the
    rest is JSON in its metadata. TypeError for any other object, OSError where the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    encoded = _encoded(state, "", arrays)
    save_weights(path, arrays, {"checkpoint": encoded})


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `save_checkpoint` was given; nothing in the file is run.

    Arrays come back as NumPy arrays. ValueError that names the file where it is damaged or no checkpoint, OSError where
    it cannot be read.
    """
    arrays, description = load_weights(path)
    try:
        state = _decoded(description["checkpoint"], arrays)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        state = None
    if not isinstance(state, dict):
        raise ValueError(f"{os.fspath(path)}: not a checkpoint that pynn wrote")
    return state


# JSON has no dictionaries with whole numbers as keys, loses their order to the sorting of keys, and has neither tuples
# nor NaN. So each JSON object here has one key, the kind of the value: {"dict": [[key, value], ...]}.


def _encoded(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` as JSON; its arrays go to `arrays`."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.generic):
        return {"number": [value.dtype.name, _encoded(value.item(), name, arrays)]}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        return {"dict": [[_encoded(k, name, arrays), _encoded(v, _joined(name, k), arrays)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [_encoded(v, _joined(name, i), arrays) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Tensor):
        value = value.detach().numpy()
    if not isinstance(value, np.ndarray):
        raise TypeError(f"save_checkpoint: '{name}': expected numbers, strings or arrays, got {type(value).__name__}")
    while name in arrays:  # {"a/b": x, "a": {"b": y}}
        name += "'"
    arrays[name] = value
    return {"array": name}


def _joined(name: str, key: Any) -> str:
    return f"{name}/{key}" if name else str(key)


def _decoded(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decoded(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {_decoded(k, arrays): _decoded(v, arrays) for k, v in content}
    if kind == "tuple":
        return tuple(_decoded(v, arrays) for v in content)
    if kind == "array":
        return arrays[content]
    if kind == "float":
        return float(content)
    if kind == "number":
        dtype = np.dtype(content[0])
        if dtype.kind in "biuf":
            return dtype.type(_decoded(content[1], arrays))
    raise ValueError(f"unknown kind {kind!r}")
