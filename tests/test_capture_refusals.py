"""Captured functions: what cannot be recorded is called as usual, or an error."""

import numpy as np
import pytest
from twins import Twins, batch, host, recordings

import pynn
from opcase import same_bits
from pynn import CaptureError
from pynn.nn import functional as F


def steps_once(function, match):
    """Every call trains one step, recorded or not; with `strict` the reason is an error."""
    twins = Twins(function=function, strict=False)
    for _ in range(6):
        twins.step(*batch())
    assert match in twins.captured.reason and not recordings(twins.captured)
    strict = Twins(function=function)
    strict.captured(*batch())
    with pytest.raises(CaptureError, match=match):
        strict.captured(*batch())
    assert not pynn._core.is_recording()


@pytest.mark.parametrize("read", [lambda t: t.item(), lambda t: t.detach().numpy().sum(), lambda t: t > 0 or 1, float])
def test_reading_a_value(read):
    def function(model, optimizer):
        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            read(loss)
            loss.backward()
            optimizer.step()
            return loss

        return step

    if read(pynn.tensor(1.0)) is not None:
        steps_once(function, "read")


def test_keeping_a_tensor():
    kept = []

    def function(model, optimizer):
        usual = Twins.usual(model, optimizer)

        def step(x, y):
            kept.append(model(x))
            return usual(x, y)

        return step

    steps_once(function, "still held")
    values = [host(t) for t in kept]
    batch_of_others = Twins()
    for _ in range(4):
        batch_of_others.step(*batch())
    assert all(same_bits(host(t), v) for t, v in zip(kept, values, strict=True))


def test_changing_an_input():
    def function(x):
        x.add_(1)
        return x * 2

    captured = pynn.capture(function)
    x = pynn.zeros(3)
    captured(x)
    with pytest.raises(CaptureError, match="changes an input"):
        captured(x)
    assert x.tolist() == [1.0] * 3


def test_inputs_that_require_grad_are_called_as_usual():
    function = pynn.capture(lambda x: (x * x).sum().backward())
    for _ in range(4):
        x = pynn.tensor([1.0, 2.0], requires_grad=True)
        function(x)
        assert x.grad.tolist() == [2.0, 4.0]
    assert "requires grad" in function.reason


def test_new_leaves_in_each_call():
    @pynn.capture
    def function(x):
        leaf = pynn.as_tensor(x).detach().requires_grad_()
        (leaf * leaf).sum().backward()
        return leaf.grad

    for _ in range(10):
        x = batch()[0]
        assert same_bits(host(function(x)), 2 * x)


def test_errors_leave_nothing_behind():
    twins = Twins(strict=False)
    x, y = batch()
    for _ in range(4):
        twins.step(x, y)
    with pytest.raises(IndexError):
        twins.captured(x, np.full(8, 7))
    with pytest.raises(IndexError):
        twins.functions[0](x, np.full(8, 7))
    twins.step(x, y)  # the weights are as before
    with pytest.raises(ValueError):
        twins.captured(x[:, :5], y)
    with pytest.raises(ValueError):
        twins.captured(x[:, :5], y)
    for _ in range(3):
        twins.step(x, y)

    fails = [True]

    @pynn.capture
    def sometimes(x):
        y = pynn.tanh(x)
        if fails and len(calls) == 1:
            fails.pop()
            raise RuntimeError("mine")
        calls.append(1)
        return y

    calls = []
    sometimes(x)
    with pytest.raises(RuntimeError, match="mine"):
        sometimes(x)
    assert not pynn._core.is_recording()
    for _ in range(3):
        assert same_bits(host(sometimes(x)), host(pynn.tanh(x)))


def test_wrong_arguments():
    with pytest.raises(TypeError, match="expected a function, got int"):
        pynn.capture(3)
    with pytest.raises(TypeError):
        pynn.capture(lambda: None, True)


def test_inputs_in_memory_that_changes():
    buffer = pynn.zeros(8)
    with pynn.no_grad():
        function = pynn.capture(lambda x: buffer[1:].add_(x) * 1)
        other = pynn.ones(7)
        for _ in range(4):
            function(other)
        expected = host(buffer)
        for _ in range(3):  # replays would read what they have written
            expected[1:] += expected[:-1].copy()
            function(buffer[:-1])
            assert same_bits(host(buffer), expected)
        assert "memory that it changes" in function.reason
        for read in (lambda: None, lambda: other.tolist()):  # recorded, and given up before
            function = pynn.capture(lambda x: [read(), buffer[1:].add_(x) * 1])  # noqa: B023
            function(buffer[:-1])
            with pytest.raises(CaptureError, match="changes memory in place that an input lies in"):
                function(buffer[:-1])
        function = pynn.capture(lambda x: buffer[1:].add_(x) * 1)
        function(buffer[:-1])
        with pytest.raises(CaptureError, match="changes memory in place that an input lies in"):
            function(buffer[:-1])


def test_inputs_that_come_to_require_grad():
    @pynn.capture
    def function(x):
        x.requires_grad_()
        (x * x).sum().backward()

    for i in range(10):
        x = pynn.full((2,), float(i))
        function(x)
        assert x.requires_grad and x.grad.tolist() == [2.0 * i] * 2


def test_gradients_that_are_no_tensors():
    w = pynn.ones(3, dtype=np.float32).requires_grad_()
    optimizer = pynn.optim.SGD([w], lr=0.1)

    @pynn.capture
    def function():
        optimizer.zero_grad()
        (w * 2).sum().backward()

    for _ in range(5):
        w.grad = np.ones(3, np.float32)
        function()
        assert w.grad.tolist() == [2.0] * 3


def test_wrong_arguments_of_the_core():
    _core = pynn._core
    t, a = pynn.ones(3), pynn.ones(3)._array
    for call in (
        lambda: _core.are_unchanged((t,), (), b""),
        lambda: _core.are_unchanged((t,), (a,), "x"),
        lambda: _core.are_unchanged((1,), (a,), b"0"),
        lambda: _core.gradients_are((t,), ()),
        lambda: _core.gradients_are((1,), (None,)),
        lambda: _core.set_gradients((t,), []),
        lambda: _core.set_gradients((1,), None),
        lambda: _core.set_gradients((t,), [1]),
        lambda: _core.hold((1,), (1,)),
        lambda: _core.hold(({},), ([],)),
        lambda: _core.hold((), ([],)),
        lambda: _core.Program().knows(3),
    ):
        with pytest.raises(TypeError):
            call()
    read_only = np.zeros(1)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="write_number"):
        _core.write_number(read_only, 3.0)
    with pytest.raises(ValueError, match="write_number"):
        _core.write_number(np.zeros(2), 3.0)
