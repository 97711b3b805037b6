import itertools

import numpy as np
import pytest

import pynn
from opcase import OpCase, isa, suite
from pynn import _core, ops
from pynn.reference import elementwise as reference


def pair(shape_a, shape_b, apart=False):
    """Two normal operands, `n` in a shape standing for the size; `apart` keeps them from being close."""

    def inputs(rng, n):
        a, b = (rng.standard_normal([n if s == "n" else s for s in shape]) for shape in (shape_a, shape_b))
        return a, np.sign(b) * (0.5 + np.abs(b)) if apart else b

    return inputs


def one(low, high):
    return lambda rng, n: (rng.uniform(low, high, (n, 37)),)


def binary(name, inputs, **kwargs):
    return OpCase(name, getattr(ops, name), getattr(reference, name), inputs, differentiable=(0, 1), **kwargs)


def unary(name, low, high, **kwargs):
    return OpCase(name, getattr(ops, name), getattr(reference, name), one(low, high), **kwargs)


def power(exponent, low=0.1, tolerance=1.0):
    return OpCase(f"pow {exponent}", ops.pow, reference.pow, one(low, 3), {"exponent": exponent}, tolerance)


ROWS = pair(("n", 37), ("n", 37))
CASES = [
    binary("add", ROWS, by_row=False, tolerance=0.5),
    binary("add", pair(("n", 10), (10,)), tolerance=0.5),
    binary("add", pair(("n", 30), (30,)), kwargs={"alpha": -1.5}, tolerance=4),
    binary("sub", pair(("n", 300), ("n", 1)), tolerance=0.5, by_row=False),
    binary("sub", ROWS, by_row=False, kwargs={"alpha": 2.5}, tolerance=4),
    binary("mul", pair(("n", 10), (1,)), tolerance=0.5),
    binary("mul", pair(("n", 2, 3), (2, 1)), tolerance=0.5),
    binary("div", pair(("n", 37), (37,), apart=True), tolerance=1),
    binary("maximum", ROWS, by_row=False, tolerance=0),
    binary("minimum", pair(("n", 37), (37,)), tolerance=0),
    unary("neg", -3, 3, tolerance=0),
    unary("abs", 0.1, 3, tolerance=0),
    unary("square", -3, 3, tolerance=0.5),
    unary("sqrt", 0.1, 9, tolerance=0.5),
    unary("exp", -5, 5, tolerance=1.1),
    unary("log", 0.1, 50, tolerance=1),
    power(2.5),
    power(-0.7),
    power(-1),
    power(0.5),
    power(0, tolerance=0),
    power(1, tolerance=0),
    power(3, -3, 2.0),
    power(4, -3, 2.0),
    power(5, -3, 1.0),
]

test_op = suite(CASES)

COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_comparisons(name, dtype):
    rng = np.random.default_rng(0)
    for shape in [(), (0,), (1,), (63,), (64,), (65,), (7, 300), (40, 3)]:
        a, b = (np.asarray(rng.integers(0, 2, shape), dtype) for _ in range(2))
        if dtype.startswith("float") and a.size > 1:
            a.flat[0] = np.nan
        for level in _core.supported_isas():
            with isa(level):
                got = getattr(ops, name)(a, b).numpy()
                np.testing.assert_array_equal(got, getattr(reference, name)(a, b))
                assert got.dtype == bool
    assert ops.lt(np.float32(1e-40), np.float32(2e-40)).item()  # subnormals count


@pytest.mark.parametrize("name", ["add", "sub", "mul", "maximum", "lt"])
def test_any_strides_and_shapes(name):
    rng = np.random.default_rng(1)
    op, numpy_op = getattr(ops, name), getattr(reference, name)
    for trial in range(150):
        shape = [
            int(s) for s in rng.choice([0, 1, 2, 3, 17, 70] if trial % 10 == 0 else [1, 2, 3, 17], rng.integers(0, 5))
        ]
        if shape and rng.random() < 0.5:
            shape[-1] = int(rng.choice([10, 255, 256, 1500]))
        operands = []
        for _ in range(2):
            own = [1 if rng.random() < 0.25 else s for s in shape][rng.integers(0, 2) if shape else 0 :]
            steps = tuple(slice(None, None, int(rng.choice([1, 2, -1]))) for _ in own)
            whole = np.asarray(rng.integers(0, 9, [2 * s for s in own]), rng.choice(["f4", "i4"]))
            order = rng.permutation(len(own))
            x = whole.transpose(order).copy().transpose(np.argsort(order))[steps]
            operands.append(x[tuple(slice(0, s) for s in own)].astype("f4", copy=False))
        a, b = operands
        np.testing.assert_array_equal(op(a, b).numpy(), numpy_op(a, b), err_msg=f"{a.shape} {a.strides} {b.shape}")


@pytest.mark.parametrize("n", [1, 255, 256, 1025, 20_000])
def test_long_expanded_operands(n):
    """Both operands are constant along a row that is longer than a tile's buffer."""
    x = np.array([[1.5], [-2.0]], np.float32)
    wide = np.broadcast_to(x, (2, n))
    for level in _core.supported_isas():
        with isa(level):
            for y, expected in [
                (_core.neg(wide), -wide),
                (_core.mul(wide, 2.0), 2 * wide),
                (_core.sub(2.0, wide[0]), 2 - wide[0]),
                (_core.add(wide, np.float32(3)), wide + 3),
                (_core.div(wide, wide), np.ones_like(wide)),
                (_core.maximum(wide, wide[::-1]), np.full((2, n), 1.5)),
                (_core.lt(wide, wide[::-1]), np.arange(2)[:, None] == np.ones((1, n))),
            ]:
                np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quotients_are_correctly_rounded(dtype):
    """In every lane, at every length of the tail, for all special values; not where the quotient is subnormal."""
    limits = np.finfo(dtype)
    special = [0, -0.0, 1, -3, limits.tiny, -limits.max, limits.max, np.inf, -np.inf, np.nan]
    pairs = [*itertools.product(special, special), *np.random.default_rng(0).standard_normal((70, 2))]
    a, b = np.array(pairs, dtype).T.copy()
    with np.errstate(all="ignore"):
        expected = a / b
    normal = (expected == 0) | ~(np.abs(expected) < limits.tiny)
    a, b, expected = a[normal], b[normal], expected[normal]
    for level in _core.supported_isas():
        with isa(level):
            for first in range(len(a)):
                y = np.asarray(_core.div(a[first:], b[first:]))
                np.testing.assert_array_equal(y, expected[first:])
                np.testing.assert_array_equal(np.signbit(y[y == 0]), np.signbit(expected[first:][y == 0]))


def test_eight_dimensions():
    a = np.arange(2**8, dtype=np.float32).reshape((2,) * 8)
    np.testing.assert_array_equal(ops.add(a, a.T[::-1]).numpy(), a + a.T[::-1])
    with pytest.raises(ValueError, match="do not broadcast"):
        ops.add(np.zeros((2, 3)), np.zeros((3, 2)))


def test_dense_operands_keep_their_layout():
    nhwc = pynn.tensor(np.arange(120, dtype=np.float32).reshape(2, 5, 4, 3)).permute(0, 3, 1, 2)
    bias = pynn.ones(3, 1, 1)
    assert ops.add(nhwc, nhwc).stride() == nhwc.stride()
    assert ops.add(nhwc, bias).stride() == nhwc.stride()
    assert ops.lt(bias, nhwc).stride() == nhwc.stride()
    assert ops.mul(pynn.ones(1, 1, 1, 4).expand(2, 3, 5, 4), nhwc).stride() == nhwc.stride()  # as a sum's gradient
    assert ops.exp(nhwc).stride() == nhwc.stride()
    assert ops.add(nhwc, nhwc.contiguous()).is_contiguous()
    np.testing.assert_array_equal(ops.add(nhwc, bias).numpy(), nhwc.numpy() + 1)
    np.testing.assert_array_equal(ops.sub(nhwc, bias.expand(2, 3, 5, 4)).numpy(), nhwc.numpy() - 1)


# Operands by name and what PyTorch 2 gives: dimensions decide before 0-d tensors, those before numbers, unless the
# weaker one is of a higher kind.
PROMOTIONS = [
    ("float32 3", "float64 3", "float64"),
    ("float32 3", "float64 0-d", "float32"),
    ("int64 3", "float64 0-d", "float64"),
    ("int64 3", "float32 3", "float32"),
    ("int32 3", "int64 3", "int64"),
    ("int32 3", "int64 0-d", "int32"),
    ("uint8 3", "int32 3", "int32"),
    ("bool 3", "uint8 3", "uint8"),
    ("bool 3", "bool 3", "bool"),
    ("float64 3", 1.5, "float64"),
    ("float32 3", 2, "float32"),
    ("int64 3", 1.5, "float32"),
    ("uint8 3", 2, "uint8"),
    ("bool 3", 2, "int64"),
    ("bool 3", True, "bool"),
    ("float64 0-d", 2.0, "float64"),
]


def operand(text):
    if not isinstance(text, str):
        return text
    dtype, shape = text.split()
    return np.ones(() if shape == "0-d" else int(shape), dtype)


@pytest.mark.parametrize(("left", "right", "expected"), PROMOTIONS)
def test_promotion(left, right, expected):
    a, b = operand(left), operand(right)
    for x, y in [(a, b), (b, a)]:
        assert ops.add(x, y).dtype == expected
        assert ops.maximum(x, y).dtype == expected
        assert ops.div(x, y).dtype == (expected if expected.startswith("float") else "float32")
        assert ops.lt(x, y).dtype == bool
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        torch = pytest.importorskip("torch")
        assert str(torch.add(torch.as_tensor(a), torch.as_tensor(b)).dtype).endswith(expected)


def test_gradients_have_the_dtype_of_their_operand():
    a = pynn.tensor(np.ones((4, 3), np.float32), requires_grad=True)
    b = pynn.tensor(np.ones(3, np.float64), requires_grad=True)
    ops.mul(a, b).backward(np.ones((4, 3)))
    assert a.grad.dtype == np.float32
    assert b.grad.dtype == np.float64
    np.testing.assert_array_equal(b.grad.numpy(), [4, 4, 4])


def test_numbers_on_either_side():
    x = np.array([1.0, 2.0, 4.0], np.float32)
    for op, name in itertools.product(("add", "sub", "mul", "div", "maximum", "minimum"), (0, 1)):
        f, g = getattr(ops, op), getattr(reference, op)
        a, b = (x, np.float32(3)) if name else (np.float32(3), x)
        np.testing.assert_array_equal(f(3 if a is not x else x, 3 if b is not x else x).numpy(), g(a, b))
    assert ops.add(1, 2).item() == 3


def test_extremes():
    inf, nan = np.inf, np.nan
    for op, x, expected in [
        (ops.exp, [-inf, -104, 0, 89, inf, nan], [0, 0, 1, inf, inf, nan]),
        (ops.log, [-1, -0.0, 0, 1, inf, nan], [nan, -inf, -inf, 0, inf, nan]),
        (ops.sqrt, [-1, -0.0, 4, inf, nan], [nan, -0.0, 2, inf, nan]),
        (ops.abs, [-inf, -0.0, nan], [inf, 0, nan]),
    ]:
        for level in _core.supported_isas():
            with isa(level):
                np.testing.assert_array_equal(op(np.array(x, np.float32)).numpy(), expected)
    for f in (ops.maximum, ops.minimum):
        assert np.isnan(f(np.float32([nan, 1]), np.float32([1, nan])).numpy()).all()


@pytest.mark.parametrize("exponent", [-3, -2.5, -0.5, 0, 0.25, 3, 7, 16777217.0, 1e30, np.inf, -np.inf, np.nan])
def test_special_powers(exponent):
    x = np.array([0, -0.0, 1, -1, 2, -2, 0.5, -0.5, np.inf, -np.inf, np.nan], np.float32)
    with np.errstate(all="ignore"):
        expected = x.astype(np.float64) ** np.float64(np.float32(exponent))
        expected = expected.astype(np.float32)
    for level in _core.supported_isas():
        with isa(level):
            np.testing.assert_allclose(ops.pow(x, exponent).numpy(), expected, rtol=3e-7)


def test_integer_powers():
    x = np.array([-3, 0, 2, 5])
    for n in (0, 1, 2, 5, 13):
        got = ops.pow(x, n)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got.numpy(), x**n)
    with pytest.raises(ValueError, match="negative power"):
        ops.pow(x, -1)


def test_gradient_at_ties():
    a, b = (pynn.tensor([1.0, 2.0, 3.0], requires_grad=True) for _ in range(2))
    ops.maximum(a, ops.mul(b, pynn.tensor([1.0, 2.0, 0.5]))).backward(np.ones(3, np.float32))
    np.testing.assert_array_equal(a.grad.numpy(), [0.5, 0, 1])
    np.testing.assert_array_equal(b.grad.numpy(), [0.5, 2, 0])


@pytest.mark.parametrize("op", [ops.maximum, ops.minimum])
def test_nan_keeps_the_gradient(op):
    a = pynn.tensor([np.nan, 1.0, np.nan], requires_grad=True)
    b = pynn.tensor([1.0, np.nan, np.nan], requires_grad=True)
    op(a, b).backward(pynn.tensor([2.0, 3.0, np.nan]))
    for x in (a, b):
        np.testing.assert_array_equal(x.grad.numpy(), [2, 3, np.nan])


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_in_place(name):
    rng = np.random.default_rng(2)
    f = getattr(_core, name + "_")
    for shape in [(), (5,), (7, 300), (3, 4, 5)]:
        y, b = (np.asarray(rng.uniform(1, 2, shape), np.float32) for _ in range(2))
        expected = getattr(reference, name)(y, b)
        spaced = np.zeros([2 * s for s in shape], np.float32)[(..., *[slice(None, None, 2)] * len(shape))]
        fortran = y.copy(order="F")
        for target in [y.copy(), spaced, fortran]:
            target[...] = y
            f(target, b)
            np.testing.assert_array_equal(target, expected)
    whole = np.arange(100, dtype=np.float32) + 1
    expected = getattr(reference, name)(whole[1:], whole[:-1])
    f(whole[1:], whole[:-1])  # the operands overlap
    np.testing.assert_array_equal(whole[1:], expected)


def test_in_place_alpha_and_errors():
    y = np.zeros(3, np.float32)
    _core.add_(y, np.ones(3, np.float32), alpha=2.5)
    _core.sub_(y, np.ones(3, np.float32), 0.5)
    _core.mul_(y, 2)
    np.testing.assert_array_equal(y, [4, 4, 4])
    with pytest.raises(ValueError, match="expected equal shapes"):
        _core.add_(y, np.ones(4, np.float32))
    with pytest.raises(TypeError, match="expected one dtype"):
        _core.add_(y, np.ones(3))
    with pytest.raises(ValueError, match="expanded"):
        _core.add_(_core.expand(np.zeros(1, np.float32), (3,)), y)
    yes = np.array([True, False])
    for number in (0.5, 2):  # the result would be wider than the array
        with pytest.raises(TypeError, match="expected True or False"):
            _core.mul_(yes, number)
    integers = _core.copy(np.ones(3, np.int32))
    with pytest.raises(ValueError, match="does not fit"):
        _core.add_(integers, 2**40)
    assert integers.version == 0  # nothing was written
    _core.add_(yes, True)
    np.testing.assert_array_equal(yes, [True, True])
    y.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        _core.add_(y, np.ones(3, np.float32))


def test_refused():
    yes = np.array([True])
    for call in (lambda: ops.sub(yes, yes), lambda: ops.neg(yes), lambda: ops.add(yes, yes, alpha=2)):
        with pytest.raises(TypeError, match="bool"):
            call()
    with pytest.raises(ValueError, match="does not fit into int32"):
        ops.add(np.zeros(2, np.int32), 2**40)
    with pytest.raises(TypeError, match="expected a number as exponent"):
        ops.pow(np.zeros(2), "2")
    with pytest.raises(TypeError, match="expected an integer for int64"):
        ops.add(np.arange(3), np.arange(3), alpha=0.5)


def test_memory_around_is_left_alone():
    """Rows shorter than a vector inside a larger array."""
    whole = np.full((40, 64), 7, np.float32)
    for n in (1, 3, 10, 17, 33):
        for level in _core.supported_isas():
            with isa(level):
                part = whole[4:36, 20 : 20 + n]
                _core.add_(part, np.ones(part.shape, np.float32))
                assert (part == 8).all()
                part -= 1
                assert (whole == 7).all()
