"""Weights as safetensors files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .files import replacing

FORMAT_VERSION = 1


def save_weights(
    path: str | os.PathLike[str], state_dict: Mapping[str, Any], description: Mapping[str, Any] | None = None
) -> None:
    """Write a state dict of arrays or tensors to one safetensors file that any reader of that format opens.

    `description` (what JSON can hold: architecture, preprocessing, …) goes with the format version into the metadata
    key `pynn` as JSON with sorted keys, so that the same model gives the same bytes. TypeError for a description that
    JSON cannot hold, ValueError for arrays that are not numbers, OSError where the file cannot be written.
    """
    from safetensors.numpy import save  # 15 ms of import that only saving needs

    # The writer stores raw memory: an array in another order than C would come back scrambled, without an error.
    arrays = {name: np.asarray(value, order="C") for name, value in state_dict.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ValueError(f"save_weights: '{name}': expected numbers, got dtype {array.dtype.name}")
    metadata = {"format_version": FORMAT_VERSION, **(description or {})}
    content = save(arrays, {"pynn": json.dumps(metadata, sort_keys=True, allow_nan=False)})
    with replacing(path) as file:
        file.write(content)


def load_weights(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The state dict and the description of a safetensors file; an empty description where another tool wrote it.

    Nothing in the file is run. ValueError that names the file where it is no safetensors file, truncated, holds a
    dtype that NumPy has not, or was written by a newer format; OSError where it cannot be read.
    """
    from safetensors import SafetensorError, safe_open  # 15 ms of import that only loading needs

    path = os.fspath(path)
    with open(path, "rb"):  # a missing file or a folder is the system's own error
        pass
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
    except (SafetensorError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a readable safetensors file: {error}") from None
    return arrays, _description(path, metadata.get("pynn"))


def _description(path: str, text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        description = json.loads(text)
    except (ValueError, RecursionError):
        description = None
    if not isinstance(description, dict) or not isinstance(description.get("format_version"), int):
        raise ValueError(f"{path}: the metadata under 'pynn' is not a description that pynn wrote")
    version = description.pop("format_version")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path}: format version {version}; this pynn reads up to {FORMAT_VERSION}: a newer one is needed"
        )
    return description
