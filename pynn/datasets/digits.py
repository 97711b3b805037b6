"""The bundled digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .dataset import Dataset

TRAINING_IMAGES = 1500


def digits() -> Dataset:
    """1797 handwritten digits of 8x8 pixels with values 0 to 16, bundled with pynn.

    The first 1500 are for training and the last 297 for testing; each digit is 27 to 33 times among the latter.
    (E. Alpaydin and C. Kaynak 1998, UCI Machine Learning Repository, CC BY 4.0; see digits.txt.)
    """
    with np.load(Path(__file__).with_name("digits.npz")) as archive:
        images, labels = archive["images"], archive["labels"].astype(np.int64)
    return Dataset(
        name="digits",
        train_images=images[:TRAINING_IMAGES],
        train_labels=labels[:TRAINING_IMAGES],
        test_images=images[TRAINING_IMAGES:],
        test_labels=labels[TRAINING_IMAGES:],
        classes=tuple("0123456789"),
        scale=1 / 16,
    )
