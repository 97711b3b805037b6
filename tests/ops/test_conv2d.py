from functools import partial

import numpy as np
import pytest

import pynn
from guardpage import guarded
from opcase import THREADS, OpCase, all_threads, isa, precision, same_bits, suite
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
    "few outputs": ((3, 5, 1, (5, 5)), {"padding": ((3, 3), (3, 3))}),
    "few channels": ((4, 6, 1, (5, 5)), {"padding": ((2, 2), (2, 2)), "activation": "tanh"}),
    "few channels, strided": ((2, 3, 1, (3, 4)), {"stride": (2, 3), "padding": ((1, 2), (3, 1)), "dilation": (2, 1)}),
    "one vector of outputs": ((4, 16, 1, (5, 5)), {"padding": ((2, 2), (3, 1)), "activation": "relu"}),
    "one vector of outputs, strided": ((4, 11, 1, (2, 3)), {"stride": (1, 2), "padding": ((1, 0), (1, 2))}),
    "one channel": ((1, 41, 1, (3, 5)), {"padding": ((1, 1), (2, 2)), "activation": "relu"}),
    "winograd 3": ((33, 40, 1, (3, 3)), {"padding": ((1, 1), (1, 1))}),
    "winograd rows 3": ((9, 12, 1, (3, 3)), {"padding": ((2, 1), (1, 3)), "activation": "tanh"}),
    "winograd rows 5": ((6, 16, 1, (5, 5)), {"padding": ((3, 3), (3, 1))}),
    "winograd 5": ((32, 35, 1, (5, 5)), {"padding": ((2, 2), (2, 1)), "activation": "relu"}),
}
CASES = [
    OpCase(
        name,
        ops.conv2d,
        reference.conv2d,
        partial(draw, *shape),
        kwargs,
        bound=bound,
        differentiable=() if name.startswith("winograd") else (0, 1, 2),  # that is for float32
        sizes=(0, 1, 3),
        large=5 if name.startswith("winograd") else 40,
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


def random_layer(rng):
    """Any layer that fits: input (n, c, h, w), weight (o, c / groups, kh, kw), stride, padding, dilation, groups."""
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    c, o = (groups * int(rng.choice([1, 1, 2, 3, 5, 6, 8, 16, 17, 20])) for _ in range(2))
    kernel, dilation = rng.integers(1, 6, 2), rng.choice([1, 1, 2, 3], 2)
    stride, padding = rng.choice([1, 1, 2, 3], 2), rng.integers(0, 4, (2, 2))
    least = np.maximum(1, dilation * (kernel - 1) + 1 - padding.sum(1))
    size = least + rng.integers(0, 14, 2)
    weight = o, c // groups, *kernel
    return (int(rng.integers(1, 5)), c, *size), weight, stride.tolist(), padding.tolist(), dilation.tolist(), groups


@pytest.mark.parametrize("seed", range(150))
def test_any_layer(seed):
    """Output against the reference; both gradients as adjoints of the reference, which is linear in either operand."""
    rng = np.random.default_rng(seed)
    shape, weight, stride, padding, dilation, groups = random_layer(rng)
    x, w, b = rng.standard_normal(shape), rng.standard_normal(weight), rng.standard_normal(weight[0])
    for dtype in (np.float64, np.float32):
        limit = 20 * np.finfo(dtype).eps
        tensors = [pynn.tensor(a.astype(dtype), requires_grad=True) for a in (x, w, b)]
        y = ops.conv2d(*tensors, stride, padding, dilation, groups)
        expected = reference.conv2d(x, w, b, stride, padding, dilation, groups)
        size = reference.conv2d(abs(x), abs(w), abs(b), stride, padding, dilation, groups)
        assert y.shape == expected.shape
        assert (abs(y.detach().numpy() - expected) <= limit * size).all()
        probe = rng.standard_normal(y.shape).astype(dtype)
        y.backward(pynn.tensor(probe))
        x_like, w_like = (rng.standard_normal(a.shape) for a in (x, w))
        for tensor, other, product, magnitude in [
            (tensors[0], x_like, (x_like, w), (abs(x_like), abs(w))),
            (tensors[1], w_like, (x, w_like), (abs(x), abs(w_like))),
        ]:
            total = np.sum(probe * reference.conv2d(*product, None, stride, padding, dilation, groups))
            bound = np.sum(abs(probe) * reference.conv2d(*magnitude, None, stride, padding, dilation, groups))
            assert abs(np.sum(tensor.grad.numpy() * other, dtype=np.float64) - total) <= limit * bound
        np.testing.assert_allclose(tensors[2].grad.numpy(), probe.sum((0, 2, 3)), atol=limit * abs(probe).sum())


def few_channels(rng):
    """c, o, height, width, kernel, stride, padding, dilation of a layer whose vectors may lie over the pixels."""
    kernel, dilation = rng.integers(1, 8, 2), rng.choice([1, 1, 1, 2, 3], 2)
    padding = rng.integers(0, 4, (2, 2))
    if rng.random() < 0.1:
        padding += 20  # more than the image
    size = np.array([rng.integers(1, 20), rng.choice([1, 7, 14, 15, 16, 17, 28, 33, 100])])
    size = np.maximum(size, dilation * (kernel - 1) + 1 - padding.sum(1))
    stride = rng.choice([1, 1, 1, 2, 3], 2).tolist()
    return (
        rng.choice([1, 2, 3, 5, 16, 17]),
        rng.integers(1, 9),
        *size,
        kernel,
        stride,
        padding.tolist(),
        dilation.tolist(),
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "taps, c, o", [(3, 3, 16), (3, 3, 9), (5, 3, 16), (5, 3, 13), (3, 1, 32), (5, 1, 41), (5, 1, 17)]
)
def test_row_tiles_at_any_width(taps, c, o, stride):
    """The pixels that share a tile are as many as the row has: at the borders, and of each number."""
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((o, c, 2, taps)), rng.standard_normal(o)
    for width in range(1, 31):
        x = rng.standard_normal((2, c, 4, width))
        args = b, (1, stride), ((1, 0), (2, taps - 1)), (2, 1)
        expected, size = (reference.conv2d(f(x), f(w), f(args[0]), *args[1:]) for f in (np.array, abs))
        f32 = x.astype(np.float32), w.astype(np.float32), b.astype(np.float32)
        bits = {}
        for name in pynn._core.supported_isas():
            with isa(name):
                bits[name] = y = ops.conv2d(*f32, *args[1:]).numpy()
                assert same_bits(ops.conv2d(f32[0][1:], *f32[1:], *args[1:]).numpy(), y[1:])
            assert (abs(y - expected) <= 20 * np.finfo(np.float32).eps * size).all()
        del bits["baseline"]
        assert all(same_bits(y, other) for other in bits.values())


@pytest.mark.parametrize("kernel, stride", [(3, 1), (2, 2)])
@pytest.mark.parametrize("name", pynn._core.supported_isas())
def test_what_is_larger_than_the_caches(name, kernel, stride):
    """From 48 MiB on the output is written around them: the bits of its images."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 2, 200 * stride, 360 * stride), np.float32)
    w, b = rng.standard_normal((64, 2, kernel, kernel), np.float32), rng.standard_normal(64, np.float32)
    geometry = stride, kernel - stride
    with isa(name), all_threads(3):
        y = ops.conv2d(x, w, b, *geometry).numpy()
        assert y.nbytes >= 48 << 20
        assert same_bits(y[1], ops.conv2d(x[1], w, b, *geometry).numpy())


@pytest.mark.parametrize("seed", range(120))
def test_few_channels_have_the_bits_of_many(seed):
    """The output, and the gradient of the input, are the first channels of a layer with 20 others."""
    rng = np.random.default_rng(seed)
    c, o, h, w, kernel, *geometry = few_channels(rng)
    bias, more = rng.standard_normal(o + 20), rng.standard_normal((o + 20, c, *kernel))
    x = rng.standard_normal((3, c, h, w))
    for dtype in (np.float32, np.float64):
        b, many, image = bias.astype(dtype), more.astype(dtype), pynn.tensor(x.astype(dtype))
        y = ops.conv2d(image, many[:o], b[:o], *geometry, activation="relu").numpy()
        assert same_bits(y, ops.conv2d(image, many, b, *geometry, activation="relu").numpy()[:, :o].copy())
        row = kernel[1] * o
        if dtype == np.float32 and 5 * row >= 4 * (row + -row % 16):
            continue  # rows of taps that fill vectors are summed in an order of their own
        dy = rng.standard_normal((3, c, *y.shape[2:])).astype(dtype)
        turned, gradients = many.transpose(1, 0, 2, 3), []
        for channels in (o, o + 20):
            operand = pynn.tensor(np.ones((3, channels, h, w), dtype), requires_grad=True)
            ops.conv2d(operand, turned[:, :channels], None, *geometry).backward(pynn.tensor(dy))
            gradients.append(operand.grad.numpy()[:, :o].copy())
        assert same_bits(*gradients)


def test_what_was_right_before_is_checked_again():
    """Geometries are remembered; 1.0 and True are equal to 1 and no integers, a list is as good as a tuple."""
    x, w = np.ones((1, 2, 4, 4)), np.ones((2, 1, 3, 3))
    y = ops.conv2d(x, w, stride=(1, 1), padding=1, groups=2).numpy()
    assert same_bits(ops.conv2d(x, w, stride=[1, 1], padding=[[1, 1], 1], groups=2).numpy(), y)
    for wrong in ({"stride": (1.0, 1)}, {"stride": (True, 1)}, {"padding": 1.0}, {"groups": 2.0}, {"groups": True}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ops.conv2d(x, w, **{"stride": (1, 1), "padding": 1, "groups": 2, **wrong})


@pytest.mark.parametrize("at", ["begin", "end"])
@pytest.mark.parametrize("mode", ["fast", "strict"])
@pytest.mark.parametrize(
    "c, o, kernel, padding",
    [
        *((1, 6, 5, 2), (3, 5, 2, 1), (6, 16, 5, 0), (6, 16, 5, 2), (9, 12, 3, 1), (16, 16, 3, 1), (20, 24, 3, 0)),
        *((33, 40, 3, 1), (32, 32, 5, 2), (97, 20, 3, 1), (1, 41, 5, 0)),
    ],
)
def test_no_byte_beyond_an_array_is_touched(c, o, kernel, padding, mode, at):
    """Neither by the forward pass nor by the gradients; what they write lies in the pool, where the bits would tell."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((8, 11, 12, c)), rng.standard_normal((o, kernel, kernel, c))
    bias, size = rng.standard_normal(o), [n + 2 * padding - kernel + 1 for n in (11, 12)]
    given = [a.astype(np.float32) for a in (x, w, bias, rng.standard_normal((8, *size, o)))]

    def run(arrays):
        x, w, bias, dy = (pynn.as_tensor(a.transpose(0, 3, 1, 2) if a.ndim == 4 else a) for a in arrays)
        x, w, bias = (t.detach().requires_grad_() for t in (x, w, bias))
        y = ops.conv2d(x, w, bias, padding=padding)
        y.backward(dy)
        return [t.numpy() for t in (y.detach(), x.grad, w.grad, bias.grad)]

    with precision(mode):
        assert all(map(same_bits, run([guarded(a, at) for a in given]), run(given)))


@pytest.mark.parametrize(
    "shape, c, kernel, before, dilation, size",
    [
        ((5, 16, 10, 10), 6, (5, 5), (0, 0), 1, (14, 14)),
        ((2, 16, 13, 17), 3, (5, 5), (2, 2), 1, (13, 17)),
        ((3, 20, 9, 29), 8, (3, 4), (1, 3), 2, (11, 26)),  # more columns than a tile, dilated rows
        ((2, 40, 3, 31), 8, (1, 2), (0, 0), 1, (3, 32)),
        ((2, 9, 12, 12), 1, (6, 13), (6, 6), 1, (5, 12)),
        ((2, 70, 5, 8), 4, (9, 8), (12, 3), 1, (20, 30)),  # rows and columns of zeros only
        ((2, 16, 2, 20), 3, (5, 5), (3, 2), 1, (0, 20)),
    ],
)
def test_data_of_few_inputs(shape, c, kernel, before, dilation, size):
    """Against float64, which sums in another way; the same bits in any split and at any width; NaN stays put."""
    rng = np.random.default_rng(0)
    dy, w, b = rng.standard_normal(shape), rng.standard_normal((shape[1], c, *kernel)), rng.standard_normal(c)

    def gradient(dy, w, b, dtype=np.float32, activation="none"):
        dy, w, b = (None if a is None else pynn.tensor(a.astype(dtype))._array for a in (dy, w, b))
        return np.asarray(pynn._core.conv2d_data(dy, w, b, activation, size, (1, 1), before, (dilation, 1), 1))

    result = gradient(dy, w, b)
    bound = (shape[1] * kernel[0] + kernel[1] + 3) * np.finfo(np.float32).eps * gradient(*map(abs, (dy, w, b)), "f8")
    assert (abs(result - gradient(dy, w, b, np.float64)) <= bound).all()
    assert same_bits(gradient(dy, w, b, activation="relu"), np.where(result <= 0, np.float32(0), result))
    assert same_bits(gradient(dy[1:2], w, b), result[1:2].copy())
    for threads in THREADS:
        with all_threads(threads):
            assert same_bits(gradient(dy, w, b), result)
    if {"avx2", "avx512"} <= set(pynn._core.supported_isas()):
        bits = []
        for name in ("avx2", "avx512"):
            with isa(name):
                bits.append(gradient(dy, w, b))
        assert same_bits(*bits)
    for column in (0, shape[3] - 1):
        dy[0, 2, 1, column] = np.nan
        assert same_bits(np.isnan(gradient(dy, w, None)), np.isnan(gradient(dy, w, None, np.float64)))


def test_errors():
    x, w = np.ones((1, 3, 5, 5), np.float32), np.ones((4, 3, 3, 3), np.float32)
    for arguments, message in [
        ((x[:, :2], w), r"conv2d: expected 3 input channels, got 2 \(input shape \(1, 2, 5, 5\)\)"),
        ((x, w, np.ones(3, np.float32)), r"conv2d: expected a bias of shape \(4,\), got \(3,\)"),
        ((x, w, None, 0), "conv2d: expected stride as integers >= 1"),
        ((x, w, None, 2, "same"), "conv2d: padding 'same' needs stride 1"),
        ((x, w, None, 1, -1), "conv2d: expected padding as integers >= 0"),
        ((x[:, :, :2], w), r"conv2d: the kernel \(3, 3\) is larger than the padded input"),
        ((x, w, None, 1, 0, 1, 3), "conv2d: expected groups that divide 4 channels"),
        ((x, w, None, 1, 2**31 - 1), "conv2d: a size is too large"),
        ((x, w, None, 1, 2**62), r"conv2d: expected padding as integers >= 0 and < 2.31, pairs, .*, got 4611686018"),
        ((x, w, None, 1, ((0, 0), (0, 2**31))), "conv2d: expected padding as integers >= 0 and < 2.31"),
        ((x, w, None, (2**62, 1)), r"conv2d: expected stride as integers >= 1 and < 2.31, one or 2, got \(4611"),
        ((x, w, None, 1, 0, 2**70), "conv2d: expected dilation as integers >= 1 and < 2.31, one or 2, got 11805"),
        ((x, w, None, 1, np.array([1, 1])), r"conv2d: expected padding as .*, got array\(\[1, 1\]\)"),
        ((x, w, None, 1, 0, 1, np.array([1, 1])), "conv2d: expected groups that divide 4 channels"),
    ]:
        with pytest.raises(ValueError, match=message):
            ops.conv2d(*arguments)
    assert same_bits(ops.conv2d(x, w, None, 1, pynn.tensor(1)).numpy(), ops.conv2d(x, w, None, 1, 1).numpy())
    for kwargs in ({"padding": 2**62}, {"stride": 2**62}, {"dilation": 2**62}, {"padding": "same"}):
        with pytest.raises(ValueError, match=f"conv_transpose2d: expected {next(iter(kwargs))} as integers"):
            ops.conv_transpose2d(x, w.transpose(1, 0, 2, 3), **kwargs)
    with pytest.raises(TypeError, match="conv2d: expected weight of the input's dtype float32, got float64"):
        ops.conv2d(x, w.astype(np.float64))
    with pytest.raises(TypeError, match="conv1d: expected bias of the input's dtype float32, got float64"):
        ops.conv1d(x[0], w[0], np.zeros(3))


@pytest.mark.parametrize(
    "stride, before, dilation", [(1, 1 << 60, 1), (1, -(1 << 63), 1), (1 << 62, 0, 1), (1, 0, 1 << 62)]
)
def test_sizes_whose_products_overflow_are_errors(stride, before, dilation):
    x, w = (pynn.tensor(np.ones(shape, np.float32))._array for shape in [(1, 4, 5, 5), (4, 4, 3, 3)])
    geometry = (stride, 1), (before, 0), (dilation, 1), 1
    for call in (
        lambda: pynn._core.conv2d(x, w, None, "none", (5, 5), *geometry),
        lambda: pynn._core.conv2d_data(x, w, None, "none", (5, 5), *geometry),
        lambda: pynn._core.conv2d_weight(x, x, (3, 3), *geometry, False),
    ):
        with pytest.raises(ValueError, match="conv2d: a size is too large"):
            call()


@pytest.mark.parametrize(
    ("x", "w", "dtype"),
    [
        ([1, 2, 3], [0, 1, 0.5], np.float32),
        ([1, 2, 3], [0, 1], np.float32),
        (np.array([1.0, 2.0, 3.0]), [0.1, 1, 0.3], np.float64),
        ([0.1, 2, 3], np.array([0.3, 1.0]), np.float64),
        (np.array([1, 2, 3]), np.array([0.5, 1.0], np.float32), np.float32),
        ([[1, 2], [3, 4]], [[1, 0.5]], np.float32),
    ],
)
def test_convolve_takes_lists_and_integers(x, w, dtype):
    y = ops.convolve(x, w)
    if np.ndim(x) == 1:
        expected = np.convolve(np.array(x, dtype), np.array(w, dtype))
    else:
        expected = [np.convolve(row, w[0]) for row in x]
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), expected, rtol=4 * np.finfo(dtype).eps)
    with pytest.raises(TypeError, match="float64"):
        ops.convolve(np.ones(3, np.float32), np.ones(2))
