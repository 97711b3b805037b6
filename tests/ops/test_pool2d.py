from functools import partial

import numpy as np
import pytest

import pynn
from guardpage import guarded
from opcase import OpCase, all_threads, isa, same_bits, suite
from pynn import _core, ops
from pynn.reference import pool2d as reference


def draw(channels, height, width, rng, n):
    """Distinct numbers: the largest of a window is no kink."""
    n = min(n, 40)
    x = rng.permutation(n * channels * height * width).reshape(n, channels, height, width)
    return ((x - x.size / 2) / 64,)


def columns(height, width, rng, n):
    """Pixels of n channels."""
    return (draw(max(n, 1), height, width, rng, 3)[0][:, :n],)


MAX = {
    "lenet": ((6, 8, 8), {"kernel_size": 2}),
    "one channel": ((1, 9, 7), {"kernel_size": 2}),
    "wide rows": ((3, 8, 23), {"kernel_size": (3, 2)}),
    "side by side": ((20, 7, 10), {"kernel_size": 3}),
    "overlapping": ((5, 9, 9), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "many channels": ((37, 7, 7), {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0)}),
    "dilated": ((3, 9, 11), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}),
    "ceil": ((6, 8, 7), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    "beyond the padding": ((6, 2, 3), {"kernel_size": (3, 4), "stride": 2, "padding": (0, 1), "ceil_mode": True}),
    "beyond, dilated": (
        (5, 3, 4),
        {"kernel_size": 3, "stride": 3, "padding": (0, 1), "dilation": 2, "ceil_mode": True},
    ),
    "gaps": ((9, 8, 8), {"kernel_size": 1, "stride": 3}),
    "wide numbers": ((3, 20, 18), {"kernel_size": (17, 18), "stride": 1}),
}
AVERAGE = {
    "lenet": ((6, 8, 8), {"kernel_size": 2}),
    "wide rows": ((3, 8, 23), {"kernel_size": (3, 2)}),
    "side by side": ((20, 7, 10), {"kernel_size": 3}),
    "sixths": ((16, 9, 8), {"kernel_size": (3, 2), "padding": (0, 1)}),
    "overlapping": ((5, 9, 9), {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    "many channels": ((37, 7, 7), {"kernel_size": 3, "stride": 1, "padding": 1}),
    "ceil": ((6, 8, 7), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    "beyond the padding": ((6, 2, 3), {"kernel_size": (3, 4), "stride": 2, "padding": (0, 1), "ceil_mode": True}),
    "beyond, not counted": ((9, 2, 1), {"kernel_size": 3, "ceil_mode": True, "count_include_pad": False}),
    "beyond, divisor": ((4, 1, 2), {"kernel_size": 4, "ceil_mode": True, "divisor_override": 7}),
    "divisor": ((9, 8, 8), {"kernel_size": 2, "stride": 3, "divisor_override": -3}),
    "many of many channels": (
        (69, 9, 11),
        {"kernel_size": (3, 5), "stride": 2, "padding": (1, 2), "count_include_pad": False},
    ),
}
ADAPTIVE = {
    "even": ((6, 8, 8), (4, 2)),
    "odd": ((17, 7, 9), (5, 4)),
    "global": ((33, 7, 7), (1, 1)),
    "more": ((4, 3, 2), (5, 5)),
    "many of many channels": ((69, 5, 13), (2, 3)),
}


def case(name, op, shape, kwargs, **more):
    # a mean of K terms: at most K half-ulps of the largest
    return OpCase(
        f"{op} {name}",
        getattr(ops, op),
        getattr(reference, op),
        partial(draw, *shape),
        kwargs,
        sizes=(0, 1, 3),
        large=40,
        bound=None if "max" in op else lambda x: 16 + np.abs(x).max(initial=0),
        **more,
    )


CASES = [
    *(case(name, "max_pool2d", *c, tolerance=0) for name, c in MAX.items()),
    *(case(name, "avg_pool2d", *c) for name, c in AVERAGE.items()),
    *(
        case(name, op, shape, {"output_size": size})
        for op in ("adaptive_max_pool2d", "adaptive_avg_pool2d")
        for name, (shape, size) in ADAPTIVE.items()
    ),
    *(
        OpCase(f"{op} of n channels", getattr(ops, op), getattr(reference, op), partial(columns, 5, 6), kwargs)
        for op in ("max_pool2d", "avg_pool2d")
        for kwargs in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 1, "padding": 1})
    ),
]
test_op = suite(CASES)


def test_of_equal_elements_the_first_wins():
    x = pynn.tensor(np.ones((1, 2, 4, 4), np.float32), requires_grad=True)
    y, indices = ops.max_pool2d(x, 3, 1, 1, return_indices=True)
    np.testing.assert_array_equal(indices.numpy()[0, 1], [[0, 0, 1, 2], [0, 0, 1, 2], [4, 4, 5, 6], [8, 8, 9, 10]])
    y.sum().backward()
    expected = np.bincount(indices.numpy()[0, 0].ravel(), minlength=16).reshape(4, 4)
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], expected)


@pytest.mark.parametrize("channels", [1, 6, 16, 33])
def test_special_values(channels):
    nan, inf = np.nan, np.inf
    rows = [[1, nan, -inf, -inf, -0.0, 0.0], [nan, 5, -inf, -inf, 0.0, -0.0]]
    x = np.tile(np.array(rows, np.float32), (1, channels, 1, 1))
    for name in _core.supported_isas():
        with isa(name):
            y, indices = ops.max_pool2d(x, 2, return_indices=True)
            mean = ops.avg_pool2d(x, 2).numpy()
        for c in range(channels):
            np.testing.assert_array_equal(y.numpy()[0, c], [[nan, -inf, 0]])
            np.testing.assert_array_equal(indices.numpy()[0, c], [[6, 2, 4]])  # the last NaN, the first of equals
            assert np.signbit(y.numpy()[0, c, 0, 2])
            np.testing.assert_array_equal(mean[0, c], [[nan, -inf, 0]])
    assert not np.signbit(ops.avg_pool2d(np.full((1, channels, 2, 2), -0.0, np.float32), 2).numpy()).any()


@pytest.mark.parametrize("channels", range(1, 18))
@pytest.mark.parametrize("size", [(2, 2), (2, 3), (5, 4), (3, 9), (4, 34), (2, 67)])
def test_windows_side_by_side_have_exact_bits(channels, size):
    """Several pixels share a vector where it has room: every element is its window's own, in the documented order."""
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (3, channels, *size)).astype(np.float32) * np.float32(1.1)  # with equal elements
    high, wide = size[0] // 2, size[1] // 2
    taps = [x[:, :, i : 2 * high : 2, j : 2 * wide : 2] for i in (0, 1) for j in (0, 1)]
    grad = rng.standard_normal(taps[0].shape).astype(np.float32)
    winner = np.argmax(taps, axis=0)
    mean = ((np.float32(0) + (taps[0] + taps[1])) + (taps[2] + taps[3])) * np.float32(0.25)
    for_max, for_mean = np.zeros_like(x), np.zeros_like(x)
    for number, (i, j) in enumerate(np.ndindex(2, 2)):
        for_max[:, :, i : 2 * high : 2, j : 2 * wide : 2] = np.where(winner == number, grad, 0)
        for_mean[:, :, i : 2 * high : 2, j : 2 * wide : 2] = grad * np.float32(0.25)
    for name in _core.supported_isas():
        for op, y, dx in ((ops.max_pool2d, np.max(taps, 0), for_max), (ops.avg_pool2d, mean, for_mean)):
            leaf = pynn.tensor(x, requires_grad=True)
            with isa(name), all_threads(3):
                out = op(leaf, 2)
                out.backward(pynn.tensor(grad))
            assert same_bits(out.detach().numpy(), y) and same_bits(leaf.grad.numpy(), dx)


@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize(
    "channels, width", [(1, 9), (3, 9), (6, 9), (16, 9), (20, 9), (2, 67), (5, 67), (7, 34), (8, 35)]
)
def test_average_after_an_activation_has_the_same_bits(channels, width, kind):
    """Its backward multiplies by the derivative itself: as the op alone does, also where no window looks."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, channels, 7, width)).astype(np.float32)
    x[0, :, 5:, 6:9] = [[np.nan, -0.0, np.inf], [-np.inf, np.nan, 0.0]]
    for arguments in ((2,), ((3, 2),), (3,), (3, 2, 1), (2, 2, 1)):
        for name, dtype in ((n, d) for n in _core.supported_isas() for d in (np.float32, np.float64)):
            leaf = pynn.tensor(x.astype(dtype), requires_grad=True)
            with isa(name), all_threads(3):
                output = getattr(ops, kind)(leaf)
                y = ops.avg_pool2d(output, *arguments)
                grad = pynn.tensor(rng.standard_normal(y.shape).astype(dtype))
                y.backward(grad)
                alone = output.detach().requires_grad_()
                ops.avg_pool2d(alone, *arguments).backward(grad)
                expected = np.asarray(_core.activation_backward(alone.grad._array, alone._array, kind))
                free = pynn.tensor(x.astype(dtype), requires_grad=True)  # whose output nobody holds
                ops.avg_pool2d(getattr(ops, kind)(free), *arguments).backward(grad)
            assert np.isnan(expected).any() or kind == "relu"
            assert same_bits(leaf.grad.numpy(), expected) and same_bits(free.grad.numpy(), expected)


@pytest.mark.parametrize(
    "channels, kernel, padding, same", [(16, 2, 0, True), (16, 3, 0, True), (16, 2, 1, False), (5, 3, 0, False)]
)
def test_the_gradient_of_an_average_may_take_the_memory_of_an_output(channels, kernel, padding, same):
    y = pynn.tensor(np.ones((1, 8, 8, channels), np.float32)).permute(0, 3, 1, 2)
    size = (8 + 2 * padding) // kernel
    geometry = ((kernel,) * 2, (kernel,) * 2, (padding,) * 2, (1, 1), (size, size), False)
    grad = pynn.ones(1, channels, size, size)._array
    dx = _core.avg_pool2d_backward(grad, (8, 8), geometry, True, 0, y._array, "relu", True)
    assert np.shares_memory(np.asarray(dx), y.numpy()) == same


def test_subnormal_numbers_are_compared():
    x = np.array([0, 1e-40, 3e-40, 2e-40], np.float32).reshape(1, 1, 2, 2)
    assert ops.max_pool2d(x, 2).item() == x[0, 0, 1, 0]


def random_arguments(rng, axes=2):
    kernel = rng.integers(1, 5, axes)
    dilation = rng.integers(1, 4, axes)
    reach = dilation * (kernel - 1) + 1
    size = reach + rng.integers(0, 7, axes)
    padding = [rng.integers(0, int(r) // 2 + 1) if d == 1 else 0 for r, d in zip(reach, dilation, strict=True)]
    stride = kernel if rng.random() < 0.3 else rng.integers(1, 5, axes)
    shape = (rng.integers(1, 4), rng.choice([1, 2, 6, 8, 16, 17, 40]), *size)
    integers = [tuple(map(int, v)) for v in (shape, kernel, stride, padding, dilation)]
    return *integers, bool(rng.integers(2))


def call(library, name, arguments, tensor):
    return getattr(library, name)(tensor, *arguments)


def compare_with_torch(ours, theirs, x, tolerance):
    torch = pytest.importorskip("torch")
    a, b = pynn.tensor(x, requires_grad=True), torch.from_numpy(x.copy()).requires_grad_()
    y, expected = ours(a), theirs(b)
    if isinstance(y, tuple):
        np.testing.assert_array_equal(y[1].numpy(), expected[1].numpy())
        y, expected = y[0], expected[0]
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    weight = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(pynn.tensor(weight))
    expected.backward(torch.from_numpy(weight))
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_against_torch(seed):
    functional = pytest.importorskip("torch").nn.functional
    rng = np.random.default_rng(seed)
    shape, kernel, stride, padding, dilation, ceil_mode = random_arguments(rng)
    x = rng.integers(-9, 9, shape).astype(np.float64)  # with equal elements
    inside = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    divisor = None if seed % 3 else int(rng.integers(1, 9))
    size = tuple(int(v) for v in rng.integers(1, 9, 2))
    for name, arguments in (
        ("max_pool2d", (kernel, stride, padding, dilation, ceil_mode, True)),
        ("avg_pool2d", (kernel, stride, inside, ceil_mode, bool(rng.integers(2)), divisor)),
        ("adaptive_max_pool2d", (size, True)),
        ("adaptive_avg_pool2d", (size,)),
    ):
        compare_with_torch(partial(call, ops, name, arguments), partial(call, functional, name, arguments), x, 1e-12)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_ceil_mode_on_small_images_against_torch(kernel, stride):
    """Windows larger than the padded image, too: the same outputs, or an error on both sides."""
    functional = pytest.importorskip("torch").nn.functional
    refused = 0
    for size, padding, dilation in np.ndindex(5, kernel // 2 + 1, 2):
        x = np.random.default_rng(size).permutation(3 * size * 4).reshape(1, 3, size, 4).astype(np.float64)
        for name, arguments in (
            ("max_pool2d", (kernel, stride, padding, dilation + 1, True, True)),
            ("avg_pool2d", (kernel, stride, padding, True, bool(dilation), None)),
            ("avg_pool2d", (kernel, stride, padding, True, True, 3)),
        ):
            ours, theirs = partial(call, ops, name, arguments), partial(call, functional, name, arguments)
            try:
                ours(x)
            except ValueError as error:
                if "see nothing but padding" not in str(error):  # where torch gives -inf
                    refused += 1
                    with pytest.raises(RuntimeError):
                        theirs(pytest.importorskip("torch").from_numpy(x))
            else:
                compare_with_torch(ours, theirs, x, 1e-12)
    assert refused


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_one_axis_against_torch(seed, single):
    functional = pytest.importorskip("torch").nn.functional
    rng = np.random.default_rng(seed)
    shape, kernel, stride, padding, dilation, ceil_mode = random_arguments(rng, 1)
    x = rng.integers(-9, 9, shape[1:] if single else shape).astype(np.float64)
    few = (kernel, stride, min(padding[0], kernel[0] // 2), ceil_mode)
    for name, arguments in (
        ("max_pool1d", (kernel, stride, padding, dilation, ceil_mode, True)),
        ("avg_pool1d", (*few, False)),
        ("adaptive_max_pool1d", (3, True)),
        ("adaptive_avg_pool1d", (3,)),
    ):
        compare_with_torch(partial(call, ops, name, arguments), partial(call, functional, name, arguments), x, 1e-12)


def test_unpool_puts_back_what_pooling_took():
    rng = np.random.default_rng(0)
    x = pynn.tensor(rng.standard_normal((2, 5, 7, 6)), requires_grad=True)
    y, indices = ops.max_pool2d(x, 2, return_indices=True)
    up = ops.max_unpool2d(y, indices, 2, output_size=(7, 6))
    expected = reference.max_unpool2d(y.detach().numpy(), indices.numpy(), (7, 6))
    np.testing.assert_array_equal(up.detach().numpy(), expected)
    assert ops.max_unpool2d(y, indices, 2).shape == (2, 5, 6, 6)
    assert ops.max_unpool2d(y, indices, 2, output_size=x.shape).shape == x.shape
    (up * up).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * expected)
    leaf = pynn.tensor(y.detach().numpy(), requires_grad=True)
    pynn.autograd.gradcheck(lambda t: ops.max_unpool2d(t, indices, 2, output_size=(7, 6)), [leaf])
    line, places = ops.max_pool1d(x.detach().numpy()[0, :, 0], 3, return_indices=True)
    whole = ops.max_unpool1d(line, places, 3).numpy()
    assert whole.shape == (5, 6) and np.count_nonzero(whole) == 10


def test_unpool_at_any_thread_count():
    rng = np.random.default_rng(0)
    x, places = rng.standard_normal((9, 3, 4, 4)).astype(np.float32), rng.integers(0, 64, (9, 3, 4, 4))
    results = []
    for threads in (1, 2, 3, 7):
        with all_threads(threads):
            results.append(ops.max_unpool2d(x, places, 2).numpy())
    np.testing.assert_array_equal(results[0], reference.max_unpool2d(x, places, (8, 8)))
    assert all(same_bits(r, results[0]) for r in results)


def test_an_index_outside_is_an_error():
    x = np.ones((1, 1, 2, 2), np.float32)
    for place in (16, -1, 2**62):
        with pytest.raises(IndexError, match="max_unpool2d: an index is out of range"):
            ops.max_unpool2d(x, np.full(x.shape, place), 2)


def test_long_means_go_in_runs():
    x = np.full((1, 2, 300, 4000), 0.1, np.float32)
    # 8 runs of 512 terms in each of 300 rows, then the runs: half an ulp a step
    limit = (512 + 2400) * np.finfo(np.float32).eps / 2
    got = ops.adaptive_avg_pool2d(x, 1).numpy().astype(np.float64)
    assert np.all(np.abs(got / np.float64(np.float32(0.1)) - 1) <= limit)


def test_memory_and_single_images():
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    y = ops.max_pool2d(x, 2)
    assert y._array.strides == (48, 1, 12, 3)
    assert same_bits(ops.max_pool2d(x[1], 2).numpy(), y.numpy()[1])
    assert same_bits(ops.avg_pool2d(x[1], 3, 2).numpy(), ops.avg_pool2d(x, 3, 2).numpy()[1])
    assert ops.adaptive_avg_pool2d(x, (None, 2)).shape == (2, 3, 8, 2)


@pytest.mark.parametrize("at", ["begin", "end"])
@pytest.mark.parametrize("channels", [1, 3, 6, 8, 16, 20])
def test_no_byte_beyond_an_array_is_touched(channels, at):
    for size, kernel in ((5, (2,)), (6, (2,)), (5, (3, 1, 1)), (5, (3, 2)), (6, (3,))):
        x = np.random.default_rng(0).standard_normal((1, size, size, channels)).astype(np.float32)
        plain, own = (pynn.as_tensor(a.transpose(0, 3, 1, 2)) for a in (x, guarded(x, at)))
        for op in (ops.max_pool2d, ops.avg_pool2d):
            assert same_bits(op(own, *kernel).numpy(), op(plain, *kernel).numpy())
            a, b = (t.detach().requires_grad_() for t in (own, plain))
            y = op(a, *kernel)
            grad = np.arange(y.numel(), dtype=np.float32).reshape(1, *y.shape[2:], channels)
            y.backward(pynn.as_tensor(guarded(grad, at).transpose(0, 3, 1, 2)))
            op(b, *kernel).backward(pynn.as_tensor(grad.transpose(0, 3, 1, 2)))
            assert same_bits(a.grad.numpy(), b.grad.numpy())


def test_errors_do_not_depend_on_earlier_calls():
    x = np.ones((1, 3, 6, 6), np.float32)
    for size in (2, (2, 2)):
        ops.max_pool2d(x, size, size, (1, 1))
    for wrong in (2.0, (2.0, 2), (2, 2.0)):
        with pytest.raises(ValueError, match="expected kernel_size as integers"):
            ops.max_pool2d(x, wrong, 2, (1, 1))
        with pytest.raises(ValueError, match="expected stride as integers"):
            ops.max_pool2d(x, 2, wrong, (1, 1))
    for size in ([2, 2], np.int64(2), (np.int64(2), 2), np.array(2)):
        assert ops.max_pool2d(x, size).shape == (1, 3, 3, 3)


def test_errors():
    x = np.ones((1, 3, 5, 5), np.float32)
    for call, message in [
        (lambda: ops.max_pool2d(x, 0), "max_pool2d: expected kernel_size as integers >= 1 and < 2.31, one or 2, got 0"),
        (lambda: ops.max_pool2d(x, 2, 0), "max_pool2d: expected stride as integers >= 1"),
        (lambda: ops.max_pool2d(x, 2, 2, 2), "max_pool2d: expected padding of at most half a window, 1, got 2"),
        (lambda: ops.max_pool2d(x, 2, 2, -1), "max_pool2d: expected padding as integers >= 0"),
        (lambda: ops.max_pool2d(x, 6), r"max_pool2d: windows of 6 do not fit into an input of 5 \(padding 0\)"),
        (lambda: ops.max_pool2d(x, 8, 2, ceil_mode=True), "windows of 8 do not fit into an input of 5"),
        (lambda: ops.max_pool2d(x[0, 0], 2), r"max_pool2d: expected input of 3 or 4 axes, got shape \(5, 5\)"),
        (lambda: ops.max_pool2d(x[:, :, :0], 2), "do not fit into an input of 0"),
        (lambda: ops.max_pool2d(x[..., :1], (1, 2), 1, (0, 2), (1, 3)), "some windows see nothing but padding"),
        (
            lambda: ops.avg_pool2d(x, 2, divisor_override=0),
            "expected an integer below 2.31 but 0 as divisor_override, got 0",
        ),
        (lambda: ops.max_pool2d(x, 2, 2**70), "max_pool2d: expected stride as integers >= 1 and < 2.31"),
        (lambda: ops.avg_pool2d(x, 2, divisor_override=2**70), "expected an integer below 2.31 but 0 as divisor"),
        (lambda: ops.adaptive_avg_pool2d(x, 2**70), "expected output_size as integers >= 1 and < 2.31"),
        (lambda: ops.avg_pool2d(x, (2, 2, 2)), "avg_pool2d: expected kernel_size as integers"),
        (lambda: ops.adaptive_avg_pool2d(x, 0), "adaptive_avg_pool2d: expected output_size as integers >= 1"),
        (lambda: ops.adaptive_max_pool2d(x[:, :, :0], 1), "adaptive_max_pool2d: expected an input that is not empty"),
        (lambda: ops.max_unpool2d(x, np.zeros((1, 3, 5, 4), int), 2), "expected indices of the input's shape"),
        (lambda: ops.max_unpool2d(x, np.zeros(x.shape, int), 2, output_size=(12, 10)), "within a stride of"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    for call in (
        lambda: ops.max_pool2d(x.astype(np.int64), 2),
        lambda: ops.avg_pool2d(x.astype(np.int64), 2),
        lambda: ops.max_unpool2d(x, x, 2),
    ):
        with pytest.raises(TypeError, match="expected"):
            call()
