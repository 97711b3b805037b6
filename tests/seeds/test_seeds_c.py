"""Convolutions of the lecture decks (ids C1, C2, C3, C8)."""

import numpy as np
import pytest

import pynn
from pynn import ops


@pytest.mark.parametrize("taps", [[-1, 0, 1], [1 / 3] * 3, [1, -2, 1]])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_seed_c1(taps, mode):
    x = np.arange(8.0) ** 2
    np.testing.assert_allclose(
        ops.convolve(x, np.array(taps, np.float64), mode).numpy(), np.convolve(x, taps, mode), atol=1e-12
    )


def test_seed_c2():
    x = [[1, 1, 1, 1, 1], [-1, 0, -3, 0, 1], [2, 1, 1, -1, 0], [0, -1, 1, 2, 1], [1, 2, 1, 1, 1]]
    w = [[1, 0, 0], [0, 0, 0], [0, 0, -1]]
    y = ops.convolve(np.array(x, np.float32), np.array(w, np.float32), "valid")
    np.testing.assert_array_equal(y.numpy(), [[0, -2, -1], [2, 2, 4], [-1, 0, 0]])


def test_seed_c3():
    rows = ["100001", "010010", "001100", "100010", "010010", "001010"]
    image = np.array([[int(p) for p in row] for row in rows], np.float32)[None, None]
    filters = np.array([[[1, -1, -1], [-1, 1, -1], [-1, -1, 1]], [[-1, 1, -1]] * 3], np.float32)[:, None]
    first, second = ops.conv2d(image, filters).numpy()[0]
    np.testing.assert_array_equal(first, [[3, -1, -3, -1], [-3, 1, 0, -3], [-3, -3, 0, 1], [3, -2, -2, -1]])
    np.testing.assert_array_equal(second, [[-1, -1, -1, -1], [-1, -1, -2, 1], [-1, -1, -2, 1], [-1, 0, -4, 3]])


def test_seed_c8():
    rng = np.random.default_rng(0)
    image, weight, error = (rng.standard_normal(s) for s in ((6, 7), (3, 3), (4, 5)))
    x, w = (pynn.tensor(a[None, None], requires_grad=True) for a in (image, weight))
    ops.conv2d(x, w).backward(pynn.tensor(error[None, None]))
    np.testing.assert_allclose(
        x.grad.numpy()[0, 0], ops.convolve(np.pad(error, 2), weight, "valid").numpy(), rtol=1e-10
    )
    np.testing.assert_allclose(
        w.grad.numpy()[0, 0], ops.conv2d(image[None, None], error[None, None]).numpy()[0, 0], rtol=1e-10
    )
