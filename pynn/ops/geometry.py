"""Kernel sizes, strides, dilations and paddings of convolution and pooling, from the forms in which users give them."""

from __future__ import annotations

from operator import index
from typing import Any

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]

LIMIT = 2**31 - 1  # sums and products with sizes of arrays stay within 64 bits


def whole(value: Any, least: int) -> int | None:
    """`value` as an int; None unless it is a whole number from `least` to LIMIT."""
    if isinstance(value, bool):
        return None
    try:
        number = index(value)
    except TypeError:
        return None
    return number if least <= number <= LIMIT else None


def is_key(values: tuple) -> bool:
    """Whether a cache may know `values` again by equality: a list is no key, and 2.0 and True equal integers."""
    for value in values:
        kind = type(value)
        if kind is not int and kind is not str and value is not None and not (kind is tuple and is_key(value)):
            return False
    return True


def pair(value: Any, axes: int, op: str, name: str, least: int) -> Pair:
    """A number for all axes or one for each, as (height, width); a single axis is a width. ValueError otherwise."""
    if axes == 2 and type(value) is tuple and len(value) == 2:  # as layers keep it: no time lost
        first, second = value
        if type(first) is type(second) is int and least <= first <= LIMIT and least <= second <= LIMIT:
            return value
    values = [whole(v, least) for v in (value if isinstance(value, tuple | list) else [value])]
    if len(values) == 1:
        values *= axes
    if len(values) != axes or None in values:
        what, number = ("integers", f", one or {axes}") if axes > 1 else ("an integer", "")
        raise ValueError(f"{op}: expected {name} as {what} >= {least} and < 2^31{number}, got {value!r}")
    return (values[0], values[1]) if axes == 2 else (least, values[0])  # type: ignore[return-value]


def sides_of(padding: Any, axes: int, reach: Pair, stride: Pair, op: str, words: bool = True) -> Sides:
    """The zeros before and after each axis; `reach` is how far a kernel reaches beyond its first tap.

    ValueError where `padding` is not one of the forms of `conv2d`; `words`: 'same' and 'valid' are among them.
    """
    if axes == 2 and type(padding) is int and 0 <= padding <= LIMIT:  # no time lost
        return (padding, padding), (padding, padding)
    if words and isinstance(padding, str) and padding == "same":
        if stride != (1, 1):
            raise ValueError(f"{op}: padding 'same' needs stride 1, got {stride[2 - axes :]}")
        (h, w) = reach
        return (h // 2, h - h // 2), (w // 2, w - w // 2)
    each = [0] if words and isinstance(padding, str) and padding == "valid" else padding
    each = list(each) if isinstance(each, tuple | list) else [each]
    if len(each) == 1:
        each *= axes
    pairs = [[whole(n, 0) for n in (p if isinstance(p, tuple | list) else [p, p])] for p in each]
    if len(pairs) != axes or any(len(p) != 2 or None in p for p in pairs):
        more = ", pairs, 'same' or 'valid'" if words else " or pairs"
        raise ValueError(f"{op}: expected padding as integers >= 0 and < 2^31{more}, got {padding!r}")
    result: Any = [(first, last) for first, last in pairs]
    return (result[0], result[1]) if axes == 2 else ((0, 0), result[0])


def reach_of(kernel: Pair, dilation: Pair) -> Pair:
    """How far a kernel reaches beyond its first tap."""
    return dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1)
