import gc
import threading
import weakref

import numpy as np
import pytest

import pynn
from pynn import _core, ops


class Cube(pynn.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x * x * 3


def test_gradients_add_up_over_paths_and_calls():
    x = pynn.tensor([1.0, 2.0], requires_grad=True)
    y = ops.sigmoid(x)
    (y + y).sum().backward()
    once = np.array(x.grad)
    np.testing.assert_allclose(once, 2 * y.detach().numpy() * (1 - y.detach().numpy()), rtol=1e-6)
    (ops.sigmoid(x) * 2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * once, rtol=1e-6)


def test_two_leaves_never_share_a_gradient():
    a = pynn.tensor([1.0, 2.0], requires_grad=True)
    b = pynn.tensor([3.0, 4.0], requires_grad=True)
    (a + b).sum().backward()
    a.grad.fill_(7)
    np.testing.assert_array_equal(b.grad.numpy(), [1, 1])


def test_a_given_gradient_is_not_taken_over():
    x = pynn.tensor([1.0, 2.0], requires_grad=True)
    g = pynn.tensor([5.0, 6.0])
    x.backward(g)
    x.grad.zero_()
    np.testing.assert_array_equal(g.numpy(), [5, 6])


def test_second_backward_names_the_op():
    x = pynn.tensor([1.0], requires_grad=True)
    y = ops.sigmoid(x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"second time.*retain_graph=True"):
        y.backward()


def test_retain_graph():
    x = pynn.tensor([2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8


def test_in_place_change_to_something_saved_is_noticed():
    x = pynn.tensor([1.0], requires_grad=True)
    y = ops.sigmoid(x)
    y.detach().fill_(3)
    with pytest.raises(RuntimeError, match=r"'sigmoid' needs an array of shape .* in-place"):
        y.sum().backward()


def test_in_place_on_a_leaf_needs_no_grad():
    x = pynn.tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="no_grad"):
        x.add_(1)
    with pynn.no_grad():
        x.add_(1)
    assert x.item() == 2


@pytest.mark.parametrize(
    ("assign", "slope"),
    [
        (lambda h, v: h.__iadd__(v), 2.0),
        (lambda h, v: h.__isub__(v), -2.0),
        (lambda h, v: h.__imul__(v), 6.0),
        (lambda h, v: h.__itruediv__(v), -1.5),
    ],
)
def test_augmented_assignment_keeps_the_gradient(assign, slope):
    x = pynn.tensor([1.0, -1.0], requires_grad=True)
    h = before = pynn.full((2, 2), 3.0)
    h = assign(h, x * 2)
    assert before.tolist() == [[3, 3], [3, 3]] and not before.requires_grad
    h.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [2 * slope, 2 * slope], rtol=1e-6)


def test_losses_add_up():
    w = pynn.tensor([1.0, 2.0], requires_grad=True)
    total = 0
    for factor in (2, 3):
        total += (w * factor).sum()
    total /= 2
    total.backward()
    assert w.grad.tolist() == [2.5, 2.5]


def test_augmented_assignment_is_in_place_where_nothing_is_recorded():
    x, w = pynn.ones(2), pynn.tensor([1.0, 2.0], requires_grad=True)
    h = x
    h += 1
    with pynn.no_grad():
        h *= w
        w -= 1
    assert h is x and x.tolist() == [2, 4] and w.is_leaf and w.tolist() == [0, 1]
    with pytest.raises(RuntimeError, match="no_grad"):
        w += w * 2


def test_augmented_assignment_keeps_shape_and_dtype():
    x = pynn.ones(2, requires_grad=True) * 2
    x += pynn.ones(2, dtype=pynn.float64)
    assert x.dtype == pynn.float32 and x.requires_grad and x.detach().tolist() == [3, 3]
    with pytest.raises(ValueError, match=r"\*=: expected a result of shape \(2,\), got \(3, 2\)"):
        x *= pynn.ones(3, 2)
    count = pynn.tensor([1, 2])
    with pytest.raises(TypeError, match=r"\+=: the result is float32, which does not go into int64 in place"):
        count += x


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("item assignment", lambda b, v: b.__setitem__(0, v[0])),
        ("copy_", lambda b, v: b.copy_(v)),
        ("fill_", lambda b, v: b.fill_(v[0])),
        ("add_", lambda b, v: b.add_(v)),
        ("sub_", lambda b, v: b.sub_(v.double())),
        ("mul_", lambda b, v: b.mul_(v)),
        ("div_", lambda b, v: b.div_(v)),
    ],
)
def test_no_gradient_is_lost_in_place(name, write):
    b, w = pynn.zeros(2), pynn.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=f"^{name}: the value requires grad, .*detach"):
        write(b, w * 2)
    assert b.tolist() == [0, 0]
    write(b, (w * 2).detach())
    with pynn.no_grad():
        write(b, w)


def test_another_dtype_keeps_the_gradient():
    x = pynn.tensor([1.0, 2.0], requires_grad=True)
    pynn.as_tensor(x, dtype=pynn.float64).sum().backward()
    assert x.grad.dtype == pynn.float32 and x.grad.tolist() == [1, 1]


def test_no_grad_records_nothing_and_restores():
    x = pynn.tensor([1.0], requires_grad=True)
    with pynn.no_grad():
        assert not ops.sigmoid(x).requires_grad
        with pynn.enable_grad():
            assert ops.sigmoid(x).requires_grad
    assert pynn.is_grad_enabled()


def test_numpy_of_a_recorded_tensor_is_refused():
    with pytest.raises(RuntimeError, match="detach"):
        pynn.tensor([1.0], requires_grad=True).numpy()


def test_create_graph_is_refused():
    with pytest.raises(NotImplementedError, match="create_graph"):
        pynn.tensor([1.0], requires_grad=True).backward(create_graph=True)


def test_function():
    x = pynn.tensor(np.array([1.0, -2.0, 3.0]), requires_grad=True)
    assert pynn.autograd.gradcheck(Cube.apply, [x])


def test_function_with_a_wrong_gradient_is_caught():
    class Wrong(Cube):
        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * x * x * 2

    x = pynn.tensor(np.array([1.0, -2.0]), requires_grad=True)
    assert not pynn.autograd.gradcheck(Wrong.apply, [x], raise_exception=False)
    with pytest.raises(AssertionError, match="input 0 at"):
        pynn.autograd.gradcheck(Wrong.apply, [x])


def test_gradcheck_refuses_float32():
    with pytest.raises(TypeError, match="float64"):
        pynn.autograd.gradcheck(ops.sigmoid, [pynn.tensor([1.0], requires_grad=True)])


def test_the_tape_leaves_no_cycles():
    x = pynn.tensor(np.ones((64, 64), np.float32), requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            ops.tanh(ops.sigmoid(x)).sum().backward()
            x.grad = None
            ops.sigmoid(x)  # a forward without its backward
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_long_chain_is_dropped_without_recursion():
    x = pynn.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(50_000):
        y = ops.tanh(y)
    del y


def test_a_long_chain_runs_backward():
    x = pynn.tensor([0.5], requires_grad=True)
    y = x
    for _ in range(20_000):
        y = ops.relu(y)
    y.sum().backward()
    assert x.grad.item() == 1


def test_version_counts_in_place_writes():
    a = _core.full((3,), 1.0, np.float32)
    _core.fill_(a, 2.0)
    assert a.version == 1


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (lambda g: 3.0, TypeError, "Bad.backward: expected Tensors as gradients, got float"),
        (lambda g: g.sum(), ValueError, r"Bad.backward: expected a gradient of shape \(2,\), got \(\)"),
        (lambda g: (g, g), ValueError, "Bad.backward: expected 1 gradients"),
    ],
)
def test_a_function_with_a_wrong_backward(gradient, error, message):
    class Bad(pynn.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad_output):
            return gradient(grad_output)

    x = pynn.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(error, match=message):
        Bad.apply(x).sum().backward()


def test_a_cycle_through_a_closure_is_collected():
    def cycle(freed):
        x = pynn.tensor([1.0], requires_grad=True)
        held = []
        y = _core.record("cycle", _core.copy(x._array), (x,), lambda grad: (held and grad,))
        held.append(y)  # the closure sees the tensor that holds it
        weakref.finalize(y, freed.append, True)

    freed = []
    cycle(freed)
    gc.collect()
    assert freed


@pytest.mark.parametrize(
    ("backward", "error", "message"),
    [
        (lambda g: (g, g), ValueError, "backward of 'op': expected 1 gradients, got 2"),
        (lambda g: g, TypeError, "backward of 'op': expected a tuple of gradients, got .*Array"),
        (lambda g: (1.0,), TypeError, "op: expected an Array, got float"),
    ],
)
def test_an_op_with_a_wrong_backward(backward, error, message):
    x = pynn.tensor([1.0], requires_grad=True)
    y = _core.record("op", _core.copy(x._array), (x,), backward)
    with pytest.raises(error, match=message):
        y.backward()
    assert x.grad is None


def test_record_refuses_what_is_no_tensor_or_array():
    a = _core.full((1,), 1.0, np.float32)
    with pytest.raises(TypeError, match="expected Tensors or None as inputs of an op, got int"):
        _core.record("op", a, (1,), None)
    with pytest.raises(TypeError, match="record: expected an Array, got list"):
        _core.record("op", [], (), None)
    with pytest.raises(TypeError, match="record: expected tuples as inputs and saved"):
        _core.record("op", a, [], None)
    x = pynn.tensor([1.0], requires_grad=True)
    x.grad = 3
    with pytest.raises(TypeError, match=r"expected a Tensor or None as \.grad, got int"):
        (x * 2).sum().backward()


def test_each_thread_has_a_grad_mode_of_its_own():
    seen = []
    with pynn.no_grad():
        thread = threading.Thread(target=lambda: seen.append(pynn.is_grad_enabled()))
        thread.start()
        thread.join()
        assert not pynn.is_grad_enabled()
    assert seen == [True]


def take(x, calls):
    """The identity as an op that multiplies by the derivative of an activation itself where it is asked to."""

    def backward(grad, output=None, activation="none"):
        calls.append(activation)
        return (grad if output is None else _core.activation_backward(grad, output, activation),)

    return _core.record("take", _core.copy(x._array), (x,), backward, (), "none", True)


def test_an_op_takes_the_derivative_of_an_activation_that_it_alone_uses():
    x = pynn.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    slope = 1 - np.tanh(x.detach().numpy()) ** 2
    calls = []
    y = ops.tanh(x)
    z = take(y, calls)
    for _ in range(2):
        z.sum().backward(retain_graph=True)
    assert calls == ["tanh", "tanh"]
    np.testing.assert_allclose(x.grad.numpy(), 2 * slope, rtol=1e-5)
    x.grad = None
    (take(y, calls) + z).sum().backward(retain_graph=True)  # two use it now
    assert calls[2:] == ["none", "none"]
    np.testing.assert_allclose(x.grad.numpy(), 2 * slope, rtol=1e-5)
    x.grad = None
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), slope, rtol=1e-5)
    with pytest.raises(RuntimeError, match="backward through 'tanh' a second time"):
        z.sum().backward()


def test_an_activation_that_was_changed_is_an_error_for_the_op_that_takes_it():
    x = pynn.tensor([-1.0, 0.5], requires_grad=True)
    y = ops.tanh(x)
    z = take(y, [])
    with pynn.no_grad():
        y.add_(1)
    with pytest.raises(RuntimeError, match="backward of 'tanh' needs an array of shape"):
        z.sum().backward()


def test_record_takes_the_output_of_an_activation_as_the_last_saved():
    a = _core.copy(pynn.ones(2)._array)
    with pytest.raises(TypeError, match="the output of an activation as the last of saved"):
        _core.record("op", a, (), None, (), "tanh")
    with pytest.raises(TypeError, match="the name of an activation"):
        _core.record("op", a, (), None, (a,), 3)
