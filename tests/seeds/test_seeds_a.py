"""Neurons and perceptrons of the lecture decks (ids A1 to A6)."""

import numpy as np
import pytest

import pynn
from pynn import nn, ops
from pynn.models import Perceptron

INPUTS = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)


def neuron(w, theta, x):
    return ops.step(ops.matmul(pynn.as_tensor(x), pynn.tensor(np.array(w, np.float32))) - theta).numpy()


def test_seed_a1_mcculloch_pitts_neuron():
    x = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]], np.float32)
    np.testing.assert_array_equal(neuron([1, 1, -1], 0.0, x), [1, 1, 1])
    np.testing.assert_array_equal(neuron([1, 1, -1], 0.5, x), [0, 0, 1])


def test_seed_a2_perceptron_algorithm_stops_when_nothing_is_wrong():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (200, 2)).astype(np.float32)
    margin = x @ [2.0, -1.0] + 0.3
    x, y = x[abs(margin) > 0.1], np.sign(margin[abs(margin) > 0.1])
    model = Perceptron(2)
    model.fit(x, y)
    np.testing.assert_array_equal(model(x).numpy(), y)


def test_seed_a2_one_correction():
    model = Perceptron(2)
    with pytest.raises(RuntimeError, match="1 of 1 samples still wrong after 1 passes"):
        model.fit([[3.0, -2.0]], [-1], max_epochs=1)
    np.testing.assert_array_equal(model.weight.numpy(), [-3, 2])
    assert model.bias.item() == -1


def test_seed_a3_delta_rule_learns_and():
    # The deck's rule w += 0.11 * mean((y - x·w) x) is gradient descent on half the squared error; its fixed point is
    # the least-squares solution, w = (1/3, 1/3).
    target = np.array([[0], [0], [0], [1]], np.float32)
    layer = nn.Linear(2, 1, bias=False)
    optimizer = pynn.optim.SGD(layer.parameters(), lr=0.11)
    for _ in range(1000):
        optimizer.zero_grad()
        (ops.half_sse_loss(layer(INPUTS), target) / 4).backward()
        optimizer.step()
    np.testing.assert_allclose(layer.weight.detach().numpy(), [[1 / 3, 1 / 3]], atol=1e-6)
    np.testing.assert_array_equal(ops.step(layer(INPUTS) - 0.5).detach().numpy(), target)


def test_seed_a4_logic_gates():
    np.testing.assert_array_equal(neuron([1, 1], 1.5, INPUTS), [0, 0, 0, 1])
    np.testing.assert_array_equal(neuron([1, 1], 0.5, INPUTS), [0, 1, 1, 1])
    np.testing.assert_array_equal(neuron([-1], -0.5, INPUTS[:2, :1]), [1, 0])


def test_seed_a4_xor_is_not_separable():
    with pytest.raises(RuntimeError, match="still wrong"):
        Perceptron(2).fit(INPUTS, [-1, 1, 1, -1], max_epochs=200)


def test_seed_a5_xor_by_two_layers():
    hidden = np.stack([neuron([1, 1], 1.5, INPUTS), neuron([1, 1], 0.5, INPUTS)], axis=1)
    np.testing.assert_array_equal(hidden, [[0, 0], [0, 1], [0, 1], [1, 1]])
    np.testing.assert_array_equal(neuron([-1, 1], 0.5, hidden), [0, 1, 1, 0])


def test_seed_a6_mosquitoes():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.Sigmoid())
    model.load_state_dict(
        {
            "0.weight": [[-5.5921, 7.5976], [-0.5787, -0.2875]],
            "0.bias": [0.5765, -0.2764],
            "2.weight": [[-8.4075, 0.4838]],
            "2.bias": [3.9829],
        }
    )
    x = np.array([[1.72, 1.24], [2.00, 1.26]], np.float32)
    # Weights are printed with four decimals, so the sums are good to about 1e-4 and the outputs to 1e-4 / 4.
    np.testing.assert_allclose(model(x).detach().numpy()[:, 0], [0.2831457, 0.8638418], atol=3e-5)
