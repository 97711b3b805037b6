"""An object of the host becomes an Array through its buffer: without a copy where the memory can be read as it lies."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pynn import _core


class Subclass(np.ndarray):
    pass


def frozen(a: np.ndarray) -> np.ndarray:
    a.flags.writeable = False
    return a


def base(dtype: str = "float32") -> np.ndarray:
    return (np.arange(24) % 2 if dtype == "bool" else np.arange(24)).astype(dtype).reshape(2, 3, 4)


SHARED = {
    **{dtype: base(dtype) for dtype in ("float32", "float64", "int64", "int32", "uint8", "bool")},
    "long long": np.arange(6, dtype=np.longlong),  # beside int64, which is long
    "transposed": base().T,
    "backwards": base()[:, ::-1, ::2],
    "expanded": np.broadcast_to(np.float32(3), (2, 3)),
    "no dimensions": np.array(2.5),
    "empty": np.empty((0, 3), np.float32),
    "read-only": frozen(base()),
    "subclass": base().view(Subclass),
    "buffer": memoryview(base()),
}


@pytest.mark.parametrize("given", SHARED.values(), ids=SHARED.keys())
def test_the_memory_is_shared_as_it_lies(given):
    expected = np.asarray(given)
    array = _core.wrap(given)
    seen = np.asarray(array)
    np.testing.assert_array_equal(seen, expected)
    assert seen.dtype == expected.dtype and seen.shape == expected.shape
    if expected.size > 1:
        assert seen.strides == expected.strides
        assert seen.ctypes.data == expected.ctypes.data
    assert array.readonly == (not expected.flags.writeable)


def test_unaligned_numbers_are_copied():
    raw = np.zeros(41, np.uint8)
    given = raw[1:].view(np.float32)
    given[:] = range(10)
    array = _core.wrap(given)
    np.testing.assert_array_equal(np.asarray(array), given)
    assert array.readonly


@pytest.mark.parametrize(
    "given", [np.zeros(3, ">f4"), np.zeros(3, "f2"), np.zeros(3, object), np.zeros(3, "datetime64[s]")]
)
def test_other_numbers_are_refused(given):
    with pytest.raises(TypeError):
        _core.wrap(given)


def test_more_dimensions_than_an_array_has():
    with pytest.raises(ValueError, match="at most 8 dimensions, got 9"):
        _core.wrap(np.zeros((1,) * 9, np.float32))


def test_the_owner_lives_as_long_as_its_array():
    given = base()
    before = sys.getrefcount(given)
    array = _core.wrap(given)
    assert sys.getrefcount(given) == before + 1
    view = np.asarray(array)
    del given, array
    np.testing.assert_array_equal(view, base())
    owner = base()
    for _ in range(10):
        _core.wrap(owner)
    assert sys.getrefcount(owner) == 2
