"""A trained model inside a server: loaded from its file, frozen, called by many threads at once.

The file holds architecture, preprocessing and class names beside the weights and runs no code when it is loaded. Each
request takes one kernel thread (`pynn.threads(1)`), so that the pool of the server decides how many cores are used, and
gets the bits that the same image has in any batch. Takes a second.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import pynn
from pynn import nn
from pynn.nn import functional as F

WORKERS = 4


def write_model(path: Path, data: pynn.datasets.Dataset) -> None:
    """What another program has done before."""
    pynn.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    images = data.train_images[:, None].astype(np.float32) * data.scale
    trainer = pynn.train.Trainer(model, pynn.optim.Adam(model.parameters(), lr=3e-3), F.cross_entropy)
    trainer.fit((images, data.train_labels), epochs=20, verbose=0)
    model.preprocessing = nn.Preprocessing((1, 8, 8), scale=data.scale)
    model.classes = data.classes
    pynn.save(model, path)


class Digits:
    """What the server keeps: the model, which no request can change."""

    def __init__(self, path: Path) -> None:
        self._model = pynn.load(path).freeze()

    def answer(self, image: np.ndarray) -> tuple[str, np.ndarray]:
        """The name of the likeliest class, and the probabilities of all, for raw pixels (1, 8, 8)."""
        with pynn.threads(1):
            probabilities = self._model.predict(image)[0]
        return self._model.classes[int(probabilities.argmax())], probabilities


def main() -> None:
    data = pynn.datasets.digits()
    images = data.test_images[:, None]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.safetensors"
        write_model(path, data)
        digits, whole = Digits(path), pynn.load(path).predict(images)
    with ThreadPoolExecutor(WORKERS) as pool:
        answers = list(pool.map(digits.answer, images))
    correct = sum(name == str(label) for (name, _), label in zip(answers, data.test_labels, strict=True))
    print(f"{correct} of {len(images)} images right, answered by {WORKERS} threads")
    assert np.stack([probabilities for _, probabilities in answers]).tobytes() == whole.tobytes()
    print("each image alone has the bits that it has in the batch of all")


if __name__ == "__main__":
    main()
