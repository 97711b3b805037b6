"""What every data set of images looks like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images for training and testing, with their labels.

    `train_images`, `test_images`: uint8 (N, height, width); `scale` times a pixel lies in 0…1. `train_labels`,
    `test_labels`: int64 (N,), indices into `classes`.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    scale: float

    def __repr__(self) -> str:
        sizes = f"{len(self.train_labels)} training and {len(self.test_labels)} test images"
        height, width = self.train_images.shape[1:]
        return f"Dataset({self.name!r}: {sizes} of {height}x{width} pixels, {len(self.classes)} classes)"
