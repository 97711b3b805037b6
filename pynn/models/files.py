"""Models as files: weights, architecture, preprocessing and classes in one safetensors file that runs no code."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import nn
from ..io.weights import load_weights, save_weights
from ..nn.module import _converted
from . import architecture

_FLOATS = (np.float32, np.float64)
_SPARE = 2**16  # numbers that a model may have more than its file, so that what is missing is named


def save(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write weights, architecture, `model.preprocessing` and `model.classes` to one safetensors file; see `load`.

    Any reader of the format finds the weights under PyTorch's keys; the rest is the metadata key `pynn`, JSON with
    sorted keys, so that the same model gives the same bytes. The training mode is not stored.

    A class of the user's is stored by its name with what `get_config()` returns, or else with the constructor's
    arguments, which have to be attributes of the same names. TypeError for what is no Module, ValueError that names the
    layer where the model could not be built again from that, OSError where the file cannot be written.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"save: expected a Module, got {type(model).__name__}")
    try:
        description: dict[str, Any] = {"architecture": architecture.describe(model)}
    except ValueError as error:
        raise ValueError(f"save: {error}") from error
    if isinstance(model.preprocessing, nn.Preprocessing):
        description["preprocessing"] = model.preprocessing.config()
    if _are_names(model.classes) and model.classes:
        description["classes"] = list(model.classes)
    save_weights(path, model.state_dict(), description)


def load(
    path: str | os.PathLike[str], custom_objects: Mapping[str, Callable[..., nn.Module]] | None = None
) -> nn.Module:
    """The model in a file of `save`, in evaluation mode, with its `preprocessing` and `classes`.

    Nothing in the file is run: layers and registered models are looked up by name, classes of the user's in
    `custom_objects`, {"Net": Net}. It takes memory for the weights in the file and no more, whatever its description
    says. ValueError that names the file and what is wrong with it: not a model, a class that is unknown, weights that
    are missing, too many or of another shape; OSError where it cannot be read.
    """
    arrays, description = load_weights(path)
    name = os.fspath(path)
    if "architecture" not in description:
        raise ValueError(
            f"{name}: holds weights without an architecture; build the model and call "
            "model.load_state_dict(pynn.io.load_weights(path)[0])"
        )
    numbers = sum(array.size for array in arrays.values()) + _SPARE
    try:
        model = architecture.build(description["architecture"], custom_objects or {}, numbers)
        _fill(model, arrays)
        model.preprocessing = _preprocessing(description.get("preprocessing"))
        model.classes = _classes(description.get("classes", []))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return model.eval()


def _fill(model: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Copy the weights into the model, which takes over their precision."""
    own = dict(model._state())
    missing, unexpected = sorted(own.keys() - arrays.keys()), sorted(arrays.keys() - own.keys())
    if missing or unexpected:
        raise ValueError(f"weights missing: {missing or 'none'}, unexpected: {unexpected or 'none'}")
    for name, tensor in own.items():
        array = arrays[name]
        if array.shape != tensor.shape:
            raise ValueError(f"weight '{name}': expected shape {tensor.shape}, got {array.shape}")
        if array.dtype != tensor.dtype:
            if array.dtype not in _FLOATS or tensor.dtype not in _FLOATS:
                raise ValueError(f"weight '{name}': expected {tensor.dtype.name}, got {array.dtype.name}")
            tensor._array = _converted(tensor._array, array.dtype)
    model.load_state_dict(arrays)


def _preprocessing(arguments: Any) -> nn.Preprocessing | None:
    if arguments is None:
        return None
    try:
        return nn.Preprocessing(**arguments)
    except TypeError as error:
        raise ValueError(f"preprocessing: {error}") from error


def _classes(names: Any) -> tuple[str, ...]:
    if not _are_names(names):
        raise ValueError("expected a list of names as classes")
    return tuple(names)


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(name, str) for name in value)
