"""Threads, memory and the machine."""

from __future__ import annotations

import operator
from typing import Any

from . import _core


def _checked_threads(n: Any, function: str) -> int:
    try:
        threads = operator.index(n)
    except TypeError:
        threads = 0
    if isinstance(n, bool) or not 1 <= threads <= 1024:
        raise ValueError(f"{function}: expected a whole number of threads from 1 to 1024, got {n!r}")
    return threads


def get_num_threads() -> int:
    """How many threads a call made by this thread may use; it uses fewer where its work does not pay for them."""
    return _core.num_threads()


def set_num_threads(n: int) -> None:
    """Use up to `n` threads in the whole process, also above the number of cores. ValueError for n < 1."""
    _core.set_num_threads(_checked_threads(n, "set_num_threads"))


class threads:
    """Context manager: calls made by this thread use up to `n` threads.

    Blocks nest, and other threads are not concerned. The results are the same bits at any number. ValueError for n < 1
    or a number that is not whole.
    """

    def __init__(self, n: int) -> None:
        self._n = _checked_threads(n, "threads")
        self._before: list[int] = []

    def __enter__(self) -> None:
        self._before.append(_core.local_threads())
        _core.set_local_threads(self._n)

    def __exit__(self, *exc: object) -> None:
        _core.set_local_threads(self._before.pop())
