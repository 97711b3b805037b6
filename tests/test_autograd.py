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


def test_a_gradient_has_a_place_for_every_element():
    x = pynn.tensor([1.0, 2.0], requires_grad=True)
    for total in (2, 4):  # the gradient of a sum is one number, expanded
        (x.sum() * 2).backward()
        np.testing.assert_array_equal(x.grad.numpy(), [total, total])
        assert x.grad.is_contiguous()


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
        (lambda g: [g, g], ValueError, "Bad.backward: expected 1 gradients, one per argument of forward, got 2"),
        (lambda g: g.double(), TypeError, "Bad.backward: expected a gradient of dtype float32, got float64"),
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


def test_a_function_gives_its_gradients_as_a_list():
    class Product(pynn.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, None, y)
            return x * y

        @staticmethod
        def backward(ctx, grad_output):
            x, _, y = ctx.saved_tensors
            return [grad_output * y, grad_output * x]

    x, y = pynn.tensor([2.0], requires_grad=True), pynn.tensor([3.0], requires_grad=True)
    Product.apply(x, y).backward()
    assert (x.grad.item(), y.grad.item()) == (3, 2)


def test_only_tensors_are_saved_for_backward():
    class Saving(Cube):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x, 3)
            return x

    with pytest.raises(TypeError, match="save_for_backward: expected Tensors or None, got int; keep other values"):
        Saving.apply(pynn.tensor([1.0], requires_grad=True))


@pytest.mark.parametrize("gradient", [np.ones(2, np.float32), 3.0])
def test_a_gradient_that_is_no_tensor_is_named(gradient):
    x = pynn.tensor([1.0, 2.0], requires_grad=True)
    x.grad = gradient
    kind = type(gradient).__name__
    for name, call in {
        "SGD": pynn.optim.SGD([x], lr=0.1).step,
        "Adam": pynn.optim.Adam([x]).step,
        "clip_grad_norm_": lambda: pynn.nn.utils.clip_grad_norm_([x], 1),
        "clip_grad_value_": lambda: pynn.nn.utils.clip_grad_value_(x, 1),
    }.items():
        with pytest.raises(TypeError, match=rf"{name}: expected a Tensor or None as \.grad .* \(2,\), got {kind}"):
            call()
    assert x.tolist() == [1, 2]


def test_modes_decorate_with_brackets_and_without():
    @pynn.no_grad
    def plain(x, *, factor):
        "What it says."
        return x * factor

    @pynn.no_grad()
    def with_brackets(x):
        inner = pynn.enable_grad(lambda: x * 2)
        return x * 2, inner()

    x = pynn.tensor([1.0], requires_grad=True)
    assert not plain(x, factor=3).requires_grad and plain(x, factor=3).item() == 3
    assert plain.__name__ == "plain" and plain.__doc__ == "What it says."
    assert [t.requires_grad for t in with_brackets(x)] == [False, True]
    with pynn.no_grad() as nothing:
        assert nothing is None and not (x * 2).requires_grad
    assert (x * 2).requires_grad
    for mode in (pynn.no_grad, pynn.enable_grad, pynn.set_grad_enabled(False)):
        with pytest.raises(TypeError, match="expected a function to decorate, got bool"):
            mode(True)


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

    def backward(grad, output=None, activation="none", overwrite=False):
        calls.append((activation, overwrite))
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
    assert calls == [("tanh", False)] * 2
    np.testing.assert_allclose(x.grad.numpy(), 2 * slope, rtol=1e-5)
    x.grad = None
    (take(y, calls) + z).sum().backward(retain_graph=True)  # two use it now
    assert calls[2:] == [("none", False)] * 2
    np.testing.assert_allclose(x.grad.numpy(), 2 * slope, rtol=1e-5)
    x.grad = None
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), slope, rtol=1e-5)
    with pytest.raises(RuntimeError, match="backward through 'tanh' a second time"):
        z.sum().backward()


HOLDERS = {
    "nobody": lambda y: None,
    "a second walk": lambda y: None,
    "tensor": lambda y: y,
    "detached": lambda y: y.detach(),
    "view": lambda y: y.detach()[:, 1:],
    "numpy": lambda y: y.detach().numpy(),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_an_output_that_nobody_sees_may_be_overwritten(holder):
    image = np.random.default_rng(0).standard_normal((2, 3, 4, 6)).astype(np.float32)
    calls = []
    for op, share in ((lambda y: take(y, calls), 1), (lambda y: ops.avg_pool2d(y, 2), 0.25)):
        x = pynn.tensor(image, requires_grad=True)
        y = ops.tanh(x)
        before = y.detach().numpy().copy()
        held, z = HOLDERS[holder](y), op(y)
        del y
        walks = 2 if holder == "a second walk" else 1
        for walk in range(walks):
            z.sum().backward(retain_graph=walk + 1 < walks)
        if held is not None:
            held = held.detach().numpy() if isinstance(held, pynn.Tensor) else held
            np.testing.assert_array_equal(held, before[:, -held.shape[1] :])
        np.testing.assert_allclose(x.grad.numpy(), walks * share * (1 - before**2), rtol=1e-5, atol=1e-6)
    wanted = {"nobody": [True], "a second walk": [False, True]}.get(holder, [False])
    assert [overwrite for _, overwrite in calls] == wanted


def test_a_walk_that_failed_leaves_no_wrong_gradient():
    x = pynn.tensor([1.0, 2.0], requires_grad=True)

    def backward(grad, output=None, activation="none", overwrite=False):
        raise KeyError("on purpose")

    y = ops.tanh(x)
    z = _core.record("fails", _core.copy(y._array), (y,), backward, (), "none", True)
    del y
    with pytest.raises(KeyError, match="on purpose"):
        z.sum().backward()
    with pytest.raises((RuntimeError, KeyError)):
        z.sum().backward()
    assert x.grad is None


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


class During(pynn.autograd.Function):
    """Calls `hook` while its backward runs."""

    hook = staticmethod(lambda: None)

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        hook, During.hook = During.hook, lambda: None
        hook()
        return grad


def walk_in_another_thread(y):
    thread = threading.Thread(target=y.backward)
    thread.start()
    thread.join()


@pytest.mark.parametrize("walk", [lambda y: y.backward(), walk_in_another_thread])
def test_two_walks_may_meet_in_one_op(walk):
    """The inner one takes what the op saved while the outer one is in its backward."""
    x = pynn.tensor(1.0, requires_grad=True)
    y = During.apply(x)
    During.hook = lambda: walk(y)
    y.backward()
    assert x.grad.item() == 2
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


def test_requires_grad_as_an_attribute_is_checked():
    with pytest.raises(RuntimeError, match="only float tensors can require grad, got int64"):
        pynn.tensor([1]).requires_grad = True
    y = pynn.tensor([1.0], requires_grad=True) * 2
    with pytest.raises(RuntimeError, match="on a leaf"):
        y.requires_grad = False
    y.requires_grad = True
    leaf = pynn.tensor([1.0])
    leaf.requires_grad = True
    assert leaf.requires_grad is True
