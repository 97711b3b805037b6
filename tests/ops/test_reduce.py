import itertools

import numpy as np
import pytest

import pynn
from opcase import THREADS, OpCase, isa, same_bits, suite
from pynn import _core, ops
from pynn.reference import reduce as reference


def inputs(*shape):
    return lambda rng, n: (rng.standard_normal([n if s == "n" else s for s in shape]),)


def bound_of(dim, mean=False):
    """A sum's rounding error scales with the sum of magnitudes, times the depth of its tree: 32 + log2 of the rest."""

    def bound(x, **_):
        total = np.abs(x).sum(dim)
        return np.maximum(1e-30, total / max(1, x.size // max(1, total.size)) if mean else total)

    return bound


def case(name, dim, shape, **kwargs):
    f, g = getattr(ops, name), getattr(reference, name)
    by_row = dim is not None and 0 not in np.atleast_1d(dim)
    return OpCase(f"{name} {shape} {dim}", f, g, inputs(*shape), {"dim": dim}, by_row=by_row, **kwargs)


def summed(dim, shape, **kwargs):
    return case("sum", dim, shape, bound=bound_of(dim), **kwargs)


CASES = [
    summed(1, ("n", 10), tolerance=8),
    summed(1, ("n", 600), tolerance=8, sizes=(0, 1, 17), large=300),
    summed(0, ("n", 10), tolerance=8, large=100_000),
    summed(0, (40, "n"), tolerance=8),
    summed(1, ("n", 35, 10), tolerance=8, sizes=(0, 1, 17), large=500),
    summed((0, 2), (3, 5, "n"), tolerance=8),
    summed(None, ("n", 37), tolerance=8, large=5000),
    case("mean", 1, ("n", 600), bound=bound_of(1, True), sizes=(0, 1, 17), large=300),
    case("mean", 0, (70, "n"), bound=bound_of(0, True)),
    case("amax", 1, ("n", 37), tolerance=0),
    case("amax", 0, (40, "n"), tolerance=0),
    case("amin", (0, 2), (3, "n", 20), tolerance=0),
]


def values_of(name):
    return lambda x, dim: getattr(ops, name)(x, dim).values


CASES += [
    OpCase(
        f"{name} values {dim}",
        values_of(name),
        getattr(reference, "a" + name),
        inputs(*s),
        {"dim": dim},
        0,
        by_row=False,
    )
    for name, (dim, s) in itertools.product(("max", "min"), [(1, ("n", 37)), (0, (40, "n")), (1, ("n", 5, 3))])
]

test_op = suite(CASES)


def test_ten_million_tenths():
    x = np.full(10_000_000, 0.1, np.float32)
    assert abs(ops.sum(x).item() - 1e6) <= 1
    assert abs(ops.sum(x.reshape(-1, 10), 0).numpy() - 1e5).max() <= 0.1
    assert abs(ops.mean(x).item() - 0.1) <= 1e-7


@pytest.mark.parametrize(
    ("shape", "dim"), [((200_003,), None), ((3, 100_001), 1), ((50_001, 10), 0), ((2, 3001, 70), 1)]
)
def test_long_sums_have_the_same_bits_at_any_thread_count(shape, dim):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    results = []
    for level in {"avx2", "avx512"} & set(_core.supported_isas()):
        with isa(level):
            for threads in THREADS:
                with pynn.threads(threads):
                    results.append((ops.sum(x, dim).numpy(), ops.amax(x, dim).numpy()))
    for s, m in results:
        assert same_bits(s, results[0][0])
        assert same_bits(m, results[0][1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("level", _core.supported_isas())
def test_rows_have_the_bits_that_they_have_alone(level, dtype):
    """Short rows are summed side by side."""
    rng = np.random.default_rng(0)
    with isa(level):
        for count in (63, 64, 65, 511, 512, 513, 1100, 2047, 2048):
            x = (100 * rng.standard_normal((9, count))).astype(dtype)
            whole = ops.sum(x, 1).numpy()
            for rows in range(1, 9):
                assert same_bits(ops.sum(x[:rows], 1).numpy(), whole[:rows])


@pytest.mark.parametrize("name", ["sum", "amax", "amin"])
def test_any_axes_strides_and_dtypes(name):
    rng = np.random.default_rng(3)
    op, numpy_op = getattr(ops, name), getattr(reference, name)
    for trial in range(150):
        shape = [int(s) for s in rng.choice([1, 2, 3, 17, 70], rng.integers(0, 5))]
        x = rng.integers(0, 100, shape).astype(rng.choice(["f4", "f8", "i8", "i4", "u1", "?"]))
        x = x.transpose(rng.permutation(x.ndim)) if trial % 2 else x
        x = x[tuple(slice(None, None, int(rng.choice([1, 2, -1]))) for _ in x.shape)]
        axes = tuple(int(i) for i in np.nonzero(rng.random(x.ndim) < 0.5)[0]) or tuple(range(x.ndim))
        keepdim = bool(rng.random() < 0.5)
        got, expected = op(x, axes, keepdim).numpy(), numpy_op(x, axes, keepdim)
        np.testing.assert_array_equal(got, expected, err_msg=f"{x.shape} {x.strides} {axes}")
        assert got.dtype == (np.int64 if name == "sum" and x.dtype.kind != "f" else x.dtype)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places_along_any_axis(name):
    rng = np.random.default_rng(4)
    op, numpy_op = getattr(ops, name), getattr(reference, name)
    for shape, dtype in itertools.product(
        [(5,), (9, 37), (40, 3), (3, 70, 5), (2, 3000)], ["f4", "f8", "i8", "i4", "u1"]
    ):
        x = rng.integers(0, 50, shape).astype(dtype)
        for level, dim in itertools.product(_core.supported_isas(), [None, *range(x.ndim)]):
            with isa(level):
                np.testing.assert_array_equal(op(x, dim).numpy(), numpy_op(x, dim))
                np.testing.assert_array_equal(op(x.T, dim, keepdim=True).numpy(), numpy_op(x.T, dim, True))


def test_places():
    x = np.float32([[1, 3, 3], [np.nan, 2, np.nan], [-np.inf, -np.inf, -np.inf], [0, -0.0, 0]])
    for level in _core.supported_isas():
        with isa(level):
            assert ops.argmax(x, 1).tolist() == [1, 0, 0, 0]
            assert ops.argmin(x, 1).tolist() == [0, 0, 0, 0]
            assert ops.argmax(x, 0).tolist() == np.argmax(x, 0).tolist()
            assert ops.argmax(x).item() == 3
            assert np.isnan(ops.max(x).item())
    values, indices = ops.max(x, 1, keepdim=True)
    assert values.shape == indices.shape == (4, 1)
    assert indices.dtype == np.int64
    tiny = np.float32([1e-40, 2e-40])  # subnormals count
    assert ops.argmax(tiny).item() == 1


def test_a_place_far_away():
    for n in (2047, 2048, 2049, 40_000, 70_001):
        x = np.zeros(n, np.float32)
        x[n - 1] = 1
        x[n // 2] = 1
        assert ops.argmax(x).item() == n // 2
        assert ops.argmax(np.stack([x, x], 1), 0).tolist() == [n // 2] * 2
        x[n - 2] = np.nan
        assert ops.argmax(x).item() == ops.argmin(x).item() == n - 2


def test_gradients_at_ties():
    x = pynn.tensor([[1.0, 2.0, 2.0]], requires_grad=True)
    ops.max(x).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 0.5, 0.5]])
    x.grad = None
    ops.max(x, 1).values.backward(np.ones(1, np.float32))
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 1, 0]])


def test_no_elements():
    none = np.zeros((0, 3), np.float32)
    assert ops.sum(none).item() == 0
    assert ops.sum(none, 0).tolist() == [0, 0, 0]
    assert ops.sum(none, 1).shape == (0,)
    assert np.isnan(ops.mean(none, 0).numpy()).all()
    assert ops.amax(none, 1).shape == (0,)
    for op in (ops.max, ops.argmin):
        with pytest.raises(ValueError, match="no extremum of no elements"):
            op(none)


def test_errors():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(IndexError, match="axis 2 is out of range"):
        ops.sum(x, 2)
    with pytest.raises(IndexError, match="axis 1 is out of range for 0 dimensions"):
        ops.sum(np.float32(3), 1)
    assert ops.sum(np.float32(3), -1).item() == 3
    with pytest.raises(ValueError, match="appears twice"):
        ops.sum(x, (0, -2))
    with pytest.raises(TypeError, match="float32 or float64 for input, got int64"):
        ops.mean(np.arange(3))
    with pytest.raises(IndexError, match="out of range"):
        _core.extremum_backward(np.zeros(3, np.float32), np.array([0, 1, 2]), (2, 3), 0)
    with pytest.raises(ValueError, match="does not fit"):
        _core.extremum_backward(np.zeros(3, np.float32), np.array([0, 1, 1]), (2, 4), 0)
