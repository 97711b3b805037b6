"""IDX files, the format of MNIST: a big-endian header, then bytes.

The header is the magic number (2051 for images, 2049 for labels) and one 32-bit integer for each dimension.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

IMAGES, LABELS = 2051, 2049
_DIMENSIONS = {IMAGES: 3, LABELS: 1}
_GZIP = b"\x1f\x8b"
_MOST_COMPRESSION = 1032  # deflate turns at most 1032 bytes into one
_CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The content of an IDX file, plain or compressed by gzip: uint8, images (N, rows, columns) or labels (N,).

    Raises ValueError that says what was expected and found where the file is malformed: empty, not gzip in spite of its
    name, damaged, another magic number, a size of zero, too few or too many bytes. Nothing is allocated on the word of
    the header alone.
    """
    path = Path(path)
    with open(path, "rb") as file:
        stored = os.fstat(file.fileno()).st_size
        compressed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if stored == 0:
            raise ValueError(f"{path}: expected an IDX file, found an empty file")
        if path.suffix == ".gz" and not compressed:
            raise ValueError(f"{path}: expected a gzip file, found none of its signature (1f 8b)")
        if not compressed:
            return _read(path, file, stored)
        try:
            with gzip.open(file) as unpacked:
                return _read(path, unpacked, stored * _MOST_COMPRESSION)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: expected a whole gzip file, found a damaged one ({error})") from error


def _read(path: Path, file: io.BufferedIOBase, at_most: int) -> np.ndarray:
    """The array in a stream that cannot hold more than `at_most` bytes."""
    shape = _read_header(path, file)
    size = math.prod(shape)
    if size > at_most:
        raise ValueError(f"{path}: expected {size} bytes after the header for the dimensions {shape}, found fewer")
    content = np.empty(size, np.uint8)
    found = 0
    while found < size:
        count = file.readinto(content.data[found : found + _CHUNK])
        if not count:
            raise ValueError(
                f"{path}: expected {size} bytes after the header for the dimensions {shape}, found {found}"
            )
        found += count
    if file.read(1):
        raise ValueError(f"{path}: expected {size} bytes after the header for the dimensions {shape}, found more")
    return content.reshape(shape)


def _read_header(path: Path, file: io.BufferedIOBase) -> tuple[int, ...]:
    magic = int.from_bytes(_read_exactly(path, file, 4), "big")
    if magic not in _DIMENSIONS:
        raise ValueError(f"{path}: expected the magic number {IMAGES} (images) or {LABELS} (labels), found {magic}")
    dimensions = _DIMENSIONS[magic]
    shape = struct.unpack(f">{dimensions}I", _read_exactly(path, file, 4 * dimensions))
    if 0 in shape:
        raise ValueError(f"{path}: expected dimensions of at least 1, found {shape}")
    return shape


def _read_exactly(path: Path, file: io.BufferedIOBase, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError(f"{path}: expected an IDX header, found the end of the file in it")
    return data
