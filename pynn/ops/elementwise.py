"""Arithmetic and comparisons, element by element.

Operands are tensors, ndarrays or Python numbers (at least one is not a number), broadcast as in
NumPy. Types are promoted as in PyTorch: an operand with dimensions decides, then one without, then a number, unless the
weaker one is of a higher kind (bool, integer, float); within a kind the wider type wins. So a float32 tensor plus 1.5
is float32, an int64 tensor plus 1.5 too. Float results come from float32 or float64 arithmetic; gradients are summed
over broadcast dimensions and cast to the operand's dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _core
from ..tensor import Tensor, as_tensor
from .views import sum_to_shape


def _raw(value: Any) -> Any:
    """What a closure keeps of an operand: an array, or a number as it is."""
    return value._array if isinstance(value, Tensor) else value


def _pull(operand: Any, gradient: Callable) -> Callable:
    """The gradient of an operand from that of the output: `gradient`, with broadcasting and promotion undone."""
    if not _core.is_recorded(operand):
        return lambda grad: None
    shape, dtype = operand.shape, operand.dtype
    return lambda grad: _core.cast(sum_to_shape(gradient(grad), shape), dtype)


def _record(name: str, out: Any, x: Any, y: Any, for_x: Callable, for_y: Callable, *saved: Any) -> Tensor:
    """out = f(x, y) with the gradients `for_x(grad)` and `for_y(grad)` in the shape of out."""
    pull_x, pull_y = _pull(x, for_x), _pull(y, for_y)
    inputs = tuple([t if isinstance(t, Tensor) else None for t in (x, y)])
    arrays = tuple([a for a in saved if isinstance(a, _core.Array)])
    return _core.record(name, out, inputs, lambda grad: (pull_x(grad), pull_y(grad)), arrays)


# What is recorded is made apart from the ops: variables of a closure would cost every call, recorded or not.
def _record_add(out: Any, x: Any, y: Any, alpha: float) -> Tensor:
    return _record("add", out, x, y, lambda g: g, lambda g: g if alpha == 1 else _core.mul(g, alpha))


def _record_sub(out: Any, x: Any, y: Any, alpha: float) -> Tensor:
    return _record("sub", out, x, y, lambda g: g, lambda g: _core.mul(g, -alpha))


def _record_mul(out: Any, x: Any, y: Any) -> Tensor:
    a, b = _raw(x), _raw(y)
    return _record("mul", out, x, y, lambda g: _core.mul(g, b), lambda g: _core.mul(g, a), a, b)


def _record_div(out: Any, x: Any, y: Any) -> Tensor:
    b = _raw(y)
    return _record("div", out, x, y, lambda g: _core.div(g, b), lambda g: _core.mul(g, _core.div(out, b), -1), out, b)


def add(input: Any, other: Any, alpha: float = 1) -> Tensor:
    """input + alpha * other. bool + bool is the logical or."""
    return _core.wrap_or_record(_record_add, _core.add(input, other, alpha), input, other, alpha)


def sub(input: Any, other: Any, alpha: float = 1) -> Tensor:
    """input - alpha * other. TypeError for bool."""
    return _core.wrap_or_record(_record_sub, _core.sub(input, other, alpha), input, other, alpha)


def mul(input: Any, other: Any) -> Tensor:
    """input * other. bool * bool is the logical and."""
    return _core.wrap_or_record(_record_mul, _core.mul(input, other), input, other)


def div(input: Any, other: Any) -> Tensor:
    """input / other; two integers give float32."""
    return _core.wrap_or_record(_record_div, _core.div(input, other), input, other)


def _extremum(name: str, loses: Callable, loses_or_ties: Callable) -> Callable:
    """What records `maximum` or `minimum`."""

    def share(grad: Any, s: Any, t: Any) -> Any:  # nothing where s loses, half at a tie, all else: NaN never loses
        lost = _core.add(_core.cast(loses(s, t), grad.dtype), _core.cast(loses_or_ties(s, t), grad.dtype))
        return _core.mul(grad, _core.sub(1, lost, 0.5))

    def record(out: Any, x: Any, y: Any) -> Tensor:
        a, b = _raw(x), _raw(y)
        return _record(name, out, x, y, lambda g: share(g, a, b), lambda g: share(g, b, a), a, b)

    return record


_record_maximum = _extremum("maximum", _core.lt, _core.le)
_record_minimum = _extremum("minimum", _core.gt, _core.ge)


def maximum(input: Any, other: Any) -> Tensor:
    """The larger of the two; NaN where either is. The gradient goes to the larger, half of it to each at a tie.

    Where one is NaN, both get the whole gradient, as in PyTorch.
    """
    return _core.wrap_or_record(_record_maximum, _core.maximum(input, other), input, other)


def minimum(input: Any, other: Any) -> Tensor:
    """The smaller of the two; NaN where either is. The gradient is that of `maximum` with the smaller one winning."""
    return _core.wrap_or_record(_record_minimum, _core.minimum(input, other), input, other)


def neg(input: Any) -> Tensor:
    """-x. TypeError for bool."""
    x = as_tensor(input)
    return _core.record("neg", _core.neg(x._array), (x,), lambda g: (_core.neg(g),))


def abs(input: Any) -> Tensor:
    """|x|. The gradient at 0 is 0. TypeError for bool."""
    x = as_tensor(input)
    a = x._array
    return _core.record("abs", _core.abs(a), (x,), lambda g: (_core.mul(g, _core.sign(a)),), (a,))


def square(input: Any) -> Tensor:
    """x * x."""
    x = as_tensor(input)
    a = x._array
    return _core.record("square", _core.mul(a, a), (x,), lambda g: (_core.mul(g, a, 2),), (a,))


def sqrt(input: Any) -> Tensor:
    """The square root, correctly rounded; NaN below 0. Integers give float32."""
    x = as_tensor(input)
    y = _core.sqrt(x._array)
    return _core.record("sqrt", y, (x,), lambda g: (_core.div(g, y, 0.5),), (y,))


def exp(input: Any) -> Tensor:
    """e^x, within 1.01 ulp in float32. Integers give float32."""
    x = as_tensor(input)
    y = _core.exp(x._array)
    return _core.record("exp", y, (x,), lambda g: (_core.mul(g, y),), (y,))


def log(input: Any) -> Tensor:
    """The natural logarithm, within 0.9 ulp in float32; -inf at 0, NaN below. Integers give float32."""
    x = as_tensor(input)
    a = x._array
    return _core.record("log", _core.log(a), (x,), lambda g: (_core.div(g, a),), (a,))


def _power(a: Any, exponent: float) -> Any:
    """a ** exponent. 1/x, sqrt x, x, x^2, x^3, x^4 by what is exact to an ulp or two; integers by squaring."""
    if a.dtype.kind != "f":
        if isinstance(exponent, float):
            a = _core.cast(a, np.float32)
        elif exponent < 0:
            raise ValueError(f"pow: an integer to the negative power {exponent} is no integer")
    if exponent == -1:
        return _core.div(1, a)
    if exponent == 0.5:
        return _core.sqrt(a)
    if exponent not in (1, 2, 3, 4) and (a.dtype.kind == "f" or exponent == 0):
        return _core.full_like(a, 1) if exponent == 0 else _core.pow(a, exponent)
    result = None
    bits = int(exponent)
    while bits:
        if bits & 1:
            result = a if result is None else _core.mul(result, a)
        bits >>= 1
        a = _core.mul(a, a) if bits else a
    return result


def pow(input: Any, exponent: float) -> Tensor:
    """input ** exponent for a number `exponent`.

    float32 is within 2 ulp for 2, 3 and 4, and within 0.51 ulp for any other exponent. Integers to a power that is an
    integer >= 0 stay integers; ValueError for a negative one.
    """
    if isinstance(exponent, bool) or not isinstance(exponent, int | float):
        raise TypeError(f"pow: expected a number as exponent, got {type(exponent).__name__}")
    x = as_tensor(input)
    a = x._array
    y = _power(a, exponent)

    def backward(grad: Any) -> tuple:
        if exponent == 0:
            return (_core.full_like(grad, 0),)
        return (_core.mul(grad, _power(a, exponent - 1), exponent),)

    return _core.record("pow", _core.copy(y) if y is a else y, (x,), backward, (a,))


def eq(input: Any, other: Any) -> Tensor:
    """input == other, as bool."""
    return Tensor._wrap(_core.eq(input, other))


def ne(input: Any, other: Any) -> Tensor:
    """input != other, as bool; true where either is NaN."""
    return Tensor._wrap(_core.ne(input, other))


def lt(input: Any, other: Any) -> Tensor:
    """input < other, as bool."""
    return Tensor._wrap(_core.lt(input, other))


def le(input: Any, other: Any) -> Tensor:
    """input <= other, as bool."""
    return Tensor._wrap(_core.le(input, other))


def gt(input: Any, other: Any) -> Tensor:
    """input > other, as bool."""
    return Tensor._wrap(_core.gt(input, other))


def ge(input: Any, other: Any) -> Tensor:
    """input >= other, as bool."""
    return Tensor._wrap(_core.ge(input, other))
