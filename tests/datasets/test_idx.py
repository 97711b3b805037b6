"""The IDX reader against files of every kind of malformation, plain and compressed. Seed C15."""

import gzip
import struct

import numpy as np
import pytest

from pynn.datasets import read_idx

IMAGES, LABELS = 2051, 2049
PIXELS = bytes(range(24))


def images_file(count=2, rows=3, columns=4, content=PIXELS, magic=IMAGES):
    return struct.pack(">4I", magic, count, rows, columns) + content


def labels_file(count=3, content=b"\x07\x02\x01", magic=LABELS):
    return struct.pack(">2I", magic, count) + content


@pytest.fixture(params=["plain", "gzip"])
def write(request, tmp_path):
    """Write bytes to a file, plain or compressed; gives its path."""

    def writer(data):
        if request.param == "plain":
            path = tmp_path / "data-ubyte"
            path.write_bytes(data)
        else:
            path = tmp_path / "data-ubyte.gz"
            path.write_bytes(gzip.compress(data))
        return path

    return writer


def test_seed_c15_magic_numbers_and_big_endian_header(write):
    images = read_idx(write(images_file()))
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.arange(24).reshape(2, 3, 4))
    assert read_idx(write(labels_file())).tolist() == [7, 2, 1]


def test_a_compressed_file_without_its_ending_is_read(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(gzip.compress(labels_file()))
    assert read_idx(path).tolist() == [7, 2, 1]


HUGE = 2**32 - 1

MALFORMED = {
    "header cut in the magic number": (b"\0\0\x08", "end of the file"),
    "header cut in the dimensions": (images_file()[:14], "end of the file"),
    "magic number of little-endian": (images_file(magic=0x03080000), "magic number 2051.*found 50855936"),
    "magic number of another type": (images_file(magic=0x0D03), "magic number.*found 3331"),
    "not IDX at all": (b"<html>404</html>", "magic number"),
    "content missing": (images_file(content=b""), r"expected 24 bytes.*\(2, 3, 4\)"),
    "content too short by one": (images_file(content=PIXELS[:-1]), "expected 24 bytes"),
    "content too long by one": (images_file(content=PIXELS + b"\0"), "expected 24 bytes.*found more"),
    "labels too short": (labels_file(content=b"\1"), "expected 3 bytes"),
    "labels too long": (labels_file(content=b"\1\2\3\4"), "expected 3 bytes.*found more"),
    "no image": (images_file(count=0, content=b""), r"at least 1, found \(0, 3, 4\)"),
    "no column": (images_file(columns=0, content=b""), r"at least 1, found \(2, 3, 0\)"),
    "no label": (labels_file(count=0, content=b""), r"at least 1, found \(0,\)"),
    "dimensions that overflow 64 bits": (
        images_file(HUGE, HUGE, HUGE),
        "expected 79228162458924105385300197375",
    ),
    "dimensions whose product wraps to 0": (images_file(2**31, 2**31, 4), "expected 18446744073709551616"),
    "labels of 4 GiB": (labels_file(count=HUGE), "expected 4294967295 bytes"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_files_say_what_is_wrong(kind, write):
    data, message = MALFORMED[kind]
    path = write(data)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(path)
    assert str(error.value).startswith(f"{path}: expected ")


@pytest.mark.parametrize("name", ["data-ubyte", "data-ubyte.gz"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match="found an empty file"):
        read_idx(tmp_path / name)


def test_a_plain_file_called_gz(tmp_path):
    path = tmp_path / "labels.gz"
    path.write_bytes(labels_file())
    with pytest.raises(ValueError, match="expected a gzip file"):
        read_idx(path)


COMPRESSED = gzip.compress(labels_file(count=300, content=bytes(300)), mtime=0)


@pytest.mark.parametrize("length", range(2, len(COMPRESSED)))
def test_a_gzip_file_cut_anywhere(tmp_path, length):
    path = tmp_path / "labels.gz"
    path.write_bytes(COMPRESSED[:length])
    with pytest.raises(ValueError, match="expected a whole gzip file"):
        read_idx(path)


def test_damaged_gzip_files_never_give_other_labels(tmp_path):
    path = tmp_path / "labels.gz"
    for position in range(len(COMPRESSED)):
        damaged = bytearray(COMPRESSED)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            labels = read_idx(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            assert not labels.any() and len(labels) == 300


def test_bytes_after_the_gzip_member(tmp_path):
    path = tmp_path / "labels.gz"
    path.write_bytes(COMPRESSED + b"garbage")
    with pytest.raises(ValueError, match="damaged"):
        read_idx(path)


def test_a_small_gzip_file_cannot_make_us_allocate(tmp_path):
    """The header alone is no reason to allocate: 4 GiB of labels do not fit into 100 bytes."""
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(labels_file(count=HUGE)))
    with pytest.raises(ValueError, match=r"expected 4294967295 bytes.*found fewer"):
        read_idx(path)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing")
