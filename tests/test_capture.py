"""Captured functions: the bits of ordinary calls, results that stay, memory that goes."""

import copy
import gc
import pickle
import threading

import numpy as np
import pytest
from twins import Twins, batch, host, mlp, recordings, rng

import pynn
from opcase import THREADS, all_threads, precision, same_bits
from pynn import models, nn, optim, program
from pynn.nn import functional as F

NETS = {
    "mlp": (mlp, (6,)),
    "dropout": (lambda: mlp(0.5), (6,)),
    "lenet tanh": (lambda: models.lenet5("tanh", "average", classes=3), (1, 28, 28)),
    "lenet relu": (lambda: models.lenet5(classes=3), (1, 28, 28)),
}
OPTIMIZERS = [
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (optim.Adam, {"lr": 1e-2}),
    (optim.AdamW, {"lr": 1e-2}),
]


@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS)
@pytest.mark.parametrize("net", NETS)
def test_steps_have_the_bits_of_ordinary_ones(net, optimizer, options):
    build, shape = NETS[net]
    twins = Twins(build, optimizer, **options)
    for n in (4, 4, 4, 3, 4, 3, 3, 4):  # the smaller last batch is a kind of its own
        twins.step(*batch(n, shape))
    assert len(recordings(twins.captured)) == 2
    for threads in THREADS:
        with all_threads(threads):
            twins.step(*batch(4, shape))


def test_only_kernels_run_in_a_replay():
    calls = []

    @pynn.capture
    def function(x):
        calls.append(1)
        return pynn.tanh(x) * 2

    for _ in range(6):
        x = batch()[0]
        assert same_bits(host(function(x)), host(pynn.tanh(x) * 2))
    assert len(calls) == 2
    assert function.__name__ == "function" and function.reason == ""


# Results and inputs.


def test_kept_results_stay():
    twins = Twins()
    kept = [(r, host(r)) for r in [twins.captured(*batch()) for _ in range(8)]]
    assert all(same_bits(host(r), values) for r, values in kept)
    part = host(twins.captured(*batch()))
    view = twins.captured(*batch()).numpy()
    values = view.copy()
    twins.captured(*batch())
    assert same_bits(view, values) and part.shape == ()


def test_a_result_as_the_next_input():
    w = pynn.tensor(rng.standard_normal((5, 5)))
    function = pynn.capture(lambda h: pynn.tanh(h @ w), strict=True)
    a = b = pynn.tensor(rng.standard_normal((2, 5)))
    for _ in range(8):
        a, b = function(a), pynn.tanh(b @ w)
        assert same_bits(host(a), host(b))


def test_one_input_twice_then_two():
    function = pynn.capture(lambda u, v: u * v + u, strict=True)
    u, v = batch()[0], batch()[0]
    for second in (u, u, u, v, u, v):
        assert same_bits(host(function(u, second)), u * second + u)


def test_inputs_in_any_layout():
    """Dropout numbers the elements as they lie in memory, so that a copy in another order would be seen."""

    def function(x):
        return F.dropout(pynn.as_tensor(x) * 2, 0.4), pynn.as_tensor(x) + 1

    x = rng.standard_normal((6, 8))
    for given in (x.T, x[:, ::2], x.T[::2], x[::-1].T, np.broadcast_to(x[:1], (6, 8)), x[:, 1:5].T, x[:0], x[2:3].T):
        captured = pynn.capture(function, strict=True)
        for _ in range(4):
            state = pynn.get_rng_state()
            expected = function(given)
            pynn.set_rng_state(state)
            for a, b in zip(captured(given), expected, strict=True):
                assert same_bits(host(a), host(b)) and a._array.strides == b._array.strides


def test_structures_of_results():
    def function(x):
        x = pynn.as_tensor(x)
        return {"a": [x + 1, None], "b": (x, x[1:])}

    captured = pynn.capture(function, strict=True)
    for _ in range(4):
        x = batch()[0]
        result = captured(x)
        assert result["a"][1] is None and type(result["b"]) is tuple
        assert same_bits(host(result["a"][0]), x + 1) and same_bits(host(result["b"][1]), x[1:])
        assert same_bits(host(result["b"][0]), x)
    counted = pynn.capture(lambda x: (pynn.as_tensor(x) + 1, 3))
    for _ in range(4):
        assert counted(batch()[0])[1] == 3
    assert "returns something else" in counted.reason


def test_kinds_of_arguments():
    calls = []

    @pynn.capture
    def function(x, factor, *, shift=0.0, name=None):
        calls.append((factor, shift, name))
        return pynn.as_tensor(x) * factor + shift

    x = batch()[0]
    for _ in range(4):
        for factor, shift, name in ((2, 0.0, None), (2.0, 0.0, None), (2, 1.0, None), (2, 0.0, "a")):
            assert same_bits(host(function(x, factor, shift=shift, name=name)), x * np.float32(2) + np.float32(shift))
    assert len(calls) == 8
    for other in (x.astype(np.float64), x[:, ::2], np.asfortranarray(x), x[:0]):
        for _ in range(3):
            assert same_bits(host(function(other, 2)), other * 2)
    with pytest.raises(TypeError, match=r"function: expected tensors.*got list"):
        function([1.0], 2)
    for n in range(1, 12):
        assert function(np.ones(n, np.float32), 1).shape == (n,)
    assert len(function._kinds) == 8 and "kinds of inputs" in function.reason


def test_precision_and_no_grad_are_kinds():
    layer = nn.Conv2d(32, 32, 3, padding=1)
    function = pynn.capture(lambda x: layer(x))
    x = rng.standard_normal((1, 32, 12, 12)).astype(np.float32)
    for _ in range(3):
        for mode in ("fast", "strict"):
            with precision(mode), pynn.no_grad():
                assert same_bits(host(function(x)), host(layer(x)))
        assert same_bits(host(function(x)), host(layer(x)))
    assert len(function._kinds) == 3


def test_random_numbers_go_on():
    def draw():
        return pynn.rand(5)

    captured = pynn.capture(draw, strict=True)
    pynn.manual_seed(3)
    ordinary = [host(draw()) for _ in range(6)]
    pynn.manual_seed(3)
    assert all(same_bits(host(captured()), values) for values in ordinary)


def test_constants_made_in_the_call():
    def function(x):
        x = pynn.as_tensor(x)
        made = [
            pynn.ones(6),
            pynn.full((6,), 2.0),
            pynn.tensor([1.0, 2, 3, 4, 5, 6]),
            pynn.as_tensor(np.arange(6.0)).float(),
        ]
        return [x * m for m in made]

    captured = pynn.capture(function, strict=True)
    for _ in range(5):
        x = batch()[0]
        for a, b in zip(captured(x), function(x), strict=True):
            assert same_bits(host(a), host(b))


# Around it.


def test_a_captured_function_within_another():
    inner = pynn.capture(lambda x: pynn.tanh(x), strict=True)
    outer = pynn.capture(lambda x: inner(x) + inner(x * 2), strict=True)
    for _ in range(5):
        x = batch()[0]
        assert same_bits(host(outer(x)), host(pynn.tanh(x) + pynn.tanh(x * 2)))


def test_a_captured_model_in_a_captured_step():
    twins = Twins()
    model = twins.models[1]
    inner = pynn.capture(model, strict=True)

    def function(x, y):
        twins.optimizers[1].zero_grad()
        loss = F.cross_entropy(inner(x), y)
        loss.backward()
        twins.optimizers[1].step()
        return loss

    twins.functions[1] = pynn.capture(function, strict=True)
    for _ in range(5):
        twins.step(*batch())
        x = batch()[0]
        with pynn.no_grad():
            assert same_bits(host(inner(x)), host(model(x)))


def test_a_captured_model_in_a_function_that_is_not_recorded():
    model = nn.Linear(6, 3)
    inner = pynn.capture(model)
    outer = pynn.capture(lambda x: inner(x).sum().backward())
    for n in range(1, 14):  # kinds of inputs, more than are recorded
        model.zero_grad()
        outer(np.ones((n, 6), np.float32))
        assert model.weight.grad.tolist() == [[n] * 6] * 3


def test_methods():
    class Counter:
        def __init__(self, factor):
            self.factor, self.calls = factor, 0

        @pynn.capture
        def scaled(self, x):
            self.calls += 1
            return x * self.factor

        also_scaled = pynn.capture(lambda self, x: x * self.factor, strict=True)

    counters = [Counter(2), Counter(3)]
    for _ in range(5):
        for counter in counters:
            for scaled in (counter.scaled, counter.also_scaled):
                assert scaled(np.ones(2, np.float32)).tolist() == [counter.factor] * 2
    assert [c.calls for c in counters] == [2, 2]
    assert all(recordings(c.scaled) and recordings(c.also_scaled) for c in counters)


def test_signed_zeros_and_numbers_of_numpy_are_kinds():
    function = pynn.capture(lambda x, shift: pynn.as_tensor(x) * shift)
    for _ in range(4):
        for shift in (0.0, -0.0, float("nan"), np.float32(2), np.float64(2), np.int64(2)):
            assert same_bits(host(function(np.ones(2, np.float32), shift)), host(pynn.ones(2) * shift))


def test_threads_that_record_at_once():
    models = [nn.Linear(6, 3) for _ in range(2)]
    function = pynn.capture(lambda x, which: models[which](x))
    x = batch()[0]
    failed = []

    def run(which):
        for _ in range(200):
            if not same_bits(host(function(x, which)), host(models[which](x))):
                failed.append(which)

    threads = [threading.Thread(target=run, args=(i % 2,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed and not program.noting and not program._running


def test_recordings_that_were_worth_it_do_not_count():
    layer = nn.Linear(3, 3)
    function = pynn.capture(layer)
    for i in range(300):
        x = np.ones((2, 3), np.float32)
        if i % 12 == 0:
            layer.weight.data = host(layer.weight) * 0.9
        assert same_bits(host(function(x)), host(layer(x)))
    assert function.reason == "" and recordings(function)[0].replays > 8


def test_memory():
    def live():
        gc.collect()
        return pynn.memory_stats()["live_bytes"]

    twins = Twins(lambda: models.lenet5(classes=3))
    data = [batch(4, (1, 28, 28)) for _ in range(2)]
    for _ in range(4):
        twins.captured(*data[0])
    before = live()
    gc.disable()
    for i in range(200):
        twins.captured(*data[i % 2])
    gc.enable()
    assert live() <= before
    assert twins.captured.nbytes > 0
    twins.captured.clear()
    for model in twins.models:
        model.zero_grad()
    assert twins.captured.nbytes == 0 and live() < before
    del twins
    gc.disable()
    gc.enable()


def test_recordings_do_not_hold_their_first_inputs():
    layer = nn.Linear(1000, 2)
    function = pynn.capture(layer, strict=True)
    inputs = [pynn.ones(1000, 1000) for _ in range(2)]
    for x in inputs:
        function(x)
    before = pynn.memory_stats()["live_bytes"]
    del x, inputs
    assert pynn.memory_stats()["live_bytes"] <= before - 2 * 4_000_000
    assert recordings(function)


def test_a_dropped_function_lets_its_memory_go_without_the_collector():
    before = pynn.memory_stats()["live_bytes"]
    gc.collect()
    gc.disable()
    try:
        function = pynn.capture(lambda x: pynn.tanh(x) * 2)
        for _ in range(3):
            function(np.ones(1000, np.float32))
        assert pynn.memory_stats()["live_bytes"] > before
        del function
        assert pynn.memory_stats()["live_bytes"] <= before
    finally:
        gc.enable()


def test_copies_have_recordings_of_their_own():
    function = pynn.capture(pynn.tanh)
    x = batch()[0]
    for _ in range(3):
        function(x)
    for other in (copy.deepcopy(function), pickle.loads(pickle.dumps(function))):
        assert not recordings(other)
        for _ in range(3):
            assert same_bits(host(other(x)), host(pynn.tanh(x)))


def test_threads():
    model = mlp()
    function = pynn.capture(lambda x: model(x), strict=True)
    inputs = [batch()[0] for _ in range(50)]
    expected = [host(model(x)) for x in inputs]
    failed = []

    def run():
        for x, y in zip(inputs, expected, strict=True):
            if not same_bits(host(function(x)), y):
                failed.append(x)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed and recordings(function)
