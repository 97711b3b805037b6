import math

import numpy as np
import pytest

import pynn
from pynn import nn


@pytest.mark.parametrize(
    ("draw", "std"),
    [
        (lambda t: nn.init.uniform_(t, -2, 4), 6 / 12**0.5),
        (lambda t: nn.init.normal_(t, 1, 3), 3),
        (nn.init.xavier_uniform_, (2 / 700) ** 0.5),
        (nn.init.xavier_normal_, (2 / 700) ** 0.5),
        (nn.init.kaiming_uniform_, (2 / 400) ** 0.5),
        (lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), (2 / 300) ** 0.5),
    ],
)
def test_standard_deviations(draw, std):
    pynn.manual_seed(3)
    values = draw(pynn.empty(300, 400)).numpy()
    assert abs(values.std() / std - 1) <= 0.01


def test_trunc_normal_stays_inside():
    values = nn.init.trunc_normal_(pynn.empty(100_000), std=1.0).numpy()
    assert abs(values).max() <= 2
    assert abs(values.std() - 0.8796) <= 0.01  # of a normal cut at two standard deviations


def test_constants_and_leaves():
    t = pynn.empty(3, requires_grad=True)
    assert nn.init.ones_(t) is t
    assert t.tolist() == [1, 1, 1]
    assert nn.init.zeros_(t).tolist() == [0, 0, 0]


def test_gains():
    assert nn.init.calculate_gain("relu") == math.sqrt(2)
    assert nn.init.calculate_gain("leaky_relu", 1) == 1
    with pytest.raises(ValueError, match="calculate_gain"):
        nn.init.calculate_gain("unknown")


def test_vectors_have_no_fan():
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        nn.init.kaiming_uniform_(pynn.empty(3))


def test_a_seed_fixes_the_values():
    def draw():
        pynn.manual_seed(11)
        return nn.Linear(5, 4).state_dict()["weight"]

    np.testing.assert_array_equal(draw(), draw())
