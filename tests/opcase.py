"""One object per op drives every check of it.

An OpCase names the op, its plain-NumPy reference and how to draw inputs of a given size. `suite(cases)` turns a list
of them into one parametrised test: forward against the reference in float64 terms, gradients, every instruction set,
1, 2, 3 and 7 threads bit for bit, batch split bit for bit, odd layouts, edge sizes, record and replay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import pynn
from pynn import _core

SIZES = (0, 1, 3, 15, 16, 17, 31, 33, 100)  # around the 4, 8 and 16 lanes of the instruction sets
THREADS = (1, 2, 3, 7)


@dataclass
class OpCase:
    """`inputs(rng, n)` gives float64 (or integer) arrays whose extent grows with n.

    tolerance: allowed error in units of eps(float32) * bound, where `bound(*inputs)` (default: max(1, |reference|)) is
    the size that rounding errors scale with; say where a number comes from.
    """

    name: str
    op: Callable[..., Any]
    reference: Callable[..., np.ndarray]
    inputs: Callable[[np.random.Generator, int], tuple[np.ndarray, ...]]
    kwargs: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 4.0
    bound: Callable[..., np.ndarray] | None = None
    differentiable: Sequence[int] = (0,)  # which inputs have a gradient
    by_row: bool = True  # row i of the output depends on row i of input 0 only
    sizes: Sequence[int] = SIZES
    large: int = 3000  # a size at which several threads have work

    def __str__(self) -> str:
        return self.name

    def arrays(self, n: int, dtype: Any = np.float32, seed: int = 0) -> tuple[np.ndarray, ...]:
        drawn = self.inputs(np.random.default_rng([seed, n]), n)
        return tuple(a.astype(dtype) if a.dtype == np.float64 else a for a in drawn)

    def run(self, *arrays: np.ndarray) -> np.ndarray:
        return np.asarray(self.op(*[pynn.as_tensor(a) for a in arrays], **self.kwargs).detach())

    def check(self, got: np.ndarray, arrays: Sequence[np.ndarray], where: str = "") -> None:
        wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
        expected = np.asarray(self.reference(*wide, **self.kwargs))
        assert got.shape == expected.shape, f"{self.name} {where}: shape {got.shape}, expected {expected.shape}"
        bound = np.maximum(1, np.abs(expected)) if self.bound is None else self.bound(*wide)
        error = np.abs(got - expected) / bound
        limit = self.tolerance * np.finfo(np.float32).eps
        assert np.all(error <= limit), f"{self.name} {where}: error {error.max():.3g} * bound, allowed {limit:.3g}"


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@contextlib.contextmanager
def isa(name: str):
    before = _core.isa_name()
    _core.use_isa(name)
    try:
        yield
    finally:
        _core.use_isa(before)


@contextlib.contextmanager
def precision(mode: str):
    before = pynn.get_precision()
    pynn.set_precision(mode)
    try:
        yield
    finally:
        pynn.set_precision(before)


@contextlib.contextmanager
def all_threads(n: int):
    """Every call with work to share uses exactly n threads, however small it is."""
    _core.always_use_team(True)
    try:
        with pynn.threads(n):
            yield
    finally:
        _core.always_use_team(False)


def check_forward(case: OpCase) -> None:
    for n in case.sizes:
        arrays = case.arrays(n)
        case.check(case.run(*arrays), arrays, f"size {n}")


def check_float64(case: OpCase) -> None:
    arrays = case.arrays(17, np.float64)
    got = case.run(*arrays)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, case.reference(*arrays, **case.kwargs), rtol=1e-11, atol=1e-12)


def check_gradient(case: OpCase) -> None:
    arrays = case.arrays(7, np.float64)
    tensors = [pynn.tensor(a, requires_grad=i in case.differentiable) for i, a in enumerate(arrays)]
    pynn.autograd.gradcheck(lambda *t: case.op(*t, **case.kwargs), tensors)


def check_isas(case: OpCase) -> None:
    results = {}
    for name in _core.supported_isas():
        with isa(name):
            for n in case.sizes:
                arrays = case.arrays(n)
                results[name, n] = case.run(*arrays)
                case.check(results[name, n], arrays, f"{name}, size {n}")
    if {"avx2", "avx512"} <= set(_core.supported_isas()):
        for n in case.sizes:
            assert same_bits(results["avx2", n], results["avx512", n]), f"{case.name}: avx2 and avx512 differ, size {n}"


def forward_and_gradients(case: OpCase, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    tensors = [pynn.tensor(a, requires_grad=i in case.differentiable) for i, a in enumerate(arrays)]
    out = case.op(*tensors, **case.kwargs)
    if case.differentiable:
        weight = np.random.default_rng(5).standard_normal(out.shape).astype(out.dtype)
        out.backward(pynn.tensor(weight))
    return [np.asarray(out.detach())] + [np.array(tensors[i].grad) for i in case.differentiable]


def check_threads(case: OpCase) -> None:
    arrays = case.arrays(case.large)
    results = []
    for threads in THREADS:
        with all_threads(threads):
            results.append(forward_and_gradients(case, arrays))
    for threads, result in zip(THREADS, results, strict=True):
        for a, b in zip(results[0], result, strict=True):
            assert same_bits(a, b), f"{case.name}: {threads} threads give other bits than 1"


def check_batch_split(case: OpCase) -> None:
    if not case.by_row:
        return
    first, *rest = case.arrays(33)
    whole = case.run(first, *rest)
    for i in range(len(first)):
        assert same_bits(case.run(first[i : i + 1], *rest), whole[i : i + 1]), f"{case.name}: row {i} alone differs"


def layouts(a: np.ndarray):
    """The same values in other memory: Fortran order, every other element, reversed, off by one element, read-only."""
    yield "fortran", np.asfortranarray(a)
    spaced = np.zeros([2 * s for s in a.shape], a.dtype)[tuple(slice(None, None, 2) for _ in a.shape)]
    spaced[...] = a
    yield "strided", spaced
    if a.ndim:
        yield "reversed", a[::-1].copy()[::-1]
    buffer = np.zeros(a.size + 1, a.dtype)
    shifted = buffer[1:].reshape(a.shape)
    shifted[...] = a
    yield "misaligned", shifted
    frozen = a.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen


def check_layouts(case: OpCase) -> None:
    arrays = case.arrays(17)
    expected = case.run(*arrays)
    for i, a in enumerate(arrays):
        for name, other in layouts(a):
            changed = [*arrays[:i], other, *arrays[i + 1 :]]
            assert same_bits(case.run(*changed), expected), f"{case.name}: input {i} as {name} gives other bits"


def arrays_of_step(case: OpCase, arrays: Sequence[Any], weight: Any) -> list[Any]:
    """The forward result and the gradients, as arrays without a tape."""
    tensors = [pynn.Tensor._wrap(a) for a in arrays]
    for i in case.differentiable:
        tensors[i].requires_grad = True
    out = case.op(*tensors, **case.kwargs)
    if case.differentiable:
        out.backward(weight)
    return [out._array] + [tensors[i].grad._array for i in case.differentiable]


def check_replay(case: OpCase) -> None:
    """Recorded once, then run on other inputs: the bits of an eager call, and results that stay what they were."""
    drawn = [[_core.wrap(a) for a in case.arrays(17, seed=seed)] for seed in (0, 1)]
    out = case.op(*[pynn.as_tensor(a) for a in case.arrays(17)], **case.kwargs)
    weight = pynn.tensor(np.random.default_rng(5).standard_normal(out.shape).astype(out.dtype))
    del out
    eager = [[np.array(a) for a in arrays_of_step(case, arrays, weight)] for arrays in drawn]

    program = _core.Program()
    program.begin()
    try:
        results = arrays_of_step(case, [program.input(a) for a in drawn[0]], weight)
        program.finish(results)
    except BaseException:
        program.abort()
        raise
    assert program.calls, f"{case.name}: no kernel call was recorded"

    def check(results: Sequence[Any], seed: int, when: str) -> None:
        for result, expected in zip(results, eager[seed], strict=True):
            assert same_bits(np.asarray(result), expected), f"{case.name}: {when} differs from an eager call"

    check(results, 0, "the recording")
    del results
    check(program.replay(drawn[1]), 1, "a replay")
    held = program.replay(drawn[1])
    check(program.replay(drawn[0]), 0, "a replay while a result is held")
    check(held, 1, "a held result")


CHECKS = (
    check_forward,
    check_float64,
    check_gradient,
    check_isas,
    check_threads,
    check_batch_split,
    check_layouts,
    check_replay,
)


def suite(cases: Sequence[OpCase]) -> Callable:
    @pytest.mark.parametrize("case", cases, ids=str)
    @pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__.removeprefix("check_"))
    def test(case: OpCase, check: Callable) -> None:
        if check is check_gradient and not case.differentiable:
            pytest.skip("the op has no gradient")
        check(case)

    return test
