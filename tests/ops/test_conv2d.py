from functools import partial

import numpy as np
import pytest

import pynn
from opcase import OpCase, same_bits, suite
from pynn import ops
from pynn.reference import conv2d as reference


def draw(c, o, groups, kernel, rng, n):
    x = rng.standard_normal((min(n, 40), c, 7, 9))
    return x, rng.standard_normal((o, c // groups, *kernel)), rng.standard_normal(o)


def bound(x, weight, bias):
    # a chain of K terms: at most K half-ulps of sum |x||w|, bounded by the norms
    terms = np.prod(weight.shape[1:])
    largest = np.linalg.norm(weight.reshape(len(weight), -1), axis=1).max(initial=0)
    return 1 + terms * largest * np.abs(x).max(initial=0) + np.abs(bias).max()


SHAPES = {
    "plain": ((3, 5, 1, (3, 3)), {}),
    "strided": ((4, 33, 1, (3, 2)), {"stride": (2, 3), "padding": ((1, 0), (2, 1))}),
    "dilated": ((2, 17, 1, (2, 3)), {"dilation": (2, 2), "padding": ((1, 1), (1, 1))}),
    "grouped": ((4, 6, 2, (3, 3)), {"groups": 2, "padding": ((1, 1), (1, 1))}),
    "depthwise": ((3, 3, 3, (3, 3)), {"groups": 3, "stride": (2, 2)}),
    "pixel": ((6, 4, 1, (1, 1)), {"activation": "tanh"}),
}
CASES = [
    OpCase(
        name,
        ops.conv2d,
        reference.conv2d,
        partial(draw, *shape),
        kwargs,
        bound=bound,
        differentiable=(0, 1, 2),
        sizes=(0, 1, 3),
        large=40,
    )
    for name, (shape, kwargs) in SHAPES.items()
]
test_op = suite(CASES)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_activation_has_the_bits_of_the_op(activation):
    x, w, b = (a.astype(np.float32) for a in draw(3, 5, 1, (3, 3), np.random.default_rng(1), 4))
    plain = ops.conv2d(x, w, b)
    assert same_bits(ops.conv2d(x, w, b, activation=activation).numpy(), getattr(ops, activation)(plain).numpy())


def test_output_has_its_channels_last():
    assert ops.conv2d(np.ones((2, 3, 8, 8)), np.ones((4, 3, 3, 3)))._array.strides == (144, 1, 24, 4)


@pytest.mark.parametrize("padding", [0, 1, (1, 2)])
@pytest.mark.parametrize("stride, extra", [(1, 0), (2, 1), ((3, 2), (2, 0))])
@pytest.mark.parametrize("groups", [1, 2])
def test_transpose_is_the_adjoint(padding, stride, extra, groups):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 4, 5, 6)), rng.standard_normal((4, 3, 3, 3))
    y = ops.conv_transpose2d(x, w, None, stride, padding, extra, groups).numpy()
    probe = rng.standard_normal(y.shape)
    back = ops.conv2d(probe, w, None, stride, padding, 1, groups).numpy()
    assert back.shape == x.shape
    np.testing.assert_allclose(np.sum(y * probe), np.sum(back * x), rtol=1e-10)
    tensors = [pynn.tensor(a, requires_grad=True) for a in (x[:1, :, :3, :3], w, rng.standard_normal(3 * groups))]
    pynn.autograd.gradcheck(lambda *t: ops.conv_transpose2d(*t, stride, padding, extra, groups), tensors)


def test_one_axis_and_single_images():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 11)), rng.standard_normal((4, 3, 3))
    y = ops.conv1d(x, w, None, 2, 1, 2).numpy()
    whole = reference.conv2d(x[:, :, None], w[:, :, None], None, (1, 2), ((0, 0), (1, 1)), (1, 2))
    np.testing.assert_allclose(y, whole[:, :, 0], rtol=1e-12)
    assert same_bits(ops.conv1d(x[0], w, None, 2, 1, 2).numpy(), y[0])
    assert ops.conv1d(x, w, padding="same").shape == (2, 4, 11)
    up = ops.conv_transpose1d(y, w, None, 2, 1, 0, 1, 2).numpy()
    np.testing.assert_allclose(np.sum(up * x), np.sum(y * y), rtol=1e-10)


def test_long_weight_sums_go_in_blocks():
    x = np.full((40, 1, 128, 128), 0.1, np.float32)
    w = pynn.tensor(np.ones((1, 1, 1, 1), np.float32), requires_grad=True)
    ops.conv2d(x, w).backward(pynn.tensor(np.ones(x.shape, np.float32)))
    # blocks of 512 terms in one chain, 1280 of them in a tree of 11 levels: half an ulp a step
    limit = (512 + 11) * np.finfo(np.float32).eps / 2
    assert abs(w.grad.item() / (x.size * np.float64(np.float32(0.1))) - 1) <= limit


def test_errors():
    x, w = np.ones((1, 3, 5, 5), np.float32), np.ones((4, 3, 3, 3), np.float32)
    for arguments, message in [
        ((x[:, :2], w), r"conv2d: expected 3 input channels, got 2 \(input shape \(1, 2, 5, 5\)\)"),
        ((x, w, np.ones(3, np.float32)), r"conv2d: expected a bias of shape \(4,\), got \(3,\)"),
        ((x, w, None, 0), "conv2d: expected stride as integers >= 1"),
        ((x, w, None, 2, "same"), "conv2d: padding 'same' needs stride 1"),
        ((x, w, None, 1, -1), "conv2d: expected padding as integers >= 0"),
        ((x[:, :, :2], w), "conv2d: the kernel is larger than the padded input"),
        ((x, w, None, 1, 0, 1, 3), "conv2d: expected groups that divide 4 channels"),
    ]:
        with pytest.raises(ValueError, match=message):
            ops.conv2d(*arguments)
    with pytest.raises(TypeError, match="float"):
        ops.conv2d(x, w.astype(np.float64))
