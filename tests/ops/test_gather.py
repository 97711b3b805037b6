import numpy as np
import pytest

import pynn
from opcase import THREADS, all_threads, isa, layouts, same_bits
from pynn import _core, ops
from pynn.reference import gather as reference

DTYPES = ("uint8", "float32", "float64", "int64", "int32", "bool")


def draw(shape, dtype, seed=0):
    return (np.random.default_rng(seed).random(shape) * 255).astype(dtype)


def rows(n, of, seed=1):
    return np.random.default_rng(seed).integers(-of, of, n)


def gathered(*args, **kwargs):
    return ops.gather_rows(*args, **kwargs).numpy()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_as_they_are(dtype):
    for shape in ((9,), (9, 1), (9, 17), (9, 3, 5), (9, 0)):
        x = draw(shape, dtype)
        for n in (0, 1, 30):
            assert same_bits(gathered(x, rows(n, 9)), x[rows(n, 9)])


def check_normalized(x, index, **kwargs):
    got, expected = gathered(x, index, **kwargs), reference.gather_rows(x.astype(np.float64), index, **kwargs)
    assert got.dtype == np.float32
    assert got.shape == expected.shape
    # two roundings of the factors and one of the sum, each relative to the larger term
    mean, std = np.max(np.abs(kwargs.get("mean", 0))), np.min(np.abs(kwargs.get("std", 1)))
    bound = (255 * kwargs.get("scale", 1) + mean) / std
    assert np.all(np.abs(got - expected) <= 3 * np.finfo(np.float32).eps * bound)


@pytest.mark.parametrize("isa_name", _core.supported_isas())
@pytest.mark.parametrize("dtype", DTYPES)
def test_normalized(isa_name, dtype):
    with isa(isa_name):
        for features in (1, 3, 15, 16, 17, 50, 784):
            check_normalized(draw((20, features), dtype), rows(30, 20), scale=1 / 255, mean=0.1307, std=0.3081)
        for channels, axis in ((1, -1), (2, -1), (3, -1), (17, -1), (3, 1), (16, 1)):
            shape = (20, channels, 5, 7) if axis == 1 else (20, 5, 7, channels)
            mean, std = np.linspace(0.1, 0.9, channels), np.linspace(0.2, 0.7, channels)
            check_normalized(draw(shape, dtype), rows(30, 20), scale=1 / 255, mean=mean, std=std, axis=axis)
        check_normalized(draw((20, 4, 3, 5), dtype), rows(9, 20), mean=[1, 2, 3], std=2.0, axis=2)


def test_avx2_and_avx512_give_the_same_bits():
    results = []
    for name in {"avx2", "avx512"} & set(_core.supported_isas()):
        with isa(name):
            results.append(gathered(draw((9, 50), "uint8"), rows(20, 9), scale=1 / 255, mean=0.1, std=0.3))
    assert all(same_bits(results[0], r) for r in results)


def test_bytes_to_the_unit_interval():
    x = np.arange(256, dtype=np.uint8).reshape(256, 1)
    got = gathered(x, np.arange(256), scale=1 / 255)[:, 0]
    assert got[0] == 0
    assert got[255] == 1
    assert np.all(np.diff(got) > 0)


def test_nan_and_infinity_pass():
    x = np.array([[np.nan, np.inf, -np.inf, 1]], np.float32)
    np.testing.assert_array_equal(gathered(x, [0], mean=1.0, std=2.0), [[np.nan, np.inf, -np.inf, 0]])


def test_threads_and_batch_splits():
    x, index = draw((50, 40), "uint8"), rows(300, 50)
    whole = gathered(x, index, scale=1 / 255, mean=0.2, std=0.4)
    for threads in THREADS:
        with all_threads(threads):
            assert same_bits(gathered(x, index, scale=1 / 255, mean=0.2, std=0.4), whole)
            assert same_bits(gathered(x, index), x[index])
    for i in range(0, 300, 37):
        assert same_bits(gathered(x, index[i : i + 1], scale=1 / 255, mean=0.2, std=0.4), whole[i : i + 1])


def test_layouts():
    x, index = draw((9, 17), "float32"), rows(20, 9)
    for _, other in layouts(x):
        assert same_bits(gathered(other, index), x[index])
        assert same_bits(gathered(other, index, mean=1.0), gathered(x, index, mean=1.0))
    assert same_bits(gathered(x, np.repeat(index, 2)[::2]), x[index])


def test_out_is_reused():
    x, index = draw((9, 17), "uint8"), rows(20, 9)
    out = pynn.empty(20, 17)
    assert ops.gather_rows(x, index, scale=1 / 255, out=out) is out
    assert same_bits(out.numpy(), gathered(x, index, scale=1 / 255))
    with pytest.raises(ValueError, match=r"expected shape \(20, 17\) for out, got \(20, 16\)"):
        ops.gather_rows(x, index, scale=1, out=pynn.empty(20, 16))
    with pytest.raises(TypeError, match="expected uint8 for out, got float32"):
        ops.gather_rows(x, index, out=out)
    with pytest.raises(ValueError, match="C order"):
        ops.gather_rows(x, index, scale=1, out=pynn.empty(17, 20).T)
    y = pynn.zeros(9, 17)
    with pytest.raises(ValueError, match="shares memory"):
        ops.gather_rows(y, np.arange(9), out=y)


@pytest.mark.parametrize("options", [{}, {"scale": 2.0}])
def test_an_index_out_of_range_changes_nothing(options):
    x = draw((9, 17), "float32")
    for wrong in (9, -10, 2**62, -(2**63)):
        out = pynn.full((3, 17), 5.0)
        with pytest.raises(IndexError, match=f"index {wrong} is out of range for 9 rows"):
            ops.gather_rows(x, np.array([0, wrong, 1]), out=out, **options)
        assert np.all(out.numpy() == 5)
    with pytest.raises(IndexError):
        ops.gather_rows(np.zeros((0, 3)), np.array([0]), **options)


def test_bad_arguments():
    x = draw((9, 4), "uint8")
    with pytest.raises(TypeError, match="expected int64 for index, got float32"):
        ops.gather_rows(x, [0.5])
    with pytest.raises(ValueError, match="expected 1 dimension for index"):
        ops.gather_rows(x, [[0]])
    with pytest.raises(ValueError, match="at least 1 dimension"):
        ops.gather_rows(np.float32(1), [0])
    with pytest.raises(ValueError, match="std different from 0"):
        ops.gather_rows(x, [0], std=0.0)
    with pytest.raises(ValueError, match="expected 4 values of mean and std for axis 1"):
        ops.gather_rows(x, [0], mean=[1, 2, 3])
    with pytest.raises(ValueError, match="axis 0 counts the rows"):
        ops.gather_rows(x, [0], mean=np.ones(9), axis=0)
    with pytest.raises(IndexError, match="axis 2 is out of range"):
        ops.gather_rows(x, [0], mean=[1, 2], axis=2)
    with pytest.raises(RuntimeError, match="no gradient"):
        ops.gather_rows(pynn.zeros(3, 3, requires_grad=True), [0])
