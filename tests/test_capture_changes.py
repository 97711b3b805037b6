"""Captured functions: what changes between calls is never overlooked."""

import numpy as np
import pytest
from twins import Twins, batch, host, mlp, recordings, rng

import pynn
from opcase import same_bits
from pynn import nn, optim
from pynn.nn import functional as F
from pynn.optim import lr_scheduler


def replace_weight(model, optimizer):
    model[0].weight.data = host(model[0].weight) * 2


def change_weight_in_place(model, optimizer):
    with pynn.no_grad():
        model[0].weight.mul_(0.5)


def load_weights(model, optimizer):
    model.load_state_dict({k: v * 0.5 for k, v in model.state_dict().items()})


def freeze_a_layer(model, optimizer):
    model[0].requires_grad_(False)


def evaluation_mode(model, optimizer):
    model.eval()


def another_probability(model, optimizer):
    model[2].p = 0.1


def another_layer(model, optimizer):
    model.append(nn.ReLU())


def another_bias(model, optimizer):
    model[0].bias = None


def another_rate(model, optimizer):
    optimizer.param_groups[0]["lr"] = 0.01


def another_momentum(model, optimizer):
    optimizer.param_groups[0]["momentum"] = 0.5


def load_optimizer(model, optimizer):
    optimizer.load_state_dict(optimizer.state_dict())


def forget_momenta(model, optimizer):
    optimizer.state.clear()


def replace_momentum(model, optimizer):
    state = optimizer.state[model[0].weight]
    state["momentum_buffer"] = pynn.zeros(*model[0].weight.shape[::-1]).T._array


def leave_out_a_parameter(model, optimizer):
    optimizer.param_groups[0]["params"].pop()


def change_and_back(model, optimizer):
    model.eval().train()


CHANGES = [
    replace_weight,
    change_weight_in_place,
    load_weights,
    freeze_a_layer,
    evaluation_mode,
    another_probability,
    another_layer,
    another_bias,
    another_rate,
    another_momentum,
    load_optimizer,
    forget_momenta,
    replace_momentum,
    leave_out_a_parameter,
    change_and_back,
]
SEEN_BY_A_REPLAY = (change_weight_in_place, load_weights, another_rate, change_and_back)


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
def test_a_change_between_calls_is_seen(change):
    twins = Twins(lambda: mlp(0.5), lr=0.1, momentum=0.9, strict=False)
    for _ in range(4):
        twins.step(*batch())
    twins.both(change)
    for _ in range(4):
        twins.step(*batch())
    assert recordings(twins.captured) and twins.captured.reason == ""
    (kind,) = twins.captured._kinds.values()
    assert kind.attempts == 1 or change not in SEEN_BY_A_REPLAY


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: lr_scheduler.StepLR(o, 2, 0.5),
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, 40),  # the momentum changes too, which a recording cannot follow
    ],
)
def test_schedules(schedule):
    twins = Twins(lr=0.1, momentum=0.9, strict=False)
    schedules = [schedule(o) for o in twins.optimizers]
    for _ in range(14):
        twins.step(*batch())
        for s in schedules:
            s.step()


def test_modes_by_turns_are_recorded_once_each():
    twins = Twins(lambda: mlp(0.5))
    for _ in range(6):
        for training in (True, False):
            twins.both(lambda model, _, training=training: model.train(training))
            twins.step(*batch())
    assert len(recordings(twins.captured)) == 2 and next(iter(twins.captured._kinds.values())).attempts == 2


@pytest.mark.parametrize("mode", ["before", "after", "to zeros", "outside", "every second call", "never", "late"])
def test_gradients_are_those_of_ordinary_calls(mode):
    def function(model, optimizer):
        def gradients(x, y):
            if mode == "late":  # a step by the gradients of the call before
                optimizer.step()
                optimizer.zero_grad()
            if mode in ("before", "to zeros"):
                optimizer.zero_grad(set_to_none=mode == "before")
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            if mode == "after":
                optimizer.step()
                optimizer.zero_grad()
            return loss

        return gradients

    twins = Twins(function=function, strict=False)
    for i in range(12):
        twins.step(*batch())
        if mode == "outside" or (mode == "every second call" and i % 2):
            twins.both(lambda model, optimizer: optimizer.step() or optimizer.zero_grad())
    assert bool(recordings(twins.captured)) == (mode != "late")
    if mode not in ("every second call", "late"):
        assert next(iter(twins.captured._kinds.values())).attempts <= 2


def test_gradients_that_a_call_clears():
    model = mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @pynn.capture(strict=True)
    def function(x):
        optimizer.zero_grad()
        optimizer.step()
        return model(x)

    for _ in range(5):
        for p in model.parameters():
            p.grad = pynn.ones(*p.shape)
        function(batch()[0])
        assert all(p.grad is None for p in model.parameters())
    assert recordings(function)


def test_a_module_that_was_not_called_before():
    layers = [nn.Linear(6, 3), nn.Linear(6, 3)]
    used = [0, 1, 1, 1]
    function = pynn.capture(lambda x: layers[used.pop(0) if len(used) > 1 else 1](x))
    x = batch()[0]
    for i in range(8):
        if i > 3:
            layers[1].weight.data = host(layers[1].weight) * 0.5
        assert same_bits(host(function(x)), host(layers[min(i, 1)](x)))
    assert recordings(function)


def test_gradients_that_are_kept_stay():
    twins = Twins()
    kept = []
    for _ in range(6):
        twins.step(*batch())
        grad = twins.models[1][0].weight.grad
        kept.append((grad, host(grad)))
    for grad, values in kept:
        assert same_bits(host(grad), values)


def test_gradients_set_by_hand():
    twins = Twins(strict=False)
    for i in range(8):
        twins.step(*batch())
        if i % 2:
            twins.both(lambda model, _: setattr(model[0].weight, "grad", pynn.ones(16, 6)))
    twins.both(lambda model, _: setattr(model[0].weight, "grad", None))
    twins.step(*batch())


def test_parameters_without_modules_and_optimizers():
    w = pynn.tensor(rng.standard_normal((6, 3)), requires_grad=True)

    @pynn.capture
    def function(x):
        w.grad = None
        (pynn.as_tensor(x) @ w).sum().backward()

    for i in range(8):
        if i == 5:
            w.data = w.data * 2
        x = rng.standard_normal((4, 6))
        assert function(x) is None
        np.testing.assert_allclose(host(w.grad), np.repeat(x.sum(0)[:, None], 3, 1), rtol=1e-12)
    assert recordings(function)


def test_what_counts_calls_is_never_stale():
    class Counting(nn.Module):
        def __init__(self):
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * float(self.calls)

    layer = Counting()
    function = pynn.capture(lambda x: layer(x))
    for i in range(12):
        assert function(np.ones(3, np.float32)).tolist() == [i + 1.0] * 3
    assert "change in the call" in function.reason

    class Decaying(optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                group["weight_decay"] = group["weight_decay"] * 0.5
            return super().step(closure)

    twins = Twins(optimizer=Decaying, lr=0.1, weight_decay=0.5, strict=False)
    for _ in range(12):
        twins.step(*batch())
    assert twins.captured.reason


def test_tensors_that_no_module_or_step_uses():
    """Parameters in a list, gradients that are clipped, an average of weights: what a call reads is what is watched."""
    twins = [[nn.Parameter(np.ones(3, np.float32)) for _ in range(2)] for _ in range(2)]
    averages = [pynn.zeros(3) for _ in range(2)]

    def function(k):
        def call():
            norm = nn.utils.clip_grad_norm_(twins[k], 0.5)
            with pynn.no_grad():
                averages[k].mul_(0.5).add_(twins[k][0])
            return norm

        return call

    functions = [function(0), pynn.capture(function(1))]
    for i in range(12):
        for k in range(2):
            twins[k][0].grad = pynn.full((3,), float(i))
            if i % 4 == 3:
                twins[k][0].data = np.full(3, i, np.float32)
        assert same_bits(host(functions[0]()), host(functions[1]()))
        assert same_bits(host(twins[0][0].grad), host(twins[1][0].grad))
        assert same_bits(host(averages[0]), host(averages[1]))


def test_zero_grad_alone():
    """Two losses by turns, each of which clears the gradients of the other."""
    heads = [[nn.Linear(6, 1), nn.Linear(6, 1)] for _ in range(2)]
    for a, b in zip(*heads, strict=True):
        b.load_state_dict(a.state_dict())
    optimizers = [optim.SGD([p for layer in pair for p in layer.parameters()], lr=0.1) for pair in heads]

    def function(k, head):
        def call(x):
            optimizers[k].zero_grad()
            heads[k][head](x).sum().backward()

        return call

    functions = [[function(0, 0), function(0, 1)], [pynn.capture(function(1, head)) for head in range(2)]]
    for i in range(16):
        x = batch()[0]
        for k in range(2):
            functions[k][i // 3 % 2](pynn.as_tensor(x))
            optimizers[k].step()
        for a, b in zip(*[[p for layer in pair for p in layer.parameters()] for pair in heads], strict=True):
            assert same_bits(host(a), host(b)) and (a.grad is None) == (b.grad is None)
    assert all(recordings(f) for f in functions[1])


class ByHand(optim.Optimizer):
    """Reads its options in Python, as subclasses may, and has a step of its own."""

    def __init__(self, params, rate_name):
        self.rate_name, self.steps = rate_name, 0
        super().__init__(params, {rate_name: 0.1})

    def step(self, closure=None):
        with pynn.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(p.grad * float(group[self.rate_name]))


@pytest.mark.parametrize("name", ["lr", "rate"])
def test_optimizers_of_others(name):
    twins = Twins(optimizer=lambda params, **_: ByHand(params, name), strict=False)
    for i in range(10):
        if i == 5:
            twins.both(lambda _, optimizer: optimizer.param_groups[0].update({name: 0.0}))
        twins.step(*batch())
    assert recordings(twins.captured)

    class Counting(ByHand):
        def step(self, closure=None):
            self.steps += 1
            self.param_groups[0][name] = 0.1 / self.steps
            super().step(closure)

    twins = Twins(optimizer=lambda params, **_: Counting(params, name), strict=False)
    for _ in range(10):
        twins.step(*batch())
    assert "change in the call" in twins.captured.reason


def test_a_schedule_that_is_stepped_in_the_call():
    def function(model, optimizer):
        schedule = lr_scheduler.StepLR(optimizer, 1, 0.5)
        usual = Twins.usual(model, optimizer)

        def step(x, y):
            loss = usual(x, y)
            schedule.step()
            return loss

        return step

    twins = Twins(function=function, strict=False)
    for _ in range(10):
        twins.step(*batch())
    assert "change in the call" in twins.captured.reason


def test_memory_of_a_gradient_replaced():
    w = [nn.Parameter(np.ones((1, 3), np.float32)) for _ in range(2)]
    for p in w:
        p.grad = pynn.zeros(1, 3)
    functions = [lambda k=k: (w[k] * 2).sum().backward() for k in range(2)]
    functions[1] = pynn.capture(functions[1])
    for i in range(10):
        for k in range(2):
            if i == 5:
                w[k].grad.data = np.full((1, 3), 100, np.float32)
            functions[k]()
        assert same_bits(host(w[0].grad), host(w[1].grad))
    assert recordings(functions[1])


def test_attributes_under_other_names():
    class Layer(nn.Module):
        def __init__(self):
            self.a = True

        def forward(self, x):
            return x * 2 if "a" in vars(self) else x * 3

    layer = Layer()
    function = pynn.capture(layer)
    x = np.ones(2, np.float32)
    for i in range(8):
        if i == 4:
            del layer.a
            layer.b = True
        assert function(x).tolist() == ([2, 2] if i < 4 else [3, 3])


def test_a_method_of_a_module():
    model = nn.Sequential(nn.Linear(6, 3))
    function = pynn.capture(model.forward)
    for i in range(9):
        if i == 3:
            model.append(nn.Tanh())
        if i == 6:
            model[0].weight.data = host(model[0].weight) * 2
        x = batch()[0]
        assert same_bits(host(function(x)), host(model(x)))
    assert recordings(function)


def test_what_is_returned_and_read_by_the_next_call():
    state = {"h": pynn.zeros(3)}

    @pynn.capture
    def function(x):
        state["h"] = pynn.tanh(state["h"] + x)
        return state["h"]

    expected = pynn.zeros(3)
    for _ in range(8):
        expected = pynn.tanh(expected + 1.0)
        assert same_bits(host(function(np.ones(3, np.float32))), host(expected))
    assert "still held" in function.reason
