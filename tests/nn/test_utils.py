"""Clipping of gradients against the formula and against PyTorch."""

import math

import numpy as np
import pytest

import pynn
from pynn import nn
from pynn.nn.utils import clip_grad_norm_, clip_grad_value_

SHAPES = [(), (0,), (7,), (5, 3), (2, 3, 4)]


def parameters(dtype=np.float32, scale=1.0, seed=0):
    """With gradients, and one without."""
    rng = np.random.default_rng(seed)
    result = [pynn.tensor(np.zeros(shape, dtype), requires_grad=True) for shape in [*SHAPES, (3, 5), (4,)]]
    for p in result[:-1]:
        p.grad = pynn.tensor((rng.standard_normal(p.shape) * scale).astype(dtype))
    result[-2].grad = pynn.tensor(rng.standard_normal((5, 3)).astype(dtype) * dtype(scale)).T.detach()
    return result


def gradients(params):
    return [p.grad.numpy().astype(np.float64) for p in params if p.grad is not None]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("norm_type", [2.0, 2, 1, 3, 0.5, math.inf])
@pytest.mark.parametrize("max_norm", [0, 0.01, 1.0, 1e6])
def test_norm(dtype, norm_type, max_norm):
    params = parameters(dtype)
    before = gradients(params)
    held = [p.grad for p in params]
    flat = np.concatenate([g.ravel() for g in before])
    expected = np.abs(flat).max() if norm_type == math.inf else (np.abs(flat) ** norm_type).sum() ** (1 / norm_type)
    norm = clip_grad_norm_(iter(params), max_norm, norm_type)
    tolerance = 100 * np.finfo(dtype).eps
    assert norm.shape == () and norm.dtype == dtype
    assert abs(norm.item() - expected) <= tolerance * expected
    factor = min(1, max_norm / (expected + 1e-6))
    for a, b in zip(before, gradients(params), strict=True):
        assert np.abs(a * factor - b).max(initial=0) <= tolerance * np.abs(a).max(initial=0)
    assert all(p.grad is g for p, g in zip(params, held, strict=True))
    if max_norm == 1e6:
        for a, b in zip(before, gradients(params), strict=True):
            np.testing.assert_array_equal(a, b)


def test_against_torch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for scale in (1.0, 1e-12, 1e19, 1e25):
        for norm_type in (2.0, 1.0, math.inf):
            ours = [p for p in parameters(scale=scale) if p.numel()]  # PyTorch has no largest of nothing
            theirs = [torch.zeros(p.shape, requires_grad=True) for p in ours]
            for p, q in zip(ours, theirs, strict=True):
                q.grad = None if p.grad is None else torch.tensor(p.grad.numpy().copy())
            a = clip_grad_norm_(ours, 0.5, norm_type).item()
            b = torch.nn.utils.clip_grad_norm_(theirs, 0.5, norm_type).item()
            np.testing.assert_allclose(a, b, rtol=1e-5)
            clip_grad_value_(ours, 0.01)
            torch.nn.utils.clip_grad_value_(theirs, 0.01)
            for p, q in zip(ours[:-1], theirs[:-1], strict=True):
                np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_value(dtype):
    params = parameters(dtype)
    params[2].grad[0] = math.nan
    params[2].grad[1] = -math.inf
    before = gradients(params)
    clip_grad_value_(params, 0.5)
    for a, b in zip(before, gradients(params), strict=True):
        np.testing.assert_array_equal(np.clip(a, -0.5, 0.5), b)


def test_one_tensor_and_none():
    p = pynn.tensor([3.0, 4.0], requires_grad=True)
    assert clip_grad_norm_(p, 1.0).item() == 0 and clip_grad_norm_([], 1.0).item() == 0
    clip_grad_value_(p, 1.0)
    p.grad = pynn.tensor([3.0, 4.0])
    assert clip_grad_norm_(p, 2.5).item() == 5
    np.testing.assert_allclose(p.grad.numpy(), [1.5, 2], rtol=1e-6)
    clip_grad_value_(p, 1.75)
    np.testing.assert_allclose(p.grad.numpy(), [1.5, 1.75], rtol=1e-6)


def test_float32_and_float64_together():
    params = [*parameters(np.float32), *parameters(np.float64, seed=1)]
    flat = np.concatenate([g.ravel() for g in gradients(params)])
    assert abs(clip_grad_norm_(params, 1.0).item() - np.linalg.norm(flat)) <= 1e-5
    flat = np.concatenate([g.ravel() for g in gradients(params)])
    assert abs(np.linalg.norm(flat) - 1) <= 1e-5


def test_norms_that_are_not_finite():
    for value in (math.nan, math.inf):
        p = pynn.tensor([0.0, 0.0], requires_grad=True)
        p.grad = pynn.tensor([1.0, value])
        with pytest.raises(RuntimeError, match=f"clip_grad_norm_: the norm of the gradients is {value}"):
            clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
        assert p.grad[0].item() == 1
        assert not math.isfinite(clip_grad_norm_(p, 1.0).item())
        assert math.isnan(p.grad[1].item())


def test_bad_arguments():
    p = nn.Linear(2, 2)
    for bad in (0, -1, math.nan):
        with pytest.raises(ValueError, match="clip_grad_norm_: expected norm_type > 0"):
            clip_grad_norm_(p.parameters(), 1.0, bad)
    for bad in (-1, math.nan):
        with pytest.raises(ValueError, match="clip_grad_norm_: expected max_norm >= 0"):
            clip_grad_norm_(p.parameters(), bad)
        with pytest.raises(ValueError, match="clip_grad_value_: expected clip_value >= 0"):
            clip_grad_value_(p.parameters(), bad)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_same_bits(threads):
    def clipped(n):
        with pynn.threads(n):
            p = pynn.tensor(np.zeros(300_007, np.float32), requires_grad=True)
            p.grad = pynn.tensor(np.random.default_rng(0).standard_normal(300_007).astype(np.float32))
            return clip_grad_norm_(p, 1.0).numpy().tobytes(), p.grad.numpy().tobytes()

    assert clipped(threads) == clipped(1)
