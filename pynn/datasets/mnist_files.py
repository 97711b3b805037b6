"""MNIST and Fashion-MNIST, found on this machine or downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dataset import Dataset
from .download import download
from .idx import read_idx

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SYSTEM_FOLDER = Path("/usr/share/datasets")  # where Debian's packages put them


@dataclass(frozen=True)
class _Source:
    """Where a data set's four files lie, and the SHA-256 of their content when not compressed."""

    name: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    checksums: tuple[str, str, str, str]


_MNIST = _Source(
    name="mnist",
    classes=tuple("0123456789"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    checksums=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)

_FASHION_MNIST = _Source(
    name="fashion-mnist",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    checksums=(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)


def mnist(root: str | os.PathLike[str] | None = None) -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28 pixels.

    The four IDX files, plain or .gz, are looked for in `root` or its subfolder mnist/, and nowhere else where `root` is
    given. Without it in $PYNN_DATA and its subfolder, in the user's cache (~/.cache/pynn/mnist) and in
    /usr/share/datasets/mnist; found nowhere, they are downloaded into the cache and their checksums compared.

    Raises FileNotFoundError that lists the folders where they are not found and cannot be downloaded, ValueError for a
    malformed file. (LeCun, Cortes, Burges 1998.)
    """
    return _load(_MNIST, root)


def fashion_mnist(root: str | os.PathLike[str] | None = None) -> Dataset:
    """Fashion-MNIST: as `mnist`, with ten kinds of clothing; subfolder fashion-mnist/.

    Debian's package dataset-fashion-mnist is found in /usr/share/datasets/fashion-mnist. (Xiao, Rasul, Vollgraf 2017.)
    """
    return _load(_FASHION_MNIST, root)


def _load(source: _Source, root: str | os.PathLike[str] | None) -> Dataset:
    paths = _find(source, root)
    train_images, train_labels, test_images, test_labels = (read_idx(path) for path in paths)
    for images, labels, image_path, label_path in (
        (train_images, train_labels, paths[0], paths[1]),
        (test_images, test_labels, paths[2], paths[3]),
    ):
        _check(images, labels, image_path, label_path, len(source.classes))
    return Dataset(
        name=source.name,
        train_images=train_images,
        train_labels=train_labels.astype(np.int64),
        test_images=test_images,
        test_labels=test_labels.astype(np.int64),
        classes=source.classes,
        scale=1 / 255,
    )


def _check(images: np.ndarray, labels: np.ndarray, image_path: Path, label_path: Path, classes: int) -> None:
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise ValueError(f"{image_path}: expected images of 28x28 pixels, found dimensions {images.shape}")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{label_path}: expected {len(images)} labels, one for each image, found dimensions {labels.shape}"
        )
    if labels.max() >= classes:
        raise ValueError(f"{label_path}: expected labels 0 to {classes - 1}, found {labels.max()}")


def _find(source: _Source, root: str | os.PathLike[str] | None) -> list[Path]:
    """The paths of the four files, downloaded where no folder has them."""
    searched = []
    for folder in _folders(source, root):
        paths = [next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None) for name in FILES]
        missing = [name for name, path in zip(FILES, paths, strict=True) if path is None]
        if not missing:
            return [path for path in paths if path is not None]
        lacks = missing[0] if len(missing) == 1 else f"{len(missing)} of its 4 files"
        searched.append(f"{folder} (lacks {lacks})" if folder.is_dir() else f"{folder} (no such folder)")
    advice = f"put {', '.join(FILES)} (plain or .gz) into a folder and give it or set PYNN_DATA to it"
    if root is not None:
        raise FileNotFoundError(f"{source.name} not found in {', '.join(searched)}; {advice}")
    folder = _cache() / source.name
    try:
        return [
            download(name, source.mirrors, checksum, folder)
            for name, checksum in zip(FILES, source.checksums, strict=True)
        ]
    except OSError as error:
        raise FileNotFoundError(f"{source.name} not found in {', '.join(searched)}; {error}; {advice}") from error


def _folders(source: _Source, root: str | os.PathLike[str] | None) -> Iterator[Path]:
    given = os.environ.get("PYNN_DATA") if root is None else root
    if given:
        yield Path(given)
        yield Path(given) / source.name
    if root is None:
        yield _cache() / source.name
        yield SYSTEM_FOLDER / source.name


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "pynn"
