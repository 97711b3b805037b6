import numpy as np
import pytest

import pynn
from opcase import OpCase, suite
from pynn import _core, ops
from pynn.reference import activation as reference


def rows(rng, n):
    return (rng.standard_normal((n, 37)) * 3,)


CASES = [
    OpCase("sigmoid", ops.sigmoid, reference.sigmoid, rows),
    OpCase("tanh", ops.tanh, reference.tanh, rows),
    OpCase("relu", ops.relu, reference.relu, rows, tolerance=0),
]

test_op = suite(CASES)


def test_extremes():
    x = np.array([-np.inf, -200, -90, -0.0, 0.0, 90, 200, np.inf, np.nan], np.float32)
    for op, expected in [
        (ops.sigmoid, [0, 0, 0, 0.5, 0.5, 1, 1, 1, np.nan]),
        (ops.tanh, [-1, -1, -1, 0, 0, 1, 1, 1, np.nan]),
        (ops.relu, [0, 0, 0, 0, 0, 90, 200, np.inf, np.nan]),
    ]:
        np.testing.assert_allclose(op(x).numpy(), expected, atol=3e-7)


def test_accuracy():
    """What docs/numerics.md says, at every 997th float32 from the smallest normal number on; zeros keep their sign."""
    x = np.arange(0x00800000, 0x42C80000, 997, dtype=np.uint32).view(np.float32)
    x = np.concatenate([x, x[-1:], -x])
    wide = x.astype(np.float64)
    for op, exact, ulps in [(ops.tanh, np.tanh(wide), 5), (ops.sigmoid, 1 / (1 + np.exp(-wide)), 2.4)]:
        chosen = np.abs(exact) > 1e-37
        error = np.abs(op(x).numpy() - exact) / np.spacing(np.abs(exact).astype(np.float32))
        assert error[chosen].max() <= ulps + (_core.isa_name() == "baseline")  # has no fused multiply-add
    assert np.signbit(ops.tanh(np.array([-0.0, 0.0], np.float32)).numpy()).tolist() == [True, False]


@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "relu"])
def test_gradient_of_views(kind):
    """Neither the gradient nor the output has to be dense, also where their layouts are equal."""
    rng = np.random.default_rng(0)
    dy, y = rng.uniform(-1, 1, (2, 10, 12)).astype(np.float32)
    row = np.broadcast_to(y[0], (1000, 12))
    for g, out in [(dy[:, ::2], y[:, ::2]), (dy[::-1], y[::-1]), (dy.T, y.T), (dy, y.T.copy().T), (row, row)]:
        expected = _core.activation_backward(g.copy(), out.copy(), kind)
        np.testing.assert_array_equal(_core.activation_backward(g, out, kind), expected)


def test_integers_are_refused():
    with pytest.raises(TypeError, match="float32 or float64 for input, got int64"):
        ops.relu(pynn.tensor([1, 2]))


def test_relu_takes_inplace_and_gives_a_new_tensor():
    x = pynn.tensor([-1.0, 2.0])
    layer = pynn.nn.ReLU(inplace=True)
    for y in (pynn.nn.functional.relu(x, inplace=True), layer(x), pynn.nn.Sequential(layer)(x)):
        assert y.tolist() == [0, 2] and x.tolist() == [-1, 2]
    assert (repr(layer), repr(pynn.nn.ReLU())) == ("ReLU(inplace=True)", "ReLU()")
    assert layer._config() == {"inplace": True}
