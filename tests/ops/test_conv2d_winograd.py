"""Winograd's algorithm, which "fast" allows and "strict" does not."""

import numpy as np
import pytest

import pynn
from opcase import all_threads, precision, same_bits
from pynn import ops


@pytest.mark.parametrize(
    "kernel, c, o, size",
    [
        *((3, 64, 64, 28), (3, 32, 48, 14), (5, 32, 64, 14), (5, 40, 33, 13), (3, 131, 150, 17), (3, 523, 259, 10)),
        *((3, 16, 16, 28), (3, 9, 12, 13), (5, 6, 16, 14), (5, 16, 9, 13)),
    ],
)
def test_winograd_is_about_as_exact(kernel, c, o, size):
    """Its error is at most 2.5 times that of direct sums, in root mean square; without padding and with it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16 if c < 100 else 2, c, size, size))
    w = rng.standard_normal((o, c, kernel, kernel)) / (c * kernel**2) ** 0.5
    for padding in (0, kernel // 2):
        dy = rng.standard_normal(ops.conv2d(x, w, padding=padding).shape)
        results = {}
        for name, dtype in [("exact", np.float64), ("fast", np.float32), ("strict", np.float32)]:
            with precision("strict" if name == "strict" else "fast"):
                image, weight = (pynn.tensor(a.astype(dtype), requires_grad=True) for a in (x, w))
                y = ops.conv2d(image, weight, padding=padding)
                y.backward(pynn.tensor(dy.astype(dtype)))
                results[name] = y.detach().numpy(), image.grad.numpy(), weight.grad.numpy()
        for i, (exact, fast, strict) in enumerate(zip(*results.values(), strict=True)):
            # With many channels the gradient of the weight is a direct sum.
            assert same_bits(fast, strict) == (i == 2 and c > 100)
            assert np.square(fast - exact).mean() <= 2.5**2 * np.square(strict - exact).mean()


def check_any_split(n, c, o, size, kernel, singles):
    """The outputs and the gradient of the input at any number of threads, and those of single images alone."""
    rng = np.random.default_rng(0)
    x, dy, w, b = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in [(n, c, *size), (n, o, *size), (o, c, kernel, kernel), o]
    )

    def run(rows):
        image = pynn.tensor(x[rows], requires_grad=True)
        y = ops.conv2d(image, w, b, padding=kernel // 2)
        y.backward(pynn.tensor(dy[rows]))
        return y.detach().numpy(), image.grad.numpy()

    whole = run(slice(None))
    for threads in (2, 7):
        with all_threads(threads):
            assert all(map(same_bits, run(slice(None)), whole))
            for i in singles:
                assert all(map(same_bits, run(slice(i, i + 1)), (a[i : i + 1] for a in whole)))


@pytest.mark.parametrize("kernel, c, o, size", [(3, 16, 12, (33, 31)), (3, 200, 16, (20, 12)), (5, 6, 16, (40, 13))])
def test_winograd_along_rows_has_the_same_bits_in_any_split(kernel, c, o, size):
    """Threads, and bands of rows where the transformed input exceeds a cache, begin anywhere in an image."""
    check_any_split(5, c, o, size, kernel, range(5))


@pytest.mark.parametrize("kernel, c, o, n", [(3, 131, 150, 27), (5, 150, 131, 7), (3, 523, 259, 22), (3, 259, 523, 5)])
def test_winograd_of_large_weights_has_the_same_bits_in_any_split(kernel, c, o, n):
    """Few tiles and many are computed in different ways, in which threads share the work differently."""
    check_any_split(n, c, o, (11, 9), kernel, [n - 1])


def test_winograd_leaves_zeros_beyond_all_windows():
    """The gradient of an input that is larger than its windows reach."""
    dy, w = np.ones((1, 16, 8, 8), np.float32), np.ones((16, 3, 5, 5), np.float32)
    arrays = [pynn.as_tensor(a)._array for a in (dy, w)]
    dx = np.asarray(pynn._core.conv2d_data(*arrays, None, "none", (12, 14), (1, 1), (0, 0), (1, 1), 1))
    assert not dx[:, :, :, 12:].any() and dx[:, :, :, :12].all()


@pytest.mark.parametrize("row, column", [(5, 5), (0, 0), (3, 11), (4, 0), (11, 11)])
@pytest.mark.parametrize("channels", [2, 20])
def test_strict_keeps_infinity_in_its_windows(channels, row, column):
    x, w = np.zeros((2, 1, 12, 12), np.float32), np.ones((channels, 1, 3, 3), np.float32)
    x[0, 0, row, column] = np.inf
    with precision("strict"):
        y = ops.conv2d(x, w, padding=1).numpy()
    inside = np.zeros((2, 1, 12, 12), bool)
    inside[0, 0, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
    assert (np.isposinf(y) == inside).all() and (y[~np.broadcast_to(inside, y.shape)] == 0).all()
