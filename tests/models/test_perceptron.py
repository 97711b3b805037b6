"""The perceptron's learning rule refuses what it cannot learn from; what it learns is in tests/seeds."""

import numpy as np
import pytest

from pynn.models import Perceptron

X, Y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), [-1, -1, -1, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_not_finite(value):
    x = X.copy()
    x[2, 1] = value
    model = Perceptron(2)
    with pytest.raises(ValueError, match="expected finite numbers in x"):
        model.fit(x, Y)
    assert not model.weight.numpy().any() and not model.bias.numpy().any()


@pytest.mark.parametrize("passes", [0, -1])
def test_no_passes(passes):
    with pytest.raises(ValueError, match="expected max_epochs >= 1"):
        Perceptron(2).fit(X, Y, max_epochs=passes)


def test_labels_and_shapes():
    for x, y in ((X, [0, 0, 0, 1]), (X, Y[:3]), (X[:, :1], Y), (X[0], Y)):
        with pytest.raises(ValueError, match="Perceptron: expected"):
            Perceptron(2).fit(x, y)
