"""Reverse-mode automatic differentiation: the tape, its walk, and what users build on it.

An op computes an array and records a closure that turns the gradient of its output into gradients of its inputs.
Nodes hold arrays and other nodes, never tensors, so that no reference cycle keeps memory alive.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import threading
from collections.abc import Callable
from sys import getrefcount
from typing import Any

from . import _core

_next_order = itertools.count().__next__


class _Flags(threading.local):
    grad = True


_flags = _Flags()


class Node:
    """One recorded op: `backward(grad) -> gradients of the inputs`, as arrays."""

    __slots__ = ("backward", "inputs", "name", "order", "saved", "versions")

    def __init__(self, name: str, backward: Callable, inputs: tuple, saved: tuple) -> None:
        self.order = _next_order()
        self.name = name
        self.backward: Callable | None = backward
        self.inputs = (
            inputs  # per input: its node, the leaf tensor itself, or None where no gradient is wanted
        )
        self.saved = saved
        self.versions = [a.version for a in saved]


def recording(*tensors: Any) -> bool:
    """Whether an op on these tensors has to be recorded."""
    return _flags.grad and any(t is not None and t.requires_grad for t in tensors)


def edge(tensor: Any) -> Any:
    """What the walk needs of an input: its node, the leaf itself, or None where no gradient is wanted."""
    if tensor is None or not tensor.requires_grad:
        return None
    return tensor._node or tensor


def run_backward(tensor: Any, gradient: Any, retain_graph: bool) -> None:
    """Walk the tape from `tensor`, newest node first, adding to the `.grad` of every leaf it reaches."""
    node = edge(tensor)
    if node is tensor:
        _accumulate(tensor, gradient)
        return
    grads = {node: gradient}
    del gradient
    heap = [(-node.order, node)]
    while heap:
        node = heapq.heappop(heap)[1]
        if node.backward is None:
            raise RuntimeError(
                f"backward through '{node.name}' a second time: what it saved is freed; "
                "pass retain_graph=True to the first backward()"
            )
        for array, version in zip(node.saved, node.versions, strict=True):
            if array.version != version:
                raise RuntimeError(
                    f"backward of '{node.name}' needs an array of shape {array.shape} that an in-place operation has "
                    f"changed since (version {array.version}, expected {version})"
                )
        outputs = list(node.backward(grads.pop(node)))
        inputs = node.inputs
        if not retain_graph:
            node.backward = node.saved = node.inputs = None
        for target in reversed(inputs):
            grad = outputs.pop()
            if target is None or grad is None:
                continue
            if type(target) is not Node:
                _accumulate(target, grad)
            elif target in grads:
                grads[target] = _core.add(grads[target], grad)
            else:
                grads[target] = grad
                heapq.heappush(heap, (-target.order, target))
            del grad


# References to a gradient that nobody else holds, seen from inside _accumulate: the caller's variable, the parameter
# and the argument of getrefcount.
_UNSHARED = 3


def _accumulate(leaf: Any, grad: Any) -> None:
    if leaf.grad is not None:
        _core.add_(leaf.grad._array, grad)
        return
    # A leaf's gradient is its own memory: later backward passes add to it in place.
    if getrefcount(grad) > _UNSHARED or _core.is_shared(grad):
        grad = _core.copy(grad)
    leaf.grad = type(leaf)._wrap(grad)


class set_grad_enabled:
    """Context manager and decorator: record ops (`True`) or not (`False`), on this thread."""

    def __init__(self, mode: bool) -> None:
        self._mode = bool(mode)
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_flags.grad)
        _flags.grad = self._mode

    def __exit__(self, *exc: object) -> None:
        _flags.grad = self._before.pop()

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with set_grad_enabled(self._mode):
                return function(*args, **kwargs)

        return wrapper


class no_grad(set_grad_enabled):
    """Context manager and decorator under which nothing is recorded and leaves may be changed in place."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):
    """Context manager and decorator that records again inside a `no_grad` block."""

    def __init__(self) -> None:
        super().__init__(True)


def is_grad_enabled() -> bool:
    """Whether ops on this thread are recorded."""
    return _flags.grad
