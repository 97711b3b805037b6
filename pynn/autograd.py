"""Reverse-mode automatic differentiation: what users build on the tape.

An op computes an array and records a closure that turns the gradient of its output into gradients of its inputs
(`_core.record`); `Tensor.backward` walks the closures (cpp/bindings/tape.cpp). Closures hold arrays, never tensors, so
that no reference cycle keeps memory alive.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import _core
from ._core import is_grad_enabled as is_grad_enabled


class set_grad_enabled:
    """Context manager and decorator: record ops (`True`) or not (`False`), on this thread."""

    def __init__(self, mode: bool) -> None:
        self._mode = bool(mode)
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_core.set_grad_enabled(self._mode))

    def __exit__(self, *exc: object) -> None:
        _core.set_grad_enabled(self._before.pop())

    def __call__(self, function: Callable) -> Callable:
        if not callable(function):
            raise TypeError(f"{type(self).__name__}: expected a function to decorate, got {type(function).__name__}")

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with set_grad_enabled(self._mode):
                return function(*args, **kwargs)

        return wrapper


class _Mode(set_grad_enabled):
    """What decorates with brackets and without."""

    def __new__(cls, function: Callable | None = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)


class no_grad(_Mode):
    """Context manager and decorator under which nothing is recorded and leaves may be changed in place."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(_Mode):
    """Context manager and decorator that records again inside a `no_grad` block."""

    def __init__(self) -> None:
        super().__init__(True)


class Context:
    """What `Function.forward` leaves for `Function.backward`."""

    def __init__(self) -> None:
        self.saved_tensors: tuple = ()
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for the backward pass; a later in-place change to one of them is noticed there.

        TypeError for what is neither a Tensor nor None: that may be kept in an attribute of `ctx`.
        """
        for t in tensors:
            if not (t is None or isinstance(t, _tensor.Tensor)):
                raise TypeError(
                    f"save_for_backward: expected Tensors or None, got {type(t).__name__}; "
                    "keep other values in attributes of ctx"
                )
        self.saved_tensors = tensors


class Function:
    """Base class of user-defined ops: static `forward(ctx, *args)` and `backward(ctx, grad_output)`.

    `forward` gives one tensor; `backward` gives one gradient (or None) per argument of `forward`. Call it as
    `MyFunction.apply(*args)`. Neither is recorded by itself.
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        raise NotImplementedError("Function.forward")

    @staticmethod
    def backward(ctx: Context, grad_output: Any) -> Any:
        raise NotImplementedError("Function.backward")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        ctx = Context()
        inputs = tuple([a if isinstance(a, _tensor.Tensor) else None for a in args])
        ctx.needs_input_grad = tuple([t is not None and t.requires_grad for t in inputs])
        with no_grad():
            out = cls.forward(ctx, *args)
        if not isinstance(out, _tensor.Tensor):
            raise TypeError(f"{cls.__name__}.forward: expected one Tensor, got {type(out).__name__}")
        # The closure keeps arrays only: a saved output tensor would hold the node that holds the closure.
        saved = tuple([t if t is None else t._array for t in ctx.saved_tensors])
        ctx.saved_tensors = ()

        def backward(grad: Any) -> list:
            ctx.saved_tensors = tuple([a if a is None else _tensor.Tensor._wrap(a) for a in saved])
            with no_grad():
                grads = cls.backward(ctx, _tensor.Tensor._wrap(grad))
            ctx.saved_tensors = ()
            grads = grads if isinstance(grads, tuple | list) else (grads,)
            if len(grads) != len(inputs):
                raise ValueError(
                    f"{cls.__name__}.backward: expected {len(inputs)} gradients, one per argument of forward, "
                    f"got {len(grads)}"
                )
            return [_checked_gradient(cls.__name__, g, a) for g, a in zip(grads, kinds, strict=True)]

        kinds = [None if t is None else (t.shape, t.dtype) for t in inputs]
        return _core.record(cls.__name__, out._array, inputs, backward, saved)


def _checked_gradient(name: str, grad: Any, kind: tuple | None) -> Any:
    if grad is None or kind is None:
        return None
    shape, dtype = kind
    if not isinstance(grad, _tensor.Tensor):
        raise TypeError(f"{name}.backward: expected Tensors as gradients, got {type(grad).__name__}")
    if grad.shape != shape:
        raise ValueError(f"{name}.backward: expected a gradient of shape {shape}, got {grad.shape}")
    if grad.dtype != dtype:
        raise TypeError(f"{name}.backward: expected a gradient of dtype {dtype.name}, got {grad.dtype.name}")
    return grad._array


def check_gradients(what: str, parameters: Iterable[Any]) -> None:
    """TypeError where `.grad` was set to something else than a tensor."""
    for p in parameters:
        if not (p.grad is None or isinstance(p.grad, _tensor.Tensor)):
            raise TypeError(
                f"{what}: expected a Tensor or None as .grad of a parameter of shape {p.shape}, "
                f"got {type(p.grad).__name__}"
            ) from None


def gradcheck(
    function: Callable,
    inputs: Sequence[Any] | Any,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compare the gradients of `function(*inputs)` with central differences of step `eps`.

    The inputs that require grad are float64 leaves (TypeError otherwise). A random projection of the output is
    differentiated. Returns whether |analytic - numeric| <= atol + rtol |numeric| everywhere; raises AssertionError that
    names the first wrong element instead, unless `raise_exception` is False.
    """
    tensors = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    checked = [t for t in tensors if isinstance(t, _tensor.Tensor) and t.requires_grad]
    if not checked:
        raise ValueError("gradcheck: expected at least one input that requires grad")
    for t in checked:
        if t.dtype != np.float64:
            raise TypeError(
                f"gradcheck: expected float64 inputs, got {t.dtype.name}: differences drown in float32 rounding"
            )
        t.grad = None
    out = function(*tensors)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, out.shape)
    if out.requires_grad:
        out.backward(_tensor.tensor(weights))

    def projected() -> float:
        with no_grad():
            return float((np.asarray(function(*tensors).detach()) * weights).sum())

    for number, t in enumerate(checked):
        analytic = np.zeros(t.shape) if t.grad is None else np.array(t.grad)
        t.grad = None
        values = np.asarray(t._array)
        for at in np.ndindex(t.shape):
            before = values[at]
            values[at] = before + eps
            above = projected()
            values[at] = before - eps
            below = projected()
            values[at] = before
            numeric = (above - below) / (2 * eps)
            if not abs(analytic[at] - numeric) <= atol + rtol * abs(numeric):
                if raise_exception:
                    raise AssertionError(
                        f"gradcheck: input {number} at {at}: the gradient is {analytic[at]:.9g}, "
                        f"differences give {numeric:.9g}"
                    )
                return False
    return True


# Tensors record themselves here, and Function makes tensors: a module each, one of them imported last.
from . import tensor as _tensor  # noqa: E402
