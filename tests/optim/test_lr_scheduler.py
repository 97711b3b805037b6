"""Schedules against their formulas and against PyTorch's."""

import inspect
import math

import pytest

import pynn
from pynn import optim
from pynn.optim import lr_scheduler

STEPS = 40
CASES = [
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 1, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [7, 2, 2, 11], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 20}),
    ("CosineAnnealingLR", {"T_max": 10}),
    ("CosineAnnealingLR", {"T_max": 39, "eta_min": 0.01}),
    ("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t)}),
    ("LambdaLR", {"lr_lambda": [lambda t: 0.5**t, math.cos]}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS}),
    ("OneCycleLR", {"max_lr": [0.3, 0.2], "epochs": 40, "steps_per_epoch": 1, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 40, "three_phase": True, "pct_start": 0.4, "div_factor": 3.0}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 40, "cycle_momentum": False, "final_div_factor": 10.0}),
    ("ReduceLROnPlateau", {}),
    ("ReduceLROnPlateau", {"mode": "max", "patience": 1, "factor": 0.5, "cooldown": 2, "min_lr": [0.02, 0.001]}),
    ("ReduceLROnPlateau", {"threshold": 0.2, "threshold_mode": "abs", "patience": 0, "eps": 1e-3}),
    ("ReduceLROnPlateau", {"mode": "max", "threshold": 0.2, "threshold_mode": "rel", "patience": 2}),
]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(CASES)]
METRICS = [1 / (1 + min(t, 9)) - 0.3 * (t == 20) for t in range(STEPS)]
CLASSES = [c for c in vars(lr_scheduler).values() if inspect.isclass(c) and issubclass(c, lr_scheduler.LRScheduler)]


def optimizer(kind="SGD", library=optim, tensor=None):
    tensor = tensor or (lambda: pynn.zeros(1, requires_grad=True))
    options = {"momentum": 0.5} if kind == "SGD" else {}
    return getattr(library, kind)([{"params": [tensor()], "lr": 0.2}, {"params": [tensor()]}], lr=0.1, **options)


def values(o):
    return [(float(g["lr"]), g["betas"][0] if "betas" in g else g["momentum"]) for g in o.param_groups]


def step(scheduler, t):
    scheduler.step(METRICS[t]) if "Plateau" in type(scheduler).__name__ else scheduler.step()


def test_every_schedule_has_a_case():
    assert {c.__name__ for c in CLASSES} - {"LRScheduler"} == {name for name, _ in CASES}


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_against_torch(name, options, kind):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = optimizer(kind)
    theirs = optimizer(kind, torch.optim, lambda: torch.zeros(1, requires_grad=True))
    a, b = getattr(lr_scheduler, name)(ours, **options), getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    theirs.step()
    for t in range(STEPS + 1):
        assert a.last_epoch == b.last_epoch
        for x, y in zip(values(ours), values(theirs), strict=True):
            assert max(abs(x[0] - y[0]), abs(x[1] - y[1])) <= 1e-14
        assert a.get_last_lr() == [g["lr"] for g in ours.param_groups]
        if t < STEPS:
            step(a, t)
            step(b, t)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (lambda o: lr_scheduler.StepLR(o, 2, 0.5), [0.1, 0.1, 0.05, 0.05, 0.025]),
        (lambda o: lr_scheduler.MultiStepLR(o, [1, 3], 0.5), [0.1, 0.05, 0.05, 0.025, 0.025]),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.5), [0.1, 0.05, 0.025, 0.0125, 0.00625]),
        (lambda o: lr_scheduler.LinearLR(o, 0.5, 1.0, 2), [0.05, 0.075, 0.1, 0.1, 0.1]),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 4), [0.1 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(5)]),
        (lambda o: lr_scheduler.LambdaLR(o, lambda t: t), [0, 0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_formulas(scheduler, expected):
    o = optim.SGD([pynn.zeros(1, requires_grad=True)], lr=0.1)
    s = scheduler(o)
    for rate in expected:
        assert abs(o.param_groups[0]["lr"] - rate) <= 1e-15
        s.step()


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_state_goes_on_where_it_was(name, options):
    for split in (0, 1, 5, 20):
        a = optimizer()
        s = getattr(lr_scheduler, name)(a, **options)
        for t in range(split):
            step(s, t)
        b = optimizer()
        other = getattr(lr_scheduler, name)(b, **options)
        other.load_state_dict(s.state_dict())
        b.load_state_dict(a.state_dict())
        for t in range(split, STEPS):
            assert values(a) == values(b) and s.get_last_lr() == other.get_last_lr()
            step(s, t)
            step(other, t)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("value", ["x", None, [], {}, ["x"], -5, float("nan")])
def test_a_bad_state_changes_nothing_or_can_be_stepped(name, options, value):
    s = getattr(lr_scheduler, name)(optimizer(), **options)
    before = s.state_dict()
    for key in before:
        try:
            s.load_state_dict({**before, key: value})
        except ValueError:
            assert s.state_dict() == before
        else:
            step(s, 0)
        s.load_state_dict(before)
    for state in ({}, {**before, "more": 1}):
        with pytest.raises(ValueError, match=rf"{name}\.load_state_dict: expected "):
            s.load_state_dict(state)


def test_last_epoch_goes_on_from_the_rates_in_the_groups():
    o = optimizer()
    for _ in range(3):
        lr_scheduler.ExponentialLR(o, 0.5)
    s = lr_scheduler.ExponentialLR(o, 0.5, last_epoch=3)
    assert s.last_epoch == 4 and s.get_last_lr() == [0.2 / 16, 0.1 / 16]
    with pytest.raises(ValueError, match="last_epoch=3 needs 'initial_lr' in the optimizer's groups"):
        lr_scheduler.ExponentialLR(optimizer(), 0.5, last_epoch=3)


BAD = [
    (lambda o: lr_scheduler.StepLR(o, 0), "StepLR: expected a number >= 1 for step_size, got 0"),
    (lambda o: lr_scheduler.LinearLR(o, 0.0), r"LinearLR: expected a number in \(0, 1\] for start_factor, got 0.0"),
    (lambda o: lr_scheduler.LinearLR(o, end_factor=2.0), "for end_factor, got 2.0"),
    (lambda o: lr_scheduler.LinearLR(o, total_iters=0), "for total_iters, got 0"),
    (lambda o: lr_scheduler.CosineAnnealingLR(o, 0), "CosineAnnealingLR: expected a number > 0 for T_max, got 0"),
    (lambda o: lr_scheduler.LambdaLR(o, [abs]), "a function for each of 2 groups, got 1"),
    (lambda o: lr_scheduler.OneCycleLR(o, 0.1), "expected total_steps, or epochs and steps_per_epoch"),
    (lambda o: lr_scheduler.OneCycleLR(o, 0.1, 10, pct_start=2.0), r"a number in \[0, 1\] for pct_start, got 2.0"),
    (lambda o: lr_scheduler.OneCycleLR(o, 0.1, 10, anneal_strategy="sin"), "'cos' or 'linear' for anneal_strategy"),
    (lambda o: lr_scheduler.OneCycleLR(o, [0.1], 10), "max_lr for each of 2 groups, got 1"),
    (lambda o: lr_scheduler.OneCycleLR(o, 0.1, 10, div_factor=0), "a number > 0 for div_factor, got 0"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="low"), "'min' or 'max' for mode, got low"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0), "a number < 1 for factor, got 1.0"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, threshold_mode="x"), "'rel' or 'abs' for threshold_mode"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, min_lr=[0.1]), "min_lr for each of 2 groups"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make(optimizer())


def test_one_cycle_ends():
    s = lr_scheduler.OneCycleLR(optimizer(), 0.1, 3)
    for _ in range(3):
        s.step()
    with pytest.raises(ValueError, match="OneCycleLR: step 4 of a schedule of 3 steps"):
        s.step()


def test_what_is_no_optimizer():
    with pytest.raises(TypeError, match="StepLR: expected a pynn optimizer, got list"):
        lr_scheduler.StepLR([], 1)
