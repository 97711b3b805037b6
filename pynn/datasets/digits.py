"""The bundled digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .dataset import Dataset

TRAINING_IMAGES = 1500


def digits(size: int = 8) -> Dataset:
    """1797 handwritten digits of 8x8 pixels with values 0 to 16, bundled with pynn.

    The first 1500 are for training and the last 297 for testing; each digit is 27 to 33 times among the latter.
    `size`, an even number from 8 on, gives larger images: every pixel becomes a square, within a border of zeros.
    `digits(28)`, squares of 3x3 and a border of 2, fits models for MNIST. ValueError for another size.
    (E. Alpaydin and C. Kaynak 1998, UCI Machine Learning Repository, CC BY 4.0; see digits.txt.)
    """
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 8 or size % 2:
        raise ValueError(f"digits: expected an even number >= 8 as size, got {size!r}")
    with np.load(Path(__file__).with_name("digits.npz")) as archive:
        images, labels = archive["images"], archive["labels"].astype(np.int64)
    times, border = size // 8, size % 8 // 2
    images = images.repeat(times, axis=1).repeat(times, axis=2)
    images = np.pad(images, ((0, 0), (border, border), (border, border)))
    return Dataset(
        name="digits",
        train_images=images[:TRAINING_IMAGES],
        train_labels=labels[:TRAINING_IMAGES],
        test_images=images[TRAINING_IMAGES:],
        test_labels=labels[TRAINING_IMAGES:],
        classes=tuple("0123456789"),
        scale=1 / 16,
    )
