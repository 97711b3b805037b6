import itertools

import numpy as np
import pytest

import pynn
from guardpage import guarded, guarded_transposed
from opcase import THREADS, OpCase, all_threads, isa, same_bits, suite
from pynn import _core, ops
from pynn.reference import activation as activations
from pynn.reference import gemm as reference

ACTIVATIONS = {
    "none": lambda x: x,
    "sigmoid": activations.sigmoid,
    "tanh": activations.tanh,
    "relu": activations.relu,
}


def gemm(a, b, bias=None, activation="none", out=None, accumulate=False):
    return np.asarray(_core.gemm(a, b, bias, activation, out, accumulate))


def normal(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def transposed(a):
    """The same matrices, columns contiguous."""
    return np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2)


def padded(a):
    """The same matrices with a gap behind every row."""
    wide = np.zeros((*a.shape[:-1], a.shape[-1] + 3), a.dtype)
    wide[..., : a.shape[-1]] = a
    return wide[..., : a.shape[-1]]


def transposed_padded(a):
    return padded(a.swapaxes(-1, -2)).swapaxes(-1, -2)


LAYOUTS = {"rows": np.asarray, "columns": transposed, "padded": padded, "columns padded": transposed_padded}
TRANSPOSES = list(itertools.product((np.asarray, transposed), repeat=2))


def bound(a, b):
    """What rounding errors scale with: k roundings of partial sums, which are sqrt(k) sizes of a random product."""
    return 1 + np.sqrt(a.shape[-1]) * np.linalg.norm(a, axis=-1)[..., None] * np.linalg.norm(b, axis=-2)[..., None, :]


def check_close(got, a, b, bias=None, activation="none", start=None):
    wide = [None if x is None else x.astype(np.float64) for x in (a, b, bias, start)]
    product = wide[0] @ wide[1]
    if start is not None:
        product = product + wide[3]
    expected = ACTIVATIONS[activation](product if bias is None else product + wide[2])
    error = np.abs(got - expected) / bound(*wide[:2])
    limit = 4 * np.finfo(got.dtype).eps
    assert np.all(error <= limit), f"{a.shape} {b.shape} {activation}: {error.max():.3g} * bound, allowed {limit:.3g}"


CASES = [
    OpCase(
        "matmul",
        ops.matmul,
        reference.matmul,
        lambda rng, n: (rng.standard_normal((n, 37)), rng.standard_normal((37, 21))),
        bound=bound,
        differentiable=(0, 1),
    ),
    OpCase(
        "matmul_wide",
        ops.matmul,
        reference.matmul,
        lambda rng, n: (rng.standard_normal((n, 70)), rng.standard_normal((70, 200))),
        bound=bound,
        differentiable=(0, 1),
        sizes=(1, 4, 5, 33),
        large=700,
    ),
    OpCase(
        "matmul_batch",
        ops.matmul,
        reference.matmul,
        lambda rng, n: (rng.standard_normal((n, 1, 5, 9)), rng.standard_normal((3, 9, 4))),
        bound=bound,
        differentiable=(0, 1),
        large=300,
    ),
]
test_op = suite(CASES)


# float32 fma in Python: the product of two float32 is exact in float64, and so is rounding the sum to odd before it is
# rounded to float32, so that no double rounding happens.
def fma(a, b, c):
    product, c = np.multiply(a, b, dtype=np.float64), c.astype(np.float64)
    total = product + c
    other = total - product
    lost = (product - (total - other)) + (c - other)
    bits = total.view(np.int64)
    toward = np.where((lost > 0) == (total > 0), 1, -1)
    odd = np.where((lost != 0) & (bits % 2 == 0), bits + toward, bits)
    return odd.view(np.float64).astype(np.float32)


def chain(a, b, start=None):
    c = np.zeros((len(a), b.shape[1]), np.float32) if start is None else start
    for p in range(a.shape[1]):
        c = fma(a[:, p : p + 1], b[p : p + 1], c)
    return c


# One size for every path: vector (by rows, with sums in registers, by columns), a column, direct with B as it is,
# packed, and with last columns as rows, both packed with the panels of B in turn and with all of them kept; with more
# than one K block where the path has them; last, rows of A that share one set of L1. Several threads may cut a product
# into pieces that take another path.
PATHS = [(1, 70, 90), (1, 30, 70), (2, 9, 70), (3, 35, 40), (50, 1, 45), (64, 48, 40), (30, 37, 600), (300, 35, 90)]
PATHS += [(200, 130, 1100), (460, 140, 530), (9, 260, 530), (40, 30, 1024)]


@pytest.mark.parametrize("m,n,k", PATHS)
@pytest.mark.parametrize("name", [i for i in _core.supported_isas() if i != "baseline"])
def test_every_path_is_the_chain_of_fma(m, n, k, name):
    rng = np.random.default_rng(m)
    a, b, start = normal(rng, m, k), normal(rng, k, n), normal(rng, m, n)
    expected, continued = chain(a, b), chain(a, b, start)
    with isa(name), pynn.threads(1):
        for layout_a, layout_b in TRANSPOSES:
            assert same_bits(gemm(layout_a(a), layout_b(b)), expected)
            out = start.copy()
            gemm(layout_a(a), layout_b(b), out=out, accumulate=True)
            assert same_bits(out, continued)


@pytest.mark.parametrize("name", _core.supported_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_have_the_bits_of_the_whole(name, dtype):
    rng = np.random.default_rng(1)
    a, b, bias = normal(rng, 500, 700, dtype=dtype), normal(rng, 700, 150, dtype=dtype), normal(rng, 150, dtype=dtype)
    with isa(name):
        whole = gemm(a, b, bias, "tanh")
        for rows in (1, 2, 3, 4, 5, 8, 14, 33, 256):
            assert same_bits(gemm(a[7 : 7 + rows], b, bias, "tanh"), whole[7 : 7 + rows])
        for columns in (1, 2, 15, 17, 64, 129):
            assert same_bits(gemm(a, b[:, 5 : 5 + columns], bias[5 : 5 + columns], "tanh"), whole[:, 5 : 5 + columns])
        halves = gemm(a[:, :300], b[:300])
        gemm(a[:, 300:], b[300:], bias, "tanh", out=halves, accumulate=True)
        assert same_bits(halves, whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", _core.supported_isas())
def test_random_sizes(name, dtype):
    rng = np.random.default_rng(2)
    with isa(name):
        for _ in range(300):
            m, n, k = rng.integers(1, 41, 3)
            a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
            bias = normal(rng, n, dtype=dtype) if rng.integers(2) else None
            activation = rng.choice(list(ACTIVATIONS))
            start = normal(rng, m, n, dtype=dtype) if rng.integers(2) else None
            out = None if start is None else LAYOUTS[rng.choice(list(LAYOUTS))](start.copy())
            got = gemm(
                LAYOUTS[rng.choice(list(LAYOUTS))](a),
                LAYOUTS[rng.choice(list(LAYOUTS))](b),
                bias,
                activation,
                out,
                out is not None,
            )
            check_close(got, a, b, bias, activation, start)


LARGE = [(1500, 1300, 1100), (128, 1024, 3136), (700, 2500, 600), (4096, 64, 576), (30, 5000, 40), (400, 12500, 4)]


@pytest.mark.parametrize("m,n,k", LARGE)
@pytest.mark.parametrize("layouts", TRANSPOSES, ids=["nn", "nt", "tn", "tt"])
def test_large_by_a_random_vector(m, n, k, layouts):
    """(A B) v = A (B v): a check of O(n^2) for a product of O(n^3)."""
    rng = np.random.default_rng(3)
    a, b, v = normal(rng, m, k), normal(rng, k, n), rng.standard_normal(n)
    got = gemm(layouts[0](a), layouts[1](b)).astype(np.float64) @ v
    expected = a.astype(np.float64) @ (b.astype(np.float64) @ v)
    # Each of n elements of a row carries about sqrt(k) roundings of partial sums of size sqrt(k).
    assert np.all(np.abs(got - expected) <= 2 * np.finfo(np.float32).eps * k * np.sqrt(n))


@pytest.mark.parametrize("m,n,k", [*PATHS, (500, 2100, 70), (5, 3000, 600), (9, 3000, 600), (15, 3000, 600)])
def test_threads_give_the_same_bits(m, n, k):
    rng = np.random.default_rng(4)
    a, b, bias = normal(rng, 4, m, k), normal(rng, k, n), normal(rng, n)
    results = []
    for threads in THREADS:
        with pynn.threads(threads):
            results.append([gemm(a[0], b, bias), gemm(a, b[None].repeat(4, 0)), gemm(a[0], transposed(b))])
    for other in results[1:]:
        assert all(same_bits(x, y) for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("m, n, k", [(4100, 3104, 9), (140_000, 96, 5)])
@pytest.mark.parametrize("name", _core.supported_isas())
def test_what_is_larger_than_the_caches(name, m, n, k):
    """From 48 MiB on C is written around them: the bits of its parts."""
    rng = np.random.default_rng(0)
    a, b, bias = normal(rng, m, k), normal(rng, k, n), normal(rng, n)
    with isa(name), all_threads(3):
        c = gemm(a, b, bias)
        for i in (0, 14, m // 3 - 7, m // 3, m - 100):
            assert same_bits(c[i : i + 100].copy(), gemm(a[i : i + 100], b, bias))


@pytest.mark.parametrize("end", ["begin", "end"])
@pytest.mark.parametrize("name", _core.supported_isas())
def test_nothing_outside_an_operand_is_touched(name, end):
    rng = np.random.default_rng(5)
    sizes = [*PATHS, (5, 1, 3), (17, 33, 5), (14, 6, 16), (2, 17, 19), (1, 1, 1), (130, 31, 513)]
    with isa(name):
        for (m, n, k), dtype in itertools.product(sizes, (np.float32, np.float64)):
            a, b, bias = (normal(rng, *s, dtype=dtype) for s in ((m, k), (k, n), (n,)))
            for place_a, place_b in itertools.product((guarded, guarded_transposed), repeat=2):
                out = guarded(np.zeros((m, n), dtype), end)
                gemm(place_a(a, end), place_b(b, end), guarded(bias, end), out=out)
                check_close(out, a, b, bias)


@pytest.mark.parametrize("name", _core.supported_isas())
def test_gaps_between_rows_are_not_written(name):
    rng = np.random.default_rng(6)
    with isa(name):
        for m, n, k in [*PATHS, (2, 5, 3), (20, 7, 3)]:
            a, b = normal(rng, m, k), normal(rng, k, n)
            buffer = np.full((m + 2, n + 5), np.nan, np.float32)
            inner = buffer[1:-1, 2:-3]
            gemm(a, b, out=inner)
            assert same_bits(inner.copy(), gemm(a, b))
            assert np.isnan(buffer).sum() == buffer.size - inner.size


def test_batches():
    rng = np.random.default_rng(7)
    for shape_a, shape_b in [
        ((3, 4, 5), (5, 6)),
        ((3, 4, 5), (3, 5, 6)),
        ((4, 5), (3, 5, 6)),
        ((2, 1, 4, 5), (3, 5, 6)),
        ((2, 3, 4, 5), (2, 1, 5, 6)),
        ((7, 1, 5), (5, 6)),
        ((2, 1, 3, 1, 4, 5), (4, 1, 2, 5, 6)),
        ((0, 4, 5), (5, 6)),
        ((3, 0, 5), (5, 6)),
    ]:
        a, b = normal(rng, *shape_a), normal(rng, *shape_b)
        for layout_a, layout_b in itertools.product(LAYOUTS.values(), repeat=2):
            got = gemm(layout_a(a), layout_b(b))
            expected = a.astype(np.float64) @ b
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, atol=1e-5)
    a, b = normal(rng, 6, 4, 5), normal(rng, 5, 3)
    np.testing.assert_allclose(gemm(a[::-2], b), a[::-2] @ b, atol=1e-5)
    np.testing.assert_allclose(gemm(a.transpose(1, 0, 2), b), a.transpose(1, 0, 2) @ b, atol=1e-5)


def test_no_terms():
    a, b, bias = np.ones((3, 0), np.float32), np.ones((0, 4), np.float32), np.arange(4, dtype=np.float32)
    assert not gemm(a, b).any()
    assert np.array_equal(gemm(a, b, bias), np.tile(bias, (3, 1)))
    out = np.full((3, 4), 2, np.float32)
    gemm(a, b, bias, out=out, accumulate=True)
    assert np.array_equal(out, np.tile(bias + 2, (3, 1)))
    for m, n in [(6, 1), (1, 6), (100, 40)]:
        assert not gemm(np.ones((m, 0), np.float32), np.ones((0, n), np.float32)).any()


def test_transpose_arguments():
    rng = np.random.default_rng(8)
    a, b = normal(rng, 2, 6, 7), normal(rng, 2, 7, 8)
    expected = gemm(a, b)
    at, bt = a.swapaxes(1, 2).copy(), b.swapaxes(1, 2).copy()
    assert same_bits(np.asarray(_core.matmul(at, b, True, False)), expected)
    assert same_bits(np.asarray(_core.matmul(a, bt, False, True)), expected)
    assert same_bits(np.asarray(_core.matmul(at, bt, True, True)), expected)


def test_nan_and_infinity():
    for m, n, k in PATHS:
        a, b = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
        a[m // 2, k // 2] = np.nan
        b[k // 2, n // 2] = np.inf
        got = gemm(a, b)
        assert np.isnan(got[m // 2]).all()
        assert np.isinf(np.delete(got, m // 2, 0)[:, n // 2]).all()
        assert np.isfinite(np.delete(np.delete(got, m // 2, 0), n // 2, 1)).all()


def test_vectors_and_gradients():
    rng = np.random.default_rng(9)
    for shape_a, shape_b in [((4,), (4,)), ((4,), (4, 3)), ((2, 4), (4,)), ((4,), (5, 4, 3)), ((5, 2, 4), (4,))]:
        a, b = rng.standard_normal(shape_a), rng.standard_normal(shape_b)
        np.testing.assert_allclose(ops.matmul(a, b).numpy(), np.matmul(a, b))
        tensors = [pynn.tensor(a, requires_grad=True), pynn.tensor(b, requires_grad=True)]
        pynn.autograd.gradcheck(ops.matmul, tensors)
    zero = ops.matmul(np.zeros(0, np.float32), np.zeros((0, 3), np.float32))
    assert zero.shape == (3,)


def test_errors():
    f = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"matmul: expected equal inner sizes, got 3 and 2 .*\(2, 3\) and \(2, 3\)"):
        ops.matmul(f, f)
    with pytest.raises(TypeError, match="matmul: expected one dtype, got float32 and float64"):
        ops.matmul(f, np.ones((3, 2)))
    with pytest.raises(TypeError, match="matmul: expected float32 or float64 for the first operand, got int64"):
        ops.matmul(np.ones((2, 3), np.int64), f.T)
    with pytest.raises(ValueError, match="at least 1 dimension"):
        ops.matmul(np.float32(1), f)
    with pytest.raises(ValueError, match="batch axes do not broadcast"):
        ops.matmul(np.ones((2, 4, 3), np.float32), np.ones((3, 3, 4), np.float32))
    with pytest.raises(ValueError, match=r"at least 2 dimensions, got shapes \(3,\)"):
        gemm(f[0], f)
    with pytest.raises(ValueError, match=r"expected a bias of shape \(2,\), got \(3,\)"):
        gemm(f, f.T, f[0])
    with pytest.raises(TypeError, match="expected one dtype, got float32 and float64"):
        gemm(f, f.T, np.ones(2))
    with pytest.raises(ValueError, match="got 'selu'"):
        gemm(f, f.T, None, "selu")
    with pytest.raises(TypeError, match="gemm: expected activation: str, got int"):
        gemm(f, f.T, None, 3)
    with pytest.raises(TypeError, match="gemm: expected 6 arguments by position, got 2"):
        _core.gemm(f, f.T)
    with pytest.raises(ValueError, match="accumulate needs out"):
        gemm(f, f.T, accumulate=True)


def test_refused_outputs():
    f = np.ones((3, 3), np.float32)
    square = np.zeros((3, 3), np.float32)
    frozen = square.copy()
    frozen.flags.writeable = False
    for out, message in [
        (np.zeros((3, 2), np.float32), r"expected shape \(3, 3\) for out, got \(3, 2\)"),
        (frozen, "out is read-only"),
        (f, "out overlaps the memory of an input"),
        (f.T, "out overlaps the memory of an input"),
        (np.lib.stride_tricks.as_strided(square, (3, 3), (4, 4)), "the elements of out overlap"),
    ]:
        with pytest.raises(ValueError, match=message):
            gemm(f, f.copy(), out=out)
    with pytest.raises(TypeError, match="expected float32 for out, got float64"):
        gemm(f, f.copy(), out=np.zeros((3, 3)))
    bias = np.ones(9, np.float32)
    with pytest.raises(ValueError, match="out overlaps the memory of an input"):
        gemm(f, f.copy(), bias[3:6], out=bias.reshape(3, 3))
