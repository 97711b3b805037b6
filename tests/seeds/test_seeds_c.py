"""Convolutions and pooling of the lecture decks (ids C1 to C5, C7, C8)."""

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
    np.testing.assert_array_equal(ops.max_pool2d(first[None], 2).numpy()[0], [[3, 0], [3, 1]])
    np.testing.assert_array_equal(ops.max_pool2d(second[None], 2).numpy()[0], [[-1, 1], [0, 3]])


def test_seed_c4():
    lit = {(1, 1), (1, 7), (2, 2), (2, 6), (3, 3), (3, 5), (4, 4), (5, 3), (5, 5), (6, 2), (6, 6), (7, 1), (7, 7)}
    image = np.array([[1.0 if (i, j) in lit else -1.0 for j in range(9)] for i in range(9)])
    diagonal = 2 * np.eye(3) - 1
    cross = np.maximum(diagonal, diagonal[::-1])
    filters = np.stack([diagonal, cross, diagonal[::-1]])[:, None] / 9
    response = ops.conv2d(image[None, None], filters)
    table = np.trunc(response.numpy()[0] * 100 + 1e-9 * np.sign(response.numpy()[0])) / 100  # as the deck prints them
    np.testing.assert_array_equal(
        table[0],
        [
            [0.77, -0.11, 0.11, 0.33, 0.55, -0.11, 0.33],
            [-0.11, 1.00, -0.11, 0.33, -0.11, 0.11, -0.11],
            [0.11, -0.11, 1.00, -0.33, 0.11, -0.11, 0.55],
            [0.33, 0.33, -0.33, 0.55, -0.33, 0.33, 0.33],
            [0.55, -0.11, 0.11, -0.33, 1.00, -0.11, 0.11],
            [-0.11, 0.11, -0.11, 0.33, -0.11, 1.00, -0.11],
            [0.33, -0.11, 0.55, 0.33, 0.11, -0.11, 0.77],
        ],
    )
    np.testing.assert_array_equal(table[2], table[0][::-1])
    np.testing.assert_array_equal(np.abs(table[1][3]), [0.11, 0.33, 0.77, 1.00, 0.77, 0.33, 0.11])
    pooled = ops.max_pool2d(ops.relu(table), 2, ceil_mode=True).numpy()
    np.testing.assert_array_equal(
        pooled[0],
        [[1.00, 0.33, 0.55, 0.33], [0.33, 1.00, 0.33, 0.55], [0.55, 0.33, 1.00, 0.11], [0.33, 0.55, 0.11, 0.77]],
    )


@pytest.mark.parametrize("size, kernel, stride, padding", [(6, 3, 1, 0), (28, 5, 1, 2), (7, 2, 2, 0), (9, 3, 2, 1)])
def test_seed_c5(size, kernel, stride, padding):
    expected = (size - kernel + 2 * padding) // stride + 1
    image = np.ones((1, 3, size, size), np.float32)
    volume = ops.conv2d(image, np.ones((1, 3, kernel, kernel), np.float32), None, stride, padding)
    assert volume.shape == (1, 1, expected, expected)
    if 2 * padding <= kernel:
        assert ops.max_pool2d(image, kernel, stride, padding).shape == (1, 3, expected, expected)
    if (size, kernel) == (6, 3):
        assert expected == 4 and np.all(volume.numpy() == 27)


def test_seed_c7():
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 8))
    blocks = x.reshape(2, 6, 4, 2, 4, 2).transpose(0, 1, 2, 4, 3, 5).reshape(2, 6, 4, 4, 4)
    np.testing.assert_array_equal(ops.max_pool2d(x, 2).numpy(), blocks.max(-1))
    # mean sub-sampling is a convolution with 0.25 and stride 2, in each map
    quarter = np.full((6, 1, 2, 2), 0.25)
    np.testing.assert_allclose(ops.avg_pool2d(x, 2).numpy(), blocks.mean(-1), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        ops.avg_pool2d(x, 2).numpy(), ops.conv2d(x, quarter, None, 2, groups=6).numpy(), rtol=1e-12, atol=1e-15
    )
    # overlapping: windows of 3 at every second pixel (AlexNet)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))[:, :, ::2, ::2]
    np.testing.assert_array_equal(ops.max_pool2d(x, 3, 2).numpy(), windows.max((-2, -1)))
    # sub-sampling of LeNet's S2: the sum of four, a coefficient and a bias for each map, a sigmoid
    beta, b = (pynn.tensor(np.full((6, 1, 1), v), requires_grad=True) for v in (0.5, -1.0))
    down = ops.avg_pool2d(x, 2, divisor_override=1)
    y = ops.sigmoid(beta * down + b)
    expected = 1 / (1 + np.exp(1 - 0.5 * blocks.sum(-1)))
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12)
    y.sum().backward()
    slope = expected * (1 - expected)
    np.testing.assert_allclose(beta.grad.numpy()[:, 0, 0], (slope * blocks.sum(-1)).sum((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(b.grad.numpy()[:, 0, 0], slope.sum((0, 2, 3)), rtol=1e-9)
    assert beta.grad.numpy().size + b.grad.numpy().size == 2 * 6


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
