import json

import numpy as np
import pytest

import pynn
from guardpage import guarded
from opcase import THREADS, all_threads, isa, same_bits
from pynn import _core, nn, ops, random
from pynn.reference import dropout as reference

each_isa = pytest.mark.parametrize("isa_name", _core.supported_isas())


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def with_gradient(x, p=0.3, weight=None):
    """The output and the gradient of one call that starts its stream anew."""
    pynn.manual_seed(9)
    t = pynn.tensor(x, requires_grad=True)
    y = ops.dropout(t, p)
    y.backward(pynn.tensor(np.ones_like(x) if weight is None else weight))
    return y.detach().numpy(), t.grad.numpy()


@each_isa
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_element(isa_name, dtype):
    with isa(isa_name):
        for n in (0, 1, 3, 15, 16, 17, 63, 64, 65, 1000):
            x, weight = normal(n, dtype=dtype), normal(n + 1, dtype=dtype)[1:]
            y, dx = with_gradient(x, 0.3, weight)
            assert same_bits(y, reference.dropout(x, 0.3, 9, 1, 0))
            assert same_bits(dx, reference.dropout(weight, 0.3, 9, 1, 0))


def test_the_same_bits_at_any_thread_count():
    results = []
    for threads in THREADS:
        with all_threads(threads):
            results.append(with_gradient(normal(30011)))
    for result in results:
        assert all(same_bits(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_expectation(p):
    n = 200_000
    y, _ = with_gradient(np.ones(n, np.float32), p)
    deviation = (p * (1 - p) / n) ** 0.5
    assert abs((y == 0).mean() - p) <= 5 * deviation
    assert np.all((y == 0) | (y == np.float32(1 / (1 - p))))


def test_extreme_probabilities_and_values():
    x = np.array([1, -2, np.nan, np.inf] * 8, np.float32)
    np.testing.assert_array_equal(ops.dropout(x, 0).numpy(), x)
    np.testing.assert_array_equal(ops.dropout(x[:2], 1).numpy(), [0, 0])
    y, _ = with_gradient(x, 0.5)
    assert np.isnan(y[2::4]).all()  # as in PyTorch, which multiplies
    assert np.all(np.isnan(y[3::4]) | (y[3::4] == np.inf))


def test_evaluation_is_the_identity():
    t = pynn.tensor(normal(5), requires_grad=True)
    assert ops.dropout(t, 0.5, training=False) is t
    assert nn.Dropout().eval()(t) is t


def test_memory_order_is_kept():
    x = normal(2, 5, 6, 3)
    turned = pynn.as_tensor(x).permute(0, 3, 1, 2)
    pynn.manual_seed(3)
    y = ops.dropout(turned, 0.4)
    assert y._array.strides == turned._array.strides
    pynn.manual_seed(3)
    assert same_bits(y.numpy().transpose(0, 2, 3, 1).copy(), ops.dropout(x, 0.4).numpy())
    for view in (x[:, ::2], x[::-1], np.broadcast_to(x[:1], (4, 5, 6, 3))):
        assert same_bits(with_gradient(view)[0], with_gradient(view.copy())[0])


def test_a_gradient_of_another_layout():
    x, weight = normal(4, 6), normal(6, 4)
    pynn.manual_seed(9)
    t = pynn.tensor(x, requires_grad=True)
    ops.dropout(t, 0.3).backward(pynn.as_tensor(weight).permute(1, 0))
    assert same_bits(t.grad.numpy(), with_gradient(x, 0.3, weight.T.copy())[1])


def test_gradient():
    pynn.manual_seed(0)
    state = pynn.get_rng_state()

    def function(t):
        pynn.set_rng_state(state)
        return ops.dropout(t, 0.4)

    pynn.autograd.gradcheck(function, [pynn.tensor(normal(3, 7, dtype=np.float64), requires_grad=True)])


def test_no_byte_beyond_an_array_is_touched():
    for n in (1, 15, 17, 65):
        for at in ("begin", "end"):
            assert same_bits(with_gradient(guarded(normal(n), at))[0], with_gradient(normal(n))[0])


def test_replay_draws_again():
    x = _core.wrap(np.ones(500, np.float32))
    pynn.manual_seed(1)
    program = _core.Program()
    program.begin()
    t = pynn.Tensor._wrap(x).requires_grad_()
    y = ops.dropout(t, 0.5)
    y.backward(pynn.ones(500))
    program.finish([y._array, t.grad._array])
    seen = []
    for _ in range(2):
        y, dx = (np.array(a) for a in program.replay([]))
        assert same_bits(y, dx)
        seen.append(y)
    assert not np.array_equal(*seen)


def test_its_own_stream():
    pynn.manual_seed(5)
    first = pynn.rand(10).numpy()
    pynn.manual_seed(5)
    ops.dropout(np.ones(100, np.float32))
    assert same_bits(pynn.rand(10).numpy(), first)
    assert random.dropout_generator.offset == 2


def test_state_is_saved_and_restored():
    pynn.manual_seed(5)
    pynn.rand(100)
    ops.dropout(np.ones(100, np.float32))
    state = json.loads(json.dumps(pynn.get_rng_state().tolist()))
    x = np.ones(300, np.float32)
    expected = ops.dropout(x).numpy(), pynn.rand(5).numpy()
    assert not same_bits(ops.dropout(x).numpy(), expected[0])
    pynn.set_rng_state(state)
    assert same_bits(ops.dropout(x).numpy(), expected[0]) and same_bits(pynn.rand(5).numpy(), expected[1])
    before = pynn.get_rng_state()
    for bad in ([1, 2, 3], [[0, 0, 0], [0, 0, 2**64]], [[0, 0, 0], [0, 1, 0.5]]):
        with pytest.raises((ValueError, TypeError), match="expected"):
            pynn.set_rng_state(bad)
    np.testing.assert_array_equal(pynn.get_rng_state(), before)


def test_layer():
    assert repr(nn.Dropout(0.3)) == "Dropout(p=0.3, inplace=False)"
    assert repr(nn.Dropout(np.float32(0.5))) == "Dropout(p=0.5, inplace=False)"
    model = nn.Sequential(nn.Dropout(0.5))
    x = normal(50)
    pynn.manual_seed(0)
    y = model(x).numpy()
    assert 0 < np.count_nonzero(y) < 50
    pynn.manual_seed(0)
    assert same_bits(model(x).numpy(), y)
    for bad in (-0.1, 1.1, float("nan"), "0.5", None):
        with pytest.raises(ValueError, match=r"Dropout: expected a probability in \[0, 1\] as p, got"):
            nn.Dropout(bad)
        with pytest.raises(ValueError, match=r"dropout: expected a probability in \[0, 1\] as p, got"):
            ops.dropout(x, bad)
    with pytest.raises(ValueError, match="inplace"):
        nn.Dropout(0.5, inplace=True)
    with pytest.raises(TypeError, match="float32 or float64"):
        ops.dropout(np.arange(5))
