"""What this machine can do at most, measured, and what it is called."""

from __future__ import annotations

import os
import platform
from typing import Any

from .row import Call


def fma_call() -> tuple[Call, float]:
    """Multiply-adds in registers on all threads of the team, and the floating-point operations of a call."""
    from pynn import _core

    rounds = 1 << 14
    return lambda: _core.peak_fma(rounds), _core.peak_fma(rounds)


def copy_call(total_bytes: float) -> tuple[Call, float]:
    """A copy on all threads of the team, and the bytes that it reads and writes: about `total_bytes`."""
    from pynn import _core

    source = _core.full([max(16, int(total_bytes) // 8)], 1, "float32")
    target = _core.copy(source)
    return lambda: _core.peak_copy(source, target), 8.0 * source.size


def cpu_name() -> str:
    """With family and model, since a virtual machine may call any processor the same."""
    fields: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                fields.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields and "model" in fields:
        name += f" (family {fields['cpu family']} model {fields['model']})"
    return name


def describe() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }
