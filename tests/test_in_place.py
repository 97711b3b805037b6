"""What is written in place loses no gradient, and no digits of integers."""

from __future__ import annotations

import re

import numpy as np
import pytest

import pynn


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


def test_nothing_is_written_in_place():
    """An empty array has strides of zero, and is no expanded view."""
    for shape in [(3, 0), (0,), (2, 0, 5)]:
        assert pynn.zeros(shape).fill_(1).shape == pynn.zeros(shape).add_(1).shape == shape
        assert (
            pynn.zeros(shape).copy_(pynn.zeros(shape)).shape == pynn.nn.init.normal_(pynn.zeros(shape)).shape == shape
        )


FULL = pynn.tensor([1, 2], dtype=pynn.uint8)


@pytest.mark.parametrize(
    ("number", "call"),
    [
        (300, lambda: pynn.tensor([0, 300], dtype=pynn.uint8)),
        (-1, lambda: pynn.tensor(-1, dtype="uint8")),
        (2**40, lambda: pynn.tensor([2**40], dtype=pynn.int32)),
        (2.0**63, lambda: pynn.tensor([2.0**63], dtype=pynn.int64)),
        ("nan", lambda: pynn.as_tensor([np.nan], dtype=pynn.int64)),
        (300, lambda: FULL.clone().__setitem__(0, 300)),
        (300, lambda: FULL.clone().__setitem__(0, np.int64(300))),
        (300, lambda: FULL.clone().copy_([300, 1])),
        (300, lambda: FULL.clone().fill_(300)),
        (300, lambda: FULL.clone().add_(300)),
        (300, lambda: FULL.clone().mul_(np.int64(300))),
        (300, lambda: FULL.clone().sub_([300, 1])),
    ],
)
def test_a_number_that_does_not_fit_is_an_error(number, call):
    with pytest.raises(ValueError, match=re.escape(f"{number} does not fit")):
        call()


def test_the_largest_numbers_fit():
    assert pynn.tensor([0, 255], dtype=pynn.uint8).tolist() == [0, 255]
    assert pynn.tensor([-(2**63), 2**63 - 1], dtype=pynn.int64).tolist() == [-(2**63), 2**63 - 1]
    assert pynn.tensor([2.9, -0.5], dtype=pynn.uint8).tolist() == [2, 0]
    assert pynn.tensor([], dtype=pynn.uint8).shape == (0,)
    assert pynn.tensor(np.array([300, -1]), dtype=pynn.uint8).tolist() == [44, 255]


@pytest.mark.parametrize("other", [0.5, np.float32(0.5), [0.5, 1.0], pynn.tensor(0.5), np.ones(2)])
def test_in_place_integers_stay_integers(other):
    t = pynn.tensor([1, 2])
    for call in (t.add_, t.sub_, t.mul_, t.div_, t.__iadd__):
        with pytest.raises(TypeError, match="int64"):
            call(other)
    with pytest.raises(TypeError, match="bool"):
        pynn.tensor([True, False]).mul_(pynn.tensor([2, 3]))
    assert t.tolist() == [1, 2]


def test_in_place_takes_other_integers():
    t = pynn.tensor([1, 2], dtype=pynn.int32)
    assert t.add_(pynn.tensor([1, 2])).mul_(True).sub_(np.uint8(1)).tolist() == [1, 3]
