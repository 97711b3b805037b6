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
