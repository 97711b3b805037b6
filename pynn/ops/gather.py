"""Rows by index: the batch of a data loader."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core, autograd
from ..tensor import Tensor, as_tensor


def gather_rows(
    input: Any,
    index: Any,
    scale: float | None = None,
    mean: Any = None,
    std: Any = None,
    axis: int = -1,
    out: Tensor | None = None,
) -> Tensor:
    """input[index], and in the same pass (input[index] * scale - mean) / std as float32.

    `input` (N, features...) of any dtype, `index` (B,) int64, negative ones counting from the end; the output is
    (B, features...). With `scale` (default 1), `mean` (0) or `std` (1) it is float32, without them it keeps the dtype.
    mean and std are numbers or hold one value for each position along `axis`. `out` takes the result and is returned;
    it may not share memory with the inputs. Data preparation: nothing is recorded, there is no gradient.

    Raises IndexError for an index out of range (`out` is then unchanged), ValueError for shapes that do not fit or a
    zero in std, TypeError for dtypes, RuntimeError where a gradient of `input` would be wanted.
    """
    x, rows = as_tensor(input), as_tensor(index)
    if x.requires_grad and autograd.is_grad_enabled():
        raise RuntimeError("gather_rows: the input requires grad, but this operation has no gradient; detach() it")
    result = None if out is None else out._array
    if scale is None and mean is None and std is None:
        array = _core.gather_rows(x._array, rows._array, result)
    else:
        factor, shift = _affine(
            1.0 if scale is None else scale, 0.0 if mean is None else mean, 1.0 if std is None else std
        )
        array = _core.gather_normalized(x._array, rows._array, factor, shift, axis, result)
    return Tensor._wrap(array) if out is None else out


def _affine(scale: float, mean: Any, std: Any) -> tuple[np.ndarray, np.ndarray]:
    """scale / std and -mean / std in float64, of one shape."""
    means, deviations = np.broadcast_arrays(np.asarray(mean, np.float64), np.asarray(std, np.float64))
    if means.ndim > 1:
        raise ValueError(f"gather_rows: expected numbers or one value per channel for mean and std, got {means.shape}")
    if not np.all(deviations != 0):
        raise ValueError("gather_rows: expected std different from 0")
    return scale / deviations, -means / deviations
