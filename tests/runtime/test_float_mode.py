"""Subnormal numbers: kept by what moves data, flushed by arithmetic, and nobody else's mode is touched."""

import numpy as np

import pynn
from opcase import all_threads
from pynn import _core, ops

TINY = np.float32(1e-40)


def processor_keeps_subnormals() -> bool:
    return bool(np.array([TINY]) * np.float32(1) != 0)


def test_the_callers_mode_is_untouched():
    assert processor_keeps_subnormals()
    for threads in (1, 3):
        with all_threads(threads):
            ops.sigmoid(np.full(100_000, TINY))
            assert processor_keeps_subnormals()


def test_moves_keep_subnormals():
    x = np.full((300, 50), TINY)
    for threads in (1, 3):
        with all_threads(threads):
            for y in (
                _core.copy(_core.wrap(x)),
                _core.contiguous(_core.permute(_core.wrap(x), [1, 0])),
                pynn.tensor(x)._array,
            ):
                assert np.all(np.asarray(y) == TINY)


def test_arithmetic_flushes_them():
    y = _core.activation(np.full(100_000, 0.5, np.float32), "tanh")
    for threads in (1, 3):
        with all_threads(threads):
            gradient = _core.activation_backward(np.full(100_000, TINY), y, "tanh")
            assert np.all(np.asarray(gradient) == 0)
