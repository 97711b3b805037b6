"""Threads, memory and the machine."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from . import _core

_core.check_environment()  # not in the module's own start, which would make an ImportError of the ValueError


def _checked_threads(n: Any, function: str) -> int:
    try:
        threads = operator.index(n)
    except TypeError:
        threads = 0
    if isinstance(n, bool) or not 1 <= threads <= 1024:
        raise ValueError(f"{function}: expected a whole number of threads from 1 to 1024, got {n!r}")
    return threads


class Info(dict):
    """What `info()` gives: a dict that prints as a table."""

    def __repr__(self) -> str:
        width = max(map(len, self))
        return "\n".join(f"{key:<{width}}  {value}" for key, value in self.items())


def set_precision(mode: str) -> None:
    """How convolutions may be computed, in the whole process: "fast" (the default) or "strict".

    "fast" may compute kernels of 3 x 3 and 5 x 5 taps by Winograd's algorithm (Lavin and Gray 2016), whose error is
    about twice that of a direct sum (root mean square); a NaN or an infinity may then spread to neighbouring pixels.
    "strict" sums directly, and keeps them where they belong. ValueError for another mode.
    """
    if mode not in ("fast", "strict"):
        raise ValueError(f"set_precision: expected 'fast' or 'strict', got {mode!r}")
    _core.set_strict(mode == "strict")


def get_precision() -> str:
    """What `set_precision` set."""
    return "strict" if _core.is_strict() else "fast"


def info() -> Info:
    """The library, the machine and what this process may use of it.

    `threads` is what a call of this thread may use, `threads_from` what decided it: "physical cores", "affinity",
    "cgroup quota", "OMP_NUM_THREADS", "PYNN_NUM_THREADS", "set_num_threads" or "threads". Sizes are in bytes.
    """
    machine = _core.machine()
    threads = _core.num_threads()
    if _core.local_threads():
        threads_from = "threads"
    else:
        threads_from = machine["bound"] if threads == machine["default_threads"] else "set_num_threads"
    return Info(
        version=_version(),
        isa=_core.isa_name(),
        supported_isas=_core.supported_isas(),
        threads=threads,
        threads_from=threads_from,
        precision=get_precision(),
        cpu=machine["cpu"],
        physical_cores=machine["physical_cores"],
        affinity_cores=machine["affinity_cores"],
        cgroup_cpu_quota=machine["cgroup_cpu_quota"] or None,
        memory_limit=machine["memory_limit"],
        pool_cap=_core.memory_stats()["cap_bytes"],
        build=_core.build_flags,
        numpy=np.__version__,
    )


def _version() -> str:
    from . import __version__

    return __version__


def memory_stats() -> dict[str, int]:
    """Memory of the process in bytes: arrays alive, freed but kept for reuse, the most ever alive, the cap of what is
    kept, scratch of the kernels; and how many arrays were made, how many of them in kept memory."""
    return _core.memory_stats()


def release_memory() -> None:
    """Give all memory that no array uses back to the system. The next calls are slower for it."""
    _core.release_memory()


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
