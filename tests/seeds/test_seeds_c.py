"""Convolutions, pooling and LeNets of the lecture decks (ids C1 to C5, C7, C8, C10)."""

import numpy as np
import pytest

import pynn
from pynn import models, nn, ops


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


def shapes_and_parameters(model):
    """Of the layers that change the shape, for one image of 28 x 28."""
    table = nn.summary(model, (1, 28, 28))
    rows = [row for row in table.rows if row.kind in ("Conv2d", "AvgPool2d", "MaxPool2d", "Linear")]
    return [(row.output_shape[1:], row.parameters) for row in rows], table.parameters


def test_seed_c10_the_lenet_of_tensorflow():
    layers, parameters = shapes_and_parameters(models.lenet_tf())
    assert layers == [
        ((32, 28, 28), 32 * 25 + 32),
        ((32, 14, 14), 0),
        ((64, 14, 14), 64 * 32 * 25 + 64),
        ((64, 7, 7), 0),
        ((1024,), 7 * 7 * 64 * 1024 + 1024),
        ((10,), 1024 * 10 + 10),
    ]
    assert parameters == 3_274_634
    kinds = [type(layer).__name__ for layer in models.lenet_tf()]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert models.lenet_tf()[9].p == 0.5
    # the softmax of the last layer is the loss's in training, predict's afterwards
    probabilities = models.lenet_tf().predict(np.random.default_rng(0).random((3, 1, 28, 28), np.float32))
    assert probabilities.shape == (3, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_seed_c10_lenet5(pooling):
    layers, parameters = shapes_and_parameters(models.lenet5(pooling=pooling))
    assert layers == [
        ((6, 28, 28), 156),
        ((6, 14, 14), 0),
        ((16, 10, 10), 16 * 6 * 25 + 16),
        ((16, 5, 5), 0),
        ((120,), 48_120),
        ((84,), 10_164),
        ((10,), 850),
    ]
    assert parameters == 61_706
