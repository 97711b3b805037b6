"""Pictures of a training and of a model, as matplotlib figures made without pyplot: no window, no global state.

Every function returns a `matplotlib.figure.Figure` and writes it to `path` where one is given (PNG, or what the name's
ending says; whole or not at all). ImportError that says how to get matplotlib where it is missing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import nn
from .io.files import replacing
from .nn.observe import observed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

StrPath = str | os.PathLike[str]

_TRAINING, _VALIDATION, _GRID = "#1f77b4", "#d95f02", 0.25
_MOST_NUMBERS = 30  # classes up to which a confusion matrix has its numbers written into it


def learning_curves(history: Sequence[dict[str, Any]], path: StrPath | None = None) -> Figure:
    """Loss, and accuracy where the history has it, over the epochs; the best validation value is marked.

    `history` is that of `Trainer.fit`, or any list of dictionaries with epoch, loss, val_loss, accuracy, val_accuracy,
    of which all but `epoch` may be missing. ValueError for an empty one.
    """
    if not history:
        raise ValueError("learning_curves: expected a history of at least one epoch, got none")
    epochs = [row["epoch"] for row in history]
    measures = [m for m in ("loss", "accuracy") if any(m in row or f"val_{m}" in row for row in history)]
    figure = _figure(4.8 * len(measures), 3.6)
    for axes, measure in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
        for key, label, color in ((measure, "training", _TRAINING), (f"val_{measure}", "validation", _VALIDATION)):
            values = np.array([math.nan if row.get(key) is None else row[key] for row in history], float)
            if np.isnan(values).all():
                continue
            axes.plot(epochs, values, color=color, label=label, marker="o" if len(epochs) < 12 else "", markersize=4)
            if label == "validation":
                best = int(np.nanargmin(values) if measure == "loss" else np.nanargmax(values))
                label = f"best: {values[best]:.4g} in epoch {epochs[best]}"
                axes.plot(epochs[best], values[best], "o", color=color, fillstyle="none", markersize=9, label=label)
        axes.set_title(measure, fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(epochs) == 1:
            axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        axes.grid(alpha=_GRID)
        axes.spines[["top", "right"]].set_visible(False)
        if measure == "loss":
            axes.set_ylim(bottom=0)
        axes.legend(fontsize=9, frameon=False)
    return _written(figure, path)


def filters(
    model: nn.Module, path: StrPath | None = None, input_shape: tuple[int, int] | None = None, count: int = 64
) -> Figure:
    """The weights of the first layer, as one image for each output: red above zero, blue below, on a common scale.

    `model` is a layer or a model whose first Linear or convolution is taken. Filters of Conv2d have a tile for each of
    their channels. A row of a Linear's weight is drawn as an image of `input_shape` (height, width), which is found in
    `model.preprocessing`, or is square, unless given. At most `count` tiles are drawn. ValueError where there is no
    such layer, or its inputs are no image.
    """
    layers = ((m, vars(m).get("weight")) for m in model.modules())
    layer, parameter = next(((m, w) for m, w in layers if isinstance(w, nn.Parameter)), (None, None))
    weight = np.empty(0) if parameter is None else np.asarray(parameter.detach())
    if weight.ndim not in (2, 4):
        raise ValueError("filters: expected a model with a Linear or Conv2d layer first")
    if weight.ndim == 2:
        height, width = _image_shape(weight.shape[1], model, input_shape)
        weight = weight.reshape(len(weight), -1, height, width)
    tiles = weight.reshape(-1, *weight.shape[2:])
    shown = tiles[: max(count, 1)]
    title = f"{type(layer).__name__}: {_count(len(tiles), 'filter')} of {tiles.shape[1]}x{tiles.shape[2]}"
    if len(shown) < len(tiles):
        title += f", the first {len(shown)}"
    limit = float(np.abs(shown).max()) or 1.0
    return _written(_mosaic(shown, title, "RdBu_r", -limit, limit), path)


def feature_maps(model: nn.Module, image: Any, layer: str | nn.Module, path: StrPath | None = None) -> Figure:
    """What `layer` (a dotted name or a module of the model) makes of one image: a tile for each channel.

    `image` is taken as by `model.predict`. ValueError for an unknown layer, more than one image, or a layer whose
    output is not (1, channels, height, width).
    """
    names = {module: name for name, module in model.named_modules()}
    name = names.get(layer) if isinstance(layer, nn.Module) else layer
    if name is None or name not in names.values():
        known = ", ".join(filter(None, names.values()))
        raise ValueError(f"feature_maps: expected one of the layers {known}, got {layer!r}")
    outputs: list[Any] = []

    def keep(at: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if at == name:
            outputs.append(np.asarray(output))

    with observed(model, keep):
        model.predict(image)
    if not outputs or outputs[0].ndim != 4 or len(outputs[0]) != 1:
        shape = outputs[0].shape if outputs else "no call"
        raise ValueError(f"feature_maps: expected (1, channels, height, width) from layer '{name}', got {shape}")
    maps = outputs[0][0]
    kind = type(dict(model.named_modules())[name]).__name__
    title = f"{kind} '{name}': {_count(len(maps), 'channel')} of {maps.shape[1]}x{maps.shape[2]}"
    return _written(_mosaic(maps, title, "viridis", float(maps.min()), float(maps.max())), path)


def confusion_counts(y_true: Any, y_pred: Any, classes: int | None = None) -> np.ndarray:
    """counts[i, j]: samples of class i that were taken for class j; int64 (classes, classes).

    y_true, y_pred (N,) are class indices; as many classes as the largest of them says unless given. ValueError for
    shapes that differ, TypeError for what is no integer.
    """
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    if true.ndim != 1 or true.shape != predicted.shape:
        raise ValueError(f"confusion_counts: expected two arrays (N,), got shapes {true.shape} and {predicted.shape}")
    for values in (true, predicted):
        if values.dtype.kind not in "iu" and values.size:
            raise TypeError(f"confusion_counts: expected class indices, got dtype {values.dtype.name}")
    both = np.stack([true, predicted]).astype(np.int64)
    size = int(both.max(initial=-1)) + 1 if classes is None else classes
    if both.size and not (both.min() >= 0 and both.max() < size):
        raise ValueError(f"confusion_counts: expected classes 0 to {size - 1}, got {both.min()} to {both.max()}")
    return np.bincount(both[0] * size + both[1], minlength=size * size).reshape(size, size)


def confusion_matrix(
    y_true: Any, y_pred: Any, classes: Sequence[str] | None = None, path: StrPath | None = None
) -> Figure:
    """The counts of `confusion_counts` as a picture: what is right in blue, what is wrong in red, by shares of a row.

    `classes` names the rows and columns. ValueError and TypeError as there, and where there is no class.
    """
    figure = _figure()
    from matplotlib.colors import LinearSegmentedColormap  # after `_figure`, which says how to get matplotlib

    counts = confusion_counts(y_true, y_pred, None if classes is None else len(classes))
    size, total = len(counts), int(counts.sum())
    if not size:
        raise ValueError("confusion_matrix: expected at least one class, got none")
    names = [str(i) for i in range(size)] if classes is None else [str(name) for name in classes]
    edge = max(4.0, 0.46 * min(size, _MOST_NUMBERS) + 1.2)
    figure.set_size_inches(edge, edge)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = np.eye(size, dtype=bool)
    for shown, color, most in ((right, "#2b6cb0", 1.0), (~right, "#c53030", max(shares[~right].max(initial=0), 0.05))):
        colors = LinearSegmentedColormap.from_list("", ["#ffffff", color])
        axes.imshow(np.ma.masked_array(shares, ~shown), cmap=colors, vmin=0, vmax=most)
        if size <= _MOST_NUMBERS:
            for i, j in np.argwhere(shown & (counts > 0)):
                ink = "white" if shares[i, j] > 0.6 * most else "#333333"
                axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=ink, fontsize=9)
    long = max(map(len, names)) > 3
    axes.set_xticks(range(size), names, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(size), names)
    axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="#e2e8f0", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    correct = int(np.trace(counts))
    axes.set_title(f"{correct} of {total} right ({correct / max(total, 1):.2%})", fontsize=11)
    return _written(figure, path)


def wrong_examples(
    images: Any,
    labels: Any,
    predictions: Any,
    classes: Sequence[str] | None = None,
    path: StrPath | None = None,
    count: int = 24,
) -> Figure:
    """Images that were taken for another class than theirs, the most confident mistakes first, at most `count`.

    images (N, H, W) or (N, channels, H, W) of 1 or 3 channels; labels (N,) class indices; predictions (N,) class
    indices, or (N, classes) probabilities as `predict` gives them. ValueError for shapes that do not fit.
    """
    pictures, true, given = np.asarray(images), np.asarray(labels), np.asarray(predictions)
    if pictures.ndim == 4 and pictures.shape[1] in (1, 3):
        pictures = pictures[:, 0] if pictures.shape[1] == 1 else np.moveaxis(pictures, 1, -1)
    elif pictures.ndim != 3:
        raise ValueError(f"wrong_examples: expected images (N, H, W) or (N, 1 or 3, H, W), got {pictures.shape}")
    if true.shape != pictures.shape[:1] or given.shape[:1] != true.shape or given.ndim not in (1, 2):
        raise ValueError(
            "wrong_examples: expected a label and a prediction for each image, got shapes "
            f"{true.shape} and {given.shape} for {len(pictures)} images"
        )
    predicted = given if given.ndim == 1 else given.argmax(axis=1)
    confidence = None if given.ndim == 1 else given.max(axis=1)
    wrong = np.flatnonzero(predicted != true)
    if confidence is not None:
        wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    shown = wrong[: max(count, 1)]

    columns = min(8, max(len(shown), 4))
    rows = max(1, math.ceil(len(shown) / columns))
    figure = _figure(1.25 * columns, 1.55 * rows + 0.6)
    title = f"{len(wrong)} of {len(true)} wrong" if len(wrong) else f"all {len(true)} right"
    if len(shown) < len(wrong):
        title += f", the {'most confident' if confidence is not None else 'first'} {len(shown)}"
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()

    def name(i: int) -> str:
        return str(i) if classes is None else str(classes[i])

    for axes, i in zip(grid, shown, strict=False):
        axes.imshow(_shown(pictures[i]), cmap="gray")
        share = "" if confidence is None else f" ({confidence[i]:.0%})"
        axes.set_title(f"{name(true[i])} → {name(predicted[i])}{share}", fontsize=8)
    return _written(figure, path)


def _figure(width: float = 4.8, height: float = 3.6) -> Figure:
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install 'pynn-native[cli]'") from None
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def _written(figure: Figure, path: StrPath | None) -> Figure:
    if path is not None:
        with replacing(path) as file:
            figure.savefig(file, format=Path(path).suffix[1:] or "png", dpi=150)
    return figure


def _mosaic(tiles: np.ndarray, title: str, cmap: str, lowest: float, highest: float) -> Figure:
    """Images (n, height, width) as one with gaps, and what the colours mean."""
    zoom = math.ceil(24 / min(tiles.shape[1:]))  # so that a gap can be narrower than a pixel
    tiles = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    n, height, width = tiles.shape
    columns = min(n, max(1, math.ceil(math.sqrt(n * height / width))))
    rows = math.ceil(n / columns)
    gap = max(1, min(height, width) // 12)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for i, tile in enumerate(tiles):
        y, x = divmod(i, columns)
        canvas[y * (height + gap) :, x * (width + gap) :][:height, :width] = tile
    longest = 6.0
    scale = longest / max(canvas.shape)
    figure = _figure(max(canvas.shape[1] * scale, 3.0) + 1.0, max(canvas.shape[0] * scale, 1.2) + 0.5)
    axes = figure.add_subplot()
    drawn = axes.imshow(canvas, cmap=cmap, vmin=lowest, vmax=highest, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(title, fontsize=11)
    figure.colorbar(drawn, ax=axes, fraction=0.04, pad=0.02).outline.set_visible(False)
    return figure


def _image_shape(inputs: int, model: nn.Module, given: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of an image that has so many pixels, or so many in each of its channels."""
    known: tuple[int, ...] | None = given
    if known is None and isinstance(model.preprocessing, nn.Preprocessing):
        known = model.preprocessing.input_shape[-2:]
    shape = (math.isqrt(inputs),) * 2 if known is None else tuple(known)
    pixels = math.prod(shape)
    if len(shape) != 2 or pixels < 1 or inputs % pixels or (known is None and inputs != pixels):
        what = f"{shape} pixels" if known is not None else "a square image"
        raise ValueError(f"filters: expected inputs of {what}, got {inputs}; give input_shape=(height, width)")
    return shape[0], shape[1]


def _shown(picture: np.ndarray) -> np.ndarray:
    """Colour images of any range in 0…1, as matplotlib wants them; grey ones as they are."""
    if picture.ndim == 2:
        return picture
    lowest, highest = float(picture.min()), float(picture.max())
    return (picture.astype(np.float64) - lowest) / ((highest - lowest) or 1.0)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
