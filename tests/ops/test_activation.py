import numpy as np

import pynn
from opcase import OpCase, suite
from pynn import ops
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


def test_integers_are_refused():
    import pytest

    with pytest.raises(TypeError, match="float32 or float64 for input, got int64"):
        ops.relu(pynn.tensor([1, 2]))
