"""The gradient of the weight."""

import numpy as np
import pytest

import pynn
from opcase import THREADS, all_threads, isa, precision, same_bits
from pynn import ops


def test_long_weight_sums_go_in_blocks():
    x = np.full((40, 1, 128, 128), 0.1, np.float32)
    w = pynn.tensor(np.ones((1, 1, 1, 1), np.float32), requires_grad=True)
    ops.conv2d(x, w).backward(pynn.tensor(np.ones(x.shape, np.float32)))
    # blocks of 512 terms in one chain, 1280 of them in a tree of 11 levels: half an ulp a step
    limit = (512 + 11) * np.finfo(np.float32).eps / 2
    assert abs(w.grad.item() / (x.size * np.float64(np.float32(0.1))) - 1) <= limit


def check_weight(shape, o, kernel, before, dilation, size, groups=1, taps_mix=False):
    """Against float64; the same bits at any thread count and width of vectors.

    `taps_mix`: the error of a tap depends on all taps of its row. Returns x, dy and the gradient."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal(shape), rng.standard_normal((shape[0], o, *size))

    def gradient(x, dy, dtype=np.float32):
        x, dy = (pynn.tensor(a.astype(dtype))._array for a in (x, dy))
        return np.asarray(pynn._core.conv2d_weight(x, dy, kernel, (1, 1), before, dilation, groups, False)[0])

    result = gradient(x, dy)
    bound = 150 * np.finfo(np.float32).eps * gradient(abs(x), abs(dy), np.float64)
    if taps_mix:
        bound = bound.max(axis=3, keepdims=True)
    assert (abs(result - gradient(x, dy, np.float64)) <= bound).all()
    for threads in THREADS:
        with all_threads(threads):
            assert same_bits(gradient(x, dy), result)
    if {"avx2", "avx512"} <= set(pynn._core.supported_isas()):
        bits = []
        for name in ("avx2", "avx512"):
            with isa(name):
                bits.append(gradient(x, dy))
        assert same_bits(*bits)
    return x, dy, result


def check_bias(x, dy, dw, kernel, before, dilation=(1, 1)):
    """The gradient of the bias beside that of the weight, which has the same bits without it."""
    arrays = [pynn.tensor(a.astype(np.float32))._array for a in (x, dy)]
    limit = 150 * np.finfo(np.float32).eps * abs(dy).sum((0, 2, 3))
    bits = []
    for name in pynn._core.supported_isas():
        with isa(name), all_threads(3):
            weight, bias = pynn._core.conv2d_weight(*arrays, kernel, (1, 1), before, dilation, 1, True)
            alone, none = pynn._core.conv2d_weight(*arrays, kernel, (1, 1), before, dilation, 1, False)
        assert none is None and same_bits(np.asarray(weight), np.asarray(alone))
        assert name != pynn._core.isa_name() or same_bits(np.asarray(weight), dw)
        assert (abs(np.asarray(bias) - dy.sum((0, 2, 3))) <= limit).all()
        bits.append(np.asarray(bias))
    again = pynn._core.conv2d_weight(*arrays, kernel, (1, 1), before, dilation, 1, True)[1]
    assert all(same_bits(b, np.asarray(again)) for b in bits)  # sums alone: the same without fma


@pytest.mark.parametrize(
    "shape, o, kernel, before, dilation, size",
    [
        ((40, 1, 28, 28), 6, (5, 5), (2, 2), (1, 1), (28, 28)),  # more blocks than tasks
        ((3, 2, 91, 32), 5, (3, 2), (1, 1), (2, 1), (89, 32)),  # an image in unequal pieces
        ((2, 3, 1, 2100), 2, (1, 5), (0, 2), (1, 2), (1, 2096)),  # a row in unequal pieces
        ((5, 4, 9, 16), 1, (1, 1), (0, 0), (1, 1), (9, 16)),
        ((4, 16, 8, 8), 4, (2, 20), (0, 12), (1, 1), (7, 13)),  # rows of zeros wider than a vector
        ((3, 7, 3, 4), 3, (3, 3), (9, 8), (1, 1), (20, 18)),  # windows that see nothing but zeros
        ((2, 6, 12, 15), 6, (3, 3), (-2, -3), (1, 1), (8, 9)),  # a cropped input
        ((5, 8, 12, 9), 3, (3, 2), (1, 0), (1, 1), (12, 8)),
    ],
)
def test_weight_of_few_outputs(shape, o, kernel, before, dilation, size):
    x, dy, dw = check_weight(shape, o, kernel, before, dilation, size)
    check_bias(x, dy, dw, kernel, before, dilation)


@pytest.mark.parametrize(
    "shape, o, kernel, before, size",
    [
        ((40, 1, 28, 28), 20, (5, 5), (2, 2), (28, 28)),  # between zeros
        ((40, 1, 28, 28), 7, (5, 5), (2, 2), (28, 28)),  # two pixels share a vector
        ((300, 6, 14, 14), 16, (5, 5), (0, 0), (10, 10)),  # several images in a block
        ((130, 20, 9, 9), 40, (1, 1), (0, 0), (9, 9)),  # packed panels
    ],
)
def test_weight_of_few_parts_is_split_over_pixels(shape, o, kernel, before, size):
    check_weight(shape, o, kernel, before, (1, 1), size)


@pytest.mark.parametrize("taps, c, o", [(5, 6, 16), (5, 13, 4), (3, 17, 16), (3, 31, 13), (3, 1, 8)])
def test_weight_of_one_vector_of_outputs_at_any_width(taps, c, o):
    """Of each number of pixels, between zeros, that share the loads of the input."""
    for width in range(1, 20):
        check_weight((7, c, 3, width), o, (2, taps), (1, 1), (1, 1), (3, width))


@pytest.mark.parametrize("taps, c, o", [(5, 6, 16), (5, 13, 9), (3, 17, 16), (3, 8, 13), (3, 40, 33)])
def test_weight_by_winograd_at_any_width(taps, c, o):
    """Padded and cropped; blocks of several images, of one, and of rows of one."""
    for width in (*range(2, 20), 65):
        x, dy, dw = check_weight((16, c, 7, width), o, (taps, taps), (taps - 1, 1), (1, 1), (10, width), taps_mix=True)
        if width >= 10:  # tiles of up to 4 pixels that mostly hang over the end of a row do not pay
            check_bias(x, dy, dw, (taps, taps), (taps - 1, 1))
    check_weight((3, c, 41, 26), o, (taps, taps), (-2, -3), (1, 1), (35, 19), taps_mix=True)


@pytest.mark.parametrize(
    "shape, o, kernel, before, dilation, size, groups",
    [
        ((24, 96, 7, 7), 40, (3, 3), (1, 1), (1, 1), (7, 7), 1),  # blocks of ten images, of four the last
        ((25, 64, 7, 7), 98, (1, 1), (0, 0), (1, 1), (7, 7), 1),
        ((3, 100, 14, 15), 20, (3, 3), (1, 1), (1, 1), (14, 15), 1),  # dy of less than a panel
        ((2, 96, 40, 23), 33, (3, 2), (1, 0), (2, 1), (38, 22), 1),  # blocks of rows
        ((3, 192, 9, 9), 66, (3, 3), (1, 1), (1, 1), (9, 9), 2),
        ((2, 192, 9, 9), 20, (3, 3), (1, 1), (1, 1), (9, 9), 2),
        ((2, 97, 3, 4), 9, (3, 3), (9, 8), (1, 1), (20, 18), 1),  # windows that see nothing but zeros
        ((2, 96, 12, 15), 12, (3, 3), (-2, -3), (1, 1), (8, 9), 1),  # a cropped input
        ((1, 150, 2, 700), 9, (2, 2), (0, 1), (1, 1), (1, 512), 1),
        ((2, 1100, 5, 5), 300, (1, 1), (0, 0), (1, 1), (5, 5), 1),  # several groups of strips
        ((24, 150, 8, 8), 130, (3, 3), (1, 1), (1, 1), (8, 8), 1),  # by Winograd in three parts of the channels
        ((17, 90, 8, 8), 70, (5, 5), (2, 2), (1, 1), (8, 8), 1),  # in two
    ],
)
@pytest.mark.parametrize("mode", ["fast", "strict"])
def test_weight_of_many_channels(shape, o, kernel, before, dilation, size, groups, mode):
    with precision(mode):
        check_many_channels(shape, o, kernel, before, dilation, size, groups)


def check_many_channels(shape, o, kernel, before, dilation, size, groups):
    x, dy, dw = check_weight(shape, o, kernel, before, dilation, size, groups)

    def part(group, channels):  # so few channels go another way, with the same bits
        x_part = np.split(x, groups, 1)[group][:, channels : channels + 50]
        arrays = [pynn.tensor(a.astype(np.float32))._array for a in (x_part, np.split(dy, groups, 1)[group])]
        return np.asarray(pynn._core.conv2d_weight(*arrays, kernel, (1, 1), before, dilation, 1, False)[0])

    parts = [[part(group, c) for c in range(0, shape[1] // groups, 50)] for group in range(groups)]
    assert same_bits(dw, np.concatenate([np.concatenate(of_group, 1) for of_group in parts]))


@pytest.mark.parametrize("c", [20, 64])
def test_weight_adds_blocks_in_a_tree(c):
    """Blocks of ten images, of which one pixel is not zero, 13 of them."""
    rng = np.random.default_rng(0)
    blocks = rng.standard_normal((13, c), dtype=np.float32)
    x = np.zeros((13, 10, c, 7, 7), np.float32)
    x[:, 3, :, 2, 5] = blocks
    dy = pynn.tensor(np.ones((130, 128, 7, 7), np.float32))._array
    x = pynn.tensor(x.reshape(130, c, 7, 7))._array
    dw, _ = pynn._core.conv2d_weight(x, dy, (1, 1), (1, 1), (0, 0), (1, 1), 1, False)

    def tree(sums):
        if len(sums) == 1:
            return sums[0]
        half = 2 ** ((len(sums) - 1).bit_length() - 1)
        return tree(sums[:half]) + tree(sums[half:])

    assert (np.asarray(dw)[:, :, 0, 0] == tree(blocks)).all()
