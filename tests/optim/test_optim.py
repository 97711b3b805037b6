import copy
import inspect
import pickle

import numpy as np
import pytest

import pynn
from opcase import THREADS, isa
from pynn import _core, nn, optim
from pynn.reference import optimizer as reference

SGD_OPTIONS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.3},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    {"weight_decay": 0.1, "maximize": True},
]
ADAM_OPTIONS = [{}, {"betas": (0.5, 0.7), "eps": 1e-3}, {"weight_decay": 0.1}, {"maximize": True}]
CASES = [("SGD", o) for o in SGD_OPTIONS] + [(n, o) for n in ("Adam", "AdamW") for o in ADAM_OPTIONS]
OPTIMIZERS = [c for c in vars(optim).values() if inspect.isclass(c) and c is not optim.Optimizer]
SHAPES = [(), (0,), (1,), (15,), (16,), (17,), (7, 5), (100, 33)]


def draw(dtype=np.float64, shapes=SHAPES, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def set_gradients(parameters, step):
    for p, g in zip(parameters, draw(p_dtype(parameters), [p.shape for p in parameters], step), strict=True):
        p.grad = pynn.tensor(g)


def p_dtype(parameters):
    return parameters[0].dtype


def run(name, options, dtype, steps=5, lr=0.05, shapes=SHAPES):
    parameters = [pynn.tensor(w, requires_grad=True) for w in draw(dtype, shapes)]
    optimizer = getattr(optim, name)(parameters, lr=lr, **options)
    for step in range(1, steps + 1):
        set_gradients(parameters, step)
        optimizer.step()
    return [p.detach().numpy() for p in parameters]


def expected(name, options, dtype, steps=5, lr=0.05):
    options = dict(options)
    if name == "AdamW":
        options.setdefault("weight_decay", 1e-2)
    values = [w.astype(np.float64) for w in draw(dtype)]
    states = [[None] if name == "SGD" else [0 * w, 0 * w] for w in values]
    for step in range(1, steps + 1):
        for i, g in enumerate(draw(dtype, seed=step)):
            g = g.astype(np.float64)
            if name == "SGD":
                values[i], states[i][0] = reference.sgd(values[i], g, states[i][0], lr, **options)
            else:
                decoupled = name == "AdamW"
                values[i], *states[i] = reference.adam(
                    values[i], g, *states[i], step, lr, decoupled=decoupled, **options
                )
    return values


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 2e-6)])
def test_against_the_reference(name, options, dtype, tolerance):
    for got, want in zip(run(name, options, dtype), expected(name, options, dtype), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_against_torch(name, options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    parameters = [torch.tensor(w, requires_grad=True) for w in draw()]
    optimizer = getattr(torch.optim, name)(parameters, lr=0.05, **options)
    for step in range(1, 6):
        for p, g in zip(parameters, draw(seed=step), strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    for got, want in zip(run(name, options, np.float64), parameters, strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_same_bits(name, options):
    shapes = [(100_003,), (300, 200)]
    results = []
    for threads in THREADS:
        with pynn.threads(threads):
            results.append(run(name, options, np.float32, 3, shapes=shapes))
    if {"avx2", "avx512"} <= set(_core.supported_isas()):
        for other in ("avx2", "avx512"):
            with isa(other):
                results.append(run(name, options, np.float32, 3, shapes=shapes))
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_transposed_parameters_and_gradients(optimizer_class):
    w, g = draw(np.float32, [(7, 5), (7, 5)])
    results = []
    for parameter in (pynn.tensor(w), pynn.tensor(w.T.copy()).T.detach()):
        for gradient in (pynn.tensor(g), pynn.tensor(g.T.copy()).T.detach()):
            p = nn.Parameter(parameter.clone())
            optimizer = optimizer_class([p], lr=0.1)
            for _ in range(3):
                p.grad = gradient
                optimizer.step()
            assert p.stride() == parameter.stride()
            results.append(p.detach().numpy().copy())
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_more_tensors_than_a_launch_takes(optimizer_class):
    parameters = [pynn.tensor([float(i)], requires_grad=True) for i in range(50)]
    optimizer = optimizer_class(parameters, lr=0.5, weight_decay=0.0)
    for p in parameters:
        p.grad = pynn.tensor([1.0])
    optimizer.step()
    for i, p in enumerate(parameters):
        assert abs(p.item() - (i - 0.5)) <= 1e-4


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_float32_and_float64_in_one_group(optimizer_class):
    parameters = [pynn.tensor(np.ones(3, d), requires_grad=True) for d in (np.float32, np.float64, np.float32)]
    for p in parameters:
        p.grad = pynn.ones(3, dtype=p.dtype)
    optimizer_class(parameters, lr=0.5, weight_decay=0.0).step()
    for p in parameters:
        np.testing.assert_allclose(p.detach().numpy(), 0.5, atol=1e-6)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_a_parameter_without_gradient_waits(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = [pynn.tensor(w, requires_grad=True) for w in draw()]
    theirs = [torch.tensor(w, requires_grad=True) for w in draw()]
    a, b = getattr(optim, name)(ours, lr=0.05), getattr(torch.optim, name)(theirs, lr=0.05)
    for step in range(1, 8):
        for i, g in enumerate(draw(seed=step)):
            skip = (i + step) % 3 == 0 and step > 2
            ours[i].grad = None if skip else pynn.tensor(g)
            theirs[i].grad = None if skip else torch.tensor(g)
        a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
@pytest.mark.parametrize("how", ["state_dict", "pickle", "deepcopy"])
def test_state_survives(optimizer_class, how):
    options = {"momentum": 0.9} if optimizer_class is optim.SGD else {}
    model = nn.Linear(6, 5)
    optimizer = optimizer_class(model.parameters(), lr=0.1, **options)

    def step(m, o, seed):
        set_gradients(list(m.parameters()), seed)
        o.step()

    step(model, optimizer, 1)
    if how == "state_dict":
        other = nn.Linear(6, 5)
        other.load_state_dict(model.state_dict())
        other_optimizer = optimizer_class(other.parameters(), lr=9.0, **options)
        other_optimizer.load_state_dict(optimizer.state_dict())
    elif how == "pickle":
        other, other_optimizer = pickle.loads(pickle.dumps((model, optimizer)))
    else:
        other, other_optimizer = copy.deepcopy((model, optimizer))
    for seed in (2, 3):
        step(model, optimizer, seed)
        step(other, other_optimizer, seed)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert a is not b
        assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


def test_groups_and_schedules():
    a, b = (pynn.tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([{"params": [a], "lr": 1.0}, {"params": b}], lr=0.1)
    for scale in (1.0, 0.5):
        for group in optimizer.param_groups:
            group["lr"] *= scale
        a.grad = b.grad = pynn.tensor([1.0])
        optimizer.step()
    assert abs(a.item() - (1 - 1.5)) <= 1e-6
    assert abs(b.item() - (1 - 0.15)) <= 1e-6
    optimizer.zero_grad()
    assert a.grad is None


def test_closure():
    a = pynn.tensor([3.0], requires_grad=True)
    optimizer = optim.SGD([a], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (a * a).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 9
    assert abs(a.item() - 2.4) <= 1e-6


def test_an_update_is_an_in_place_change():
    a = pynn.tensor([3.0], requires_grad=True)
    loss = (a * a).sum()
    a.grad = pynn.tensor([1.0])
    optim.SGD([a], lr=0.1).step()
    with pytest.raises(RuntimeError, match="in-place"):
        loss.backward()


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_bad_arguments(optimizer_class):
    a = pynn.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match="empty list"):
        optimizer_class([])
    with pytest.raises(TypeError, match="got one tensor"):
        optimizer_class(a)
    with pytest.raises(TypeError, match="expected tensors, got int"):
        optimizer_class([3])
    with pytest.raises(ValueError, match="given twice"):
        optimizer_class([a, a])
    with pytest.raises(ValueError, match="leaf"):
        optimizer_class([a * 2])
    for option in ("lr", "weight_decay"):
        for bad in (-1.0, float("nan")):
            with pytest.raises(ValueError, match=f"{option} >= 0"):
                optimizer_class([a], **{option: bad})
        with pytest.raises(TypeError, match=f"expected a number for {option}, got 'x'"):
            optimizer_class([a], **{option: "x"})
    a.grad = pynn.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"equal shapes for parameter and gradient, got \(1,\) and \(2,\)"):
        optimizer_class([a]).step()
    assert a.item() == 1


def test_bad_states_change_nothing():
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    set_gradients(list(model.parameters()), 1)
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][1]["momentum_buffer"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"'momentum_buffer': expected shape \(2,\), got \(3,\)"):
        optimizer.load_state_dict(state)
    with pytest.raises(ValueError, match="groups of"):
        optim.SGD([pynn.tensor([1.0], requires_grad=True)]).load_state_dict(state)


@pytest.mark.parametrize("make", [pynn.optim.SGD, pynn.optim.Adam, pynn.optim.AdamW])
def test_without_decay_an_infinite_weight_stays(make):
    p = pynn.nn.Parameter(np.array([-np.inf, 1.0], np.float32))
    p.grad = pynn.tensor([0.0, 1.0])
    make([p], lr=0.1, weight_decay=0.0).step()
    assert p[0].item() == -np.inf and p[1].item() < 1


def test_state_of_adam_where_a_parameter_never_had_a_gradient():
    used, unused = [pynn.ones(2).requires_grad_() for _ in range(2)]
    optimizer = pynn.optim.Adam([used, unused], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        used.sum().backward()
        optimizer.step()
    state = optimizer.state_dict()
    assert list(state["state"]) == [0] and state["state"][0]["step"] == 2
    optimizer.load_state_dict(state)
    optimizer.step()
