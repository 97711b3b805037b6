import numpy as np
import pytest

import pynn
from opcase import OpCase, isa, same_bits, suite
from pynn import _core, ops
from pynn.reference import softmax as reference


def rows(classes):
    return lambda rng, n: (rng.standard_normal((n, classes)) * 5,)


def columns(rng, n):
    return (rng.standard_normal((n, 5, 6)) * 5,)


# softmax: the relative error of exp is that of x - max, half an ulp of up to 35 here. log_softmax: two subtractions.
CASES = [
    *(
        OpCase(f"{name}-{classes}", getattr(ops, name), getattr(reference, name), rows(classes), {"dim": -1}, 16)
        for name in ("softmax", "log_softmax")
        for classes in (1, 10, 16, 17, 100, 700)
    ),
    *(
        OpCase(
            f"{name}-dim{dim}",
            getattr(ops, name),
            getattr(reference, name),
            columns,
            {"dim": dim},
            16,
            by_row=dim != 0,
            sizes=(1, 3, 15, 16, 17, 33),
        )
        for name in ("softmax", "log_softmax")
        for dim in (0, 1)
    ),
]

test_op = suite(CASES)


@pytest.mark.parametrize("classes", [3, 10, 40])
def test_extremes(classes):
    x = np.zeros((6, classes), np.float32)
    x[0, :3] = [1000, -1000, 999]
    x[1] = -np.inf
    x[2, 1] = np.nan
    x[3, 1] = np.inf
    x[4, 1:] = -np.inf
    x[5] = -1000
    y, log_y = ops.softmax(x, 1).numpy(), ops.log_softmax(x, 1).numpy()
    p = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(y[0, :3], [p, 0, 1 - p], rtol=1e-6)
    np.testing.assert_allclose(log_y[0, :3], [np.log(p), np.log(p) - 2000, np.log(1 - p)], rtol=1e-6)
    assert np.isnan(y[1:4]).all() and np.isnan(log_y[1:4]).all()
    np.testing.assert_array_equal(y[4], [1] + [0] * (classes - 1))
    np.testing.assert_array_equal(log_y[4], [0] + [-np.inf] * (classes - 1))
    np.testing.assert_allclose(y[5], 1 / classes, rtol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("classes", [10, 300])
def test_gradient_formula_in_float32(name, classes):
    rng = np.random.default_rng(1)
    x, grad = rng.standard_normal((50, classes), np.float32), rng.standard_normal((50, classes), np.float32)
    t = pynn.tensor(x, requires_grad=True)
    y = getattr(ops, name)(t, 1)
    y.backward(pynn.tensor(grad))
    backward = getattr(reference, f"{name}_backward")
    expected = backward(grad.astype(np.float64), y.detach().numpy().astype(np.float64), 1)
    assert np.abs(t.grad.numpy() - expected).max() <= 4e-6


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_gradient_has_the_same_bits_on_avx2_and_avx512(name):
    if not {"avx2", "avx512"} <= set(_core.supported_isas()):
        pytest.skip("needs a CPU with AVX-512")
    rng = np.random.default_rng(2)
    for classes in (1, 7, 16, 33, 1100):
        y, grad = rng.random((9, classes), np.float32), rng.standard_normal((9, classes), np.float32)
        seen = []
        for name_of_isa in ("avx2", "avx512"):
            with isa(name_of_isa):
                seen.append(np.asarray(getattr(_core, f"{name}_backward")(grad, y, 1)))
        assert same_bits(*seen), classes


def test_shapes_without_elements_and_without_axes():
    for op in (ops.softmax, ops.log_softmax):
        assert op(np.zeros((0, 3), np.float32), 1).shape == (0, 3)
        assert op(np.zeros((3, 0), np.float32), 1).shape == (3, 0)
    assert ops.softmax(np.float32(3), 0).item() == 1


def test_errors():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(IndexError, match="softmax: axis 2 is out of range for 2 dimensions"):
        ops.softmax(x, 2)
    with pytest.raises(TypeError, match="log_softmax: expected float32 or float64 for input, got int64"):
        ops.log_softmax(np.arange(3), 0)
    with pytest.raises(ValueError, match="softmax_backward: expected equal shapes"):
        _core.softmax_backward(x, x[:1], 1)
