"""Copies, conversions and fills, through the views of the core. NumPy is the reference: a copy has no arithmetic."""

import itertools

import numpy as np
import pytest

from opcase import THREADS, all_threads, isa, same_bits
from pynn import _core

DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")
EDGES = (1, 2, 7, 15, 16, 17, 33, 63, 64, 65, 130)  # around register blocks, bands and tiles


def draw(shape, dtype, seed=0):
    return (np.random.default_rng(seed).random(shape) * 200).astype(dtype)


def copied(view):
    out = np.full(view.shape, 77).astype(view.dtype)
    _core.copy_(out, view)
    return out


@pytest.fixture(params=_core.supported_isas())
def each_isa(request):
    with isa(request.param):
        yield request.param


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_transposes_of_every_edge(each_isa, dtype):
    for rows, columns in itertools.product(EDGES, EDGES):
        a = draw((rows, columns), dtype)
        assert np.array_equal(copied(a.T), a.T), (rows, columns)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_order_of_axes(each_isa, dtype):
    a = draw((3, 5, 17, 18), dtype)
    for order in itertools.permutations(range(4)):
        assert np.array_equal(copied(a.transpose(order)), a.transpose(order)), order


@pytest.mark.parametrize("shape", [(4, 28 * 28, 6), (4, 6, 28 * 28), (2, 49, 64), (2, 64, 49), (3, 70, 3)])
def test_channels_first_and_last(each_isa, shape):
    for dtype in ("float32", "float64", "uint8"):
        a = draw(shape, dtype)
        assert np.array_equal(copied(a.transpose(0, 2, 1)), a.transpose(0, 2, 1))


def test_steps_reversals_and_broadcasts_on_both_sides(each_isa):
    a = draw((40, 50), "float32")
    sources = [a[::2, ::3], a[::-1], a[:, ::-1], a[5:6], a[:, 5:6], a[3], np.float32(4), a.T[::-2, ::-1]]
    for source in sources:
        shape = np.broadcast_shapes(np.shape(source), (1, 1))
        shape = tuple(20 if n == 1 else n for n in shape)
        expected = np.broadcast_to(source, shape)
        for make in (
            lambda s: np.zeros(s, np.float32),
            lambda s: np.zeros([2 * n for n in s], np.float32)[1::2, ::2],
            lambda s: np.zeros(s[::-1], np.float32).T,
            lambda s: np.zeros(s, np.float32)[::-1, ::-1],
        ):
            target = make(shape)
            whole = target.base if target.base is not None else target
            untouched = whole.size - target.size
            _core.copy_(target, np.asarray(source))
            assert np.array_equal(target, expected)
            assert np.count_nonzero(whole == 0) >= untouched  # the elements between those of the target


@pytest.mark.parametrize("into", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_conversions(each_isa, dtype, into):
    for n in (0, 1, 15, 16, 17, 100, 1000):
        a = draw(n, dtype)
        assert np.array_equal(np.asarray(_core.cast(a, into)), a.astype(into))
    a = draw((20, 33), dtype)
    for view in (a.T, a[::2, ::3], np.broadcast_to(a[:, :1], (20, 40))):
        assert np.array_equal(np.asarray(_core.cast(view, into)), view.astype(into))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_to_integers(each_isa, dtype):
    a = np.tile(np.array([-2.9, -0.5, 0.99, 2.9, -1e9, 1e9], dtype), 9)
    for into in ("int64", "int32"):
        assert np.array_equal(np.asarray(_core.cast(a, into)), a.astype(into))
    big = np.array([2.0**40, -(2.0**62), 2.0**62], dtype)
    assert np.asarray(_core.cast(big, "int64")).tolist() == [2**40, -(2**62), 2**62]
    strange = np.tile(np.array([np.nan, np.inf, -np.inf, 1e30, -1e30], dtype), 9)
    for into in ("int64", "int32", "uint8"):
        _core.cast(strange, into)  # any value, but no trap and no undefined behaviour


def test_truth(each_isa):
    for dtype in ("float32", "float64"):
        a = np.tile(np.array([0, -0.0, np.nan, np.inf, 1e-40, -3], dtype), 11)
        assert np.array_equal(np.asarray(_core.cast(a, bool)), a != 0)
    raw = np.tile(np.array([0, 1, 2, 255], np.uint8), 20).view(bool)  # any byte but 0 is true
    assert np.asarray(_core.cast(raw, "float32")).tolist() == [0, 1, 1, 1] * 20


def test_subnormals_and_nan_payloads_are_kept(each_isa):
    bits = np.array([1, 0x7FFFFF, 0x7FC12345, 0x7F812345, 0xFFC00001, 0x80000001], np.uint32)  # one of them signals
    a = np.tile(bits, 70).view(np.float32).reshape(20, 21)
    for view in (a, a.T, a[:, ::2], np.broadcast_to(a[:, :1], (20, 9)), np.broadcast_to(a[3], (5, 21))):
        assert same_bits(copied(view), np.ascontiguousarray(view))
    tiny = np.array([1e-40, 1e-310])
    assert np.asarray(_core.cast(tiny.astype(np.float32), "float64")).tolist() == tiny.astype(np.float32).tolist()
    assert np.asarray(_core.cast(tiny, "float32"))[0] == np.float32(1e-40)


@pytest.mark.parametrize("threads", THREADS)
def test_threads(threads):
    a = draw((70, 300, 9), "float32")
    with all_threads(threads):
        for view in (a, a.T, a.transpose(0, 2, 1), a[:, ::2], np.broadcast_to(a[:1], a.shape), a.reshape(-1)):
            assert np.array_equal(copied(view), view)
        assert np.array_equal(np.asarray(_core.cast(a, "int64")), a.astype(np.int64))
        assert np.all(np.asarray(_core.full((100_001,), 3, "uint8")) == 3)


def test_nothing_beyond_the_ends_is_touched(each_isa):
    for rows, columns in ((5, 7), (16, 16), (65, 70), (3, 200)):
        for dtype in ("float32", "float64", "uint8"):
            a = draw((rows, columns), dtype)
            frame = np.full((columns + 2, rows + 2), 99, dtype)
            _core.copy_(frame[1:-1, 1:-1], a.T)
            assert np.array_equal(frame[1:-1, 1:-1], a.T)
            frame[1:-1, 1:-1] = 99
            assert np.all(frame == 99)


def test_a_copy_of_itself_shifted():
    for shift in (1, 5, 20):
        a = np.arange(100.0)
        expected = a.copy()
        expected[shift:] = a[:-shift]
        _core.copy_(a[shift:], a[:-shift])
        assert np.array_equal(a, expected)
    a = draw((30, 30), "float32")
    expected = a.T.copy()
    _core.copy_(a, a.T)
    assert np.array_equal(a, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fills(each_isa, dtype):
    for n in (0, 1, 15, 16, 17, 100, 5000):
        assert np.array_equal(np.asarray(_core.full((n,), 1, dtype)), np.full(n, 1, dtype))
    a = np.zeros((7, 9), dtype)
    _core.fill_(a[1:-1, ::2], 1)
    expected = np.zeros((7, 9), dtype)
    expected[1:-1, ::2] = 1
    assert np.array_equal(a, expected)


def test_values_that_do_not_fit():
    for value, dtype in ((300, "uint8"), (-1, "uint8"), (2**31, "int32"), (2**63, "int64"), (np.nan, "int64")):
        with pytest.raises(ValueError, match="does not fit"):
            _core.full((2,), value, dtype)
    with pytest.raises(TypeError, match="expected a number, got str"):
        _core.full((2,), "1", "float32")
    assert np.asarray(_core.full((1,), 2.9, "int64")).tolist() == [2]


def test_bad_targets():
    a = _core.full((1, 3), 0, "float32")
    for write in (lambda t: _core.fill_(t, 1), lambda t: _core.copy_(t, a)):
        with pytest.raises(ValueError, match="expanded view"):
            write(_core.expand(a, (4, 3)))
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        _core.copy_(frozen, np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"\(2,\) does not broadcast to \(3,\)"):
        _core.copy_(np.zeros(3), np.zeros(2))


def test_sizes_that_overflow():
    one = _core.full((1,), 1, "uint8")
    for shape in ((2**40, 2**40), (0, 2**40, 2**40), (2**62, 4)):
        with pytest.raises(ValueError):
            _core.empty(shape, "uint8")
        with pytest.raises(ValueError, match="overflows"):
            _core.expand(_core.reshape(one, (1,) * len(shape)), shape)
    with pytest.raises(ValueError, match="overflows"):
        _core.reshape(_core.empty((0,), "uint8"), (0, 2**40, 2**40))
    wide = _core.expand(one, (2**62,))  # a view may be wide; its copy has no room
    with pytest.raises(MemoryError):
        _core.contiguous(wide)
    step = _core.index(_core.full((5,), 1, "float32"), slice(0, 5, 2**62))
    assert np.asarray(step).tolist() == [1]


def test_the_copy_of_an_expanded_view_is_in_c_order():
    row = _core.expand(_core.full((1, 4), 1, "float32"), (3, 4))
    assert _core.copy(row).strides == (4, 1)
