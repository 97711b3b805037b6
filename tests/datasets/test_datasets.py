"""Which files make a data set, and where they are looked for."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from pynn import datasets
from pynn.datasets import download, mnist_files

FILES = mnist_files.FILES


def data_folder(name):
    """The folder of the real files, or a skip that says what is missing."""
    given = os.environ.get("PYNN_DATA")
    for folder in (*((Path(given), Path(given) / name) if given else ()), Path("/usr/share/datasets") / name):
        if any((folder / f"{FILES[0]}{end}").is_file() for end in ("", ".gz")):
            return folder
    pytest.skip(f"needs the files of {name}: set PYNN_DATA")


def write_files(folder, compressed=False, size=28, labels=(3, 9)):
    """A small data set in the four files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if "images" in name:
            data = struct.pack(">4I", 2051, 2, size, size) + bytes(2 * size * size)
        else:
            data = struct.pack(">2I", 2049, len(labels)) + bytes(labels)
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No data anywhere on this machine, and no network."""
    monkeypatch.delenv("PYNN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist_files, "SYSTEM_FOLDER", tmp_path / "system")

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return tmp_path


def test_digits():
    data = datasets.digits()
    assert data.train_images.shape == (1500, 8, 8) and data.test_images.shape == (297, 8, 8)
    assert data.train_images.dtype == data.test_images.dtype == np.uint8
    assert data.train_images.min() == 0 and data.train_images.max() * data.scale == 1
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert np.bincount(data.test_labels).tolist() == [27, 31, 27, 30, 33, 30, 30, 30, 28, 31]
    assert data.train_labels[:10].tolist() == list(range(10))
    assert repr(data) == "Dataset('digits': 1500 training and 297 test images of 8x8 pixels, 10 classes)"


def test_larger_digits():
    small, large = datasets.digits(), datasets.digits(size=28)
    assert large.train_images.shape == (1500, 28, 28) and large.test_images.dtype == np.uint8
    squares = np.kron(small.test_images, np.ones((3, 3), np.uint8))
    np.testing.assert_array_equal(large.test_images[:, 2:-2, 2:-2], squares)
    assert large.test_images.sum() == squares.sum()  # the border is empty
    np.testing.assert_array_equal(large.test_labels, small.test_labels)
    for size, images in ((8, small.train_images), (16, np.kron(small.train_images, np.ones((2, 2))))):
        np.testing.assert_array_equal(datasets.digits(size).train_images, images)
    for size in (6, 9, 27, 28.0, True, "28"):
        with pytest.raises(ValueError, match="digits: expected an even number >= 8 as size, got"):
            datasets.digits(size)


def test_digits_are_those_of_scikit_learn():
    source = pytest.importorskip("sklearn.datasets").load_digits()
    data = datasets.digits()
    np.testing.assert_array_equal(np.concatenate([data.train_images, data.test_images]), source.images)
    np.testing.assert_array_equal(np.concatenate([data.train_labels, data.test_labels]), source.target)


def test_digits_are_small_and_credited():
    folder = Path(datasets.__file__).parent
    assert (folder / "digits.npz").stat().st_size <= 120_000
    assert "CC BY 4.0" in (folder / "digits.txt").read_text()


def test_mnist():
    data = datasets.mnist(data_folder("mnist"))
    assert data.train_images.shape == (60000, 28, 28) and data.test_images.shape == (10000, 28, 28)
    assert np.bincount(data.train_labels).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert data.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert data.train_images.max() * data.scale == 1


def test_fashion_mnist():
    data = datasets.fashion_mnist(data_folder("fashion-mnist"))
    assert data.train_images.shape == (60000, 28, 28) and data.test_images.shape == (10000, 28, 28)
    assert np.bincount(data.train_labels).tolist() == [6000] * 10
    assert data.classes[data.test_labels[0]] == "Ankle boot"


@pytest.mark.parametrize("source", [mnist_files._MNIST, mnist_files._FASHION_MNIST], ids=lambda s: s.name)
def test_checksums_are_those_of_the_real_files(source):
    folder = data_folder(source.name)
    for name, checksum in zip(FILES, source.checksums, strict=True):
        packed = folder / f"{name}.gz"
        data = gzip.decompress(packed.read_bytes()) if packed.is_file() else (folder / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == checksum


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("below", ["", "mnist"])
def test_a_given_folder(alone, compressed, below):
    write_files(alone / "mine" / below, compressed)
    data = datasets.mnist(alone / "mine")
    assert data.train_images.shape == (2, 28, 28) and data.test_labels.tolist() == [3, 9]


@pytest.mark.parametrize("place", ["data/mnist", "data", "cache/pynn/mnist", "system/mnist"])
def test_places_in_their_order(alone, monkeypatch, place):
    monkeypatch.setenv("PYNN_DATA", str(alone / "data"))
    write_files(alone / "system" / "mnist", labels=(0, 0))
    write_files(alone / place, labels=(5, 6))
    assert datasets.mnist().train_labels.tolist() == [5, 6]


def test_a_given_folder_is_the_only_place(alone, monkeypatch):
    monkeypatch.setenv("PYNN_DATA", str(write_files(alone / "data")))
    with pytest.raises(FileNotFoundError, match=r"mnist not found in .*empty"):
        datasets.mnist(alone / "empty")


def test_found_nowhere_says_where_and_what_to_do(alone, monkeypatch):
    monkeypatch.setenv("PYNN_DATA", str(alone / "data"))
    (write_files(alone / "data") / FILES[1]).unlink()
    with pytest.raises(FileNotFoundError) as error:
        datasets.mnist()
    message = str(error.value)
    for part in (
        f"{alone}/data (lacks {FILES[1]})",
        f"{alone}/data/mnist (no such folder)",
        f"{alone}/cache/pynn/mnist",
        f"{alone}/system/mnist",
        "cannot download https://",
        "no network",
        "set PYNN_DATA",
    ):
        assert part in message
    assert "\n" not in message


MISFITS = {
    "other pixels": ({"size": 27}, r"expected images of 28x28 pixels, found dimensions \(2, 27, 27\)"),
    "a label more": (
        {"labels": (1, 2, 3)},
        r"expected 2 labels, one for each image, found dimensions \(3,\)",
    ),
    "an unknown class": ({"labels": (1, 10)}, "expected labels 0 to 9, found 10"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_files_that_do_not_fit_each_other(alone, kind):
    options, message = MISFITS[kind]
    with pytest.raises(ValueError, match=message):
        datasets.mnist(write_files(alone / "mine", **options))


def test_labels_in_the_place_of_images(alone):
    folder = write_files(alone / "mine")
    (folder / FILES[0]).write_bytes((folder / FILES[1]).read_bytes())
    with pytest.raises(ValueError, match=rf"{FILES[0]}: expected images of 28x28 pixels, found dimensions \(2,\)"):
        datasets.mnist(folder)


class Mirror:
    """Stands for urlopen: the content of each URL, or an error."""

    def __init__(self, contents):
        self.contents = contents
        self.asked = []

    def __call__(self, url, timeout):
        import io

        self.asked.append(url)
        content = self.contents.get(url)
        if content is None:
            raise OSError("404")
        return io.BytesIO(content)


CONTENT = b"the content"
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()
MIRRORS = ("https://a/", "https://b/")


def test_download_takes_the_first_mirror_with_the_right_content(alone, monkeypatch):
    mirror = Mirror({"https://a/f.gz": gzip.compress(b"other"), "https://b/f.gz": gzip.compress(CONTENT)})
    monkeypatch.setattr("urllib.request.urlopen", mirror)
    path = download.download("f", MIRRORS, CHECKSUM, alone / "cache")
    assert gzip.decompress(path.read_bytes()) == CONTENT
    assert [p.name for p in (alone / "cache").iterdir()] == ["f.gz"]
    assert mirror.asked == ["https://a/f.gz", "https://b/f.gz"]


@pytest.mark.parametrize("content", [None, b"", b"<html>", gzip.compress(CONTENT)[:-3], gzip.compress(b"other")])
def test_a_download_that_is_not_right_leaves_nothing(alone, monkeypatch, content):
    monkeypatch.setattr("urllib.request.urlopen", Mirror({"https://a/f.gz": content}))
    with pytest.raises(OSError, match=r"cannot download https://a/f\.gz: .*https://b/f\.gz: 404"):
        download.download("f", MIRRORS, CHECKSUM, alone / "cache")
    assert not (alone / "cache").exists()
