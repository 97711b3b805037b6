import numpy as np
import pytest

import pynn
from opcase import OpCase, same_bits, suite
from pynn import _core, ops
from pynn.reference import linear as reference


def draw(rng, n):
    return rng.standard_normal((n, 37)), rng.standard_normal((21, 37)), rng.standard_normal(21)


def bound(x, weight, bias):
    return 1 + np.sqrt(37) * np.linalg.norm(x, axis=-1)[..., None] * np.linalg.norm(weight, axis=-1) + np.abs(bias)


CASES = [
    OpCase(
        activation,
        ops.linear,
        reference.linear,
        draw,
        {"activation": activation},
        bound=bound,
        differentiable=(0, 1, 2),
    )
    for activation in ("none", "sigmoid", "tanh")
]
test_op = suite(CASES)


@pytest.mark.parametrize("activation", ["none", "sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (4,), (0, 4)])
@pytest.mark.parametrize("in_major", [False, True])
def test_against_the_reference(activation, shape, in_major):
    rng = np.random.default_rng(0)
    x, weight, bias = rng.standard_normal(shape), rng.standard_normal((3, 4)), rng.standard_normal(3)
    if in_major:
        weight = np.asfortranarray(weight)
    tensors = [pynn.as_tensor(a) for a in (x, weight, bias)]
    for t in tensors:
        t.requires_grad = True
    y = ops.linear(*tensors, activation=activation)
    expected = reference.linear(x, weight, bias, activation)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12)
    grad = rng.standard_normal(y.shape)
    y.backward(pynn.tensor(grad))
    for t, want in zip(tensors, reference.linear_backward(grad, x, weight, expected, activation), strict=True):
        np.testing.assert_allclose(t.grad.numpy(), want, rtol=1e-10, atol=1e-12)
    assert tensors[1].grad._array.strides == tensors[1]._array.strides


def test_activation_has_the_bits_of_the_op():
    x, weight, bias = (a.astype(np.float32) for a in draw(np.random.default_rng(1), 19))
    plain = ops.linear(x, weight, bias)
    for activation in ("sigmoid", "tanh", "relu"):
        assert same_bits(ops.linear(x, weight, bias, activation).numpy(), getattr(ops, activation)(plain).numpy())


def test_errors():
    ones = np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match="the gradient of the weight needs the input"):
        _core.linear_backward(ones, None, ones, None, "none", False, True, False)
    x, weight = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    for arguments, message in [
        ((x, weight.T), r"linear: expected 4 input features, got 3 \(input shape \(2, 3\)\)"),
        ((x, weight[0]), r"linear: expected input \(..., in\) and weight \(out, in\), got shapes \(2, 3\) and \(3,\)"),
        ((x, weight, x[0]), r"linear: expected a bias of shape \(4,\), got \(3,\)"),
        ((x, weight, None, "selu"), "linear: expected activation .* got 'selu'"),
    ]:
        with pytest.raises(ValueError, match=message):
            ops.linear(*arguments)
    with pytest.raises(TypeError, match="linear: expected one dtype, got float32 and float64"):
        ops.linear(x, weight.astype(np.float64))
