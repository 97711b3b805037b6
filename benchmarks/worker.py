"""A process that holds one library and obeys the timing loop."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from . import machine, timing
from .row import Call, Row

SINGLE = "pynn-1t"  # pynn at one thread, as a peer of pynn at several
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYNN_NUM_THREADS")


def method_name(library: str) -> str:
    return "pynn" if library == SINGLE else library


class Worker:
    """The parent's end."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        try:
            self._process = context.Process(target=serve, args=(theirs, library, threads), daemon=True)
            self._process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        theirs.close()

    def has(self, row: Row) -> bool:
        return row.scaling if self.library == SINGLE else hasattr(row, self.library)

    def ask(self, command: str, *arguments: Any) -> Any:
        self._pipe.send((command, arguments))
        try:
            ok, answer = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"the {self.library} process died at '{command}'") from None
        if not ok:
            raise RuntimeError(f"{self.library}: {answer}")
        return answer

    def close(self) -> None:
        self._pipe.close()
        self._process.join(5)


def serve(pipe: Connection, library: str, threads: int) -> None:
    if library == "torch":
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
    service = Service(library, threads)
    while True:
        try:
            command, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = getattr(service, command)(*arguments)
            if threads > 1:
                wait_for_sleep()
            pipe.send((True, answer))
        except Exception as error:
            pipe.send((False, "".join(traceback.format_exception_only(error)).strip()))


def wait_for_sleep() -> None:
    """Until this process uses no CPU: threads that spin after a call (OpenBLAS's for 30 ms) slow the next library."""
    for _ in range(50):
        before = time.process_time()
        time.sleep(0.005)
        if time.process_time() - before < 0.001:
            return


class Service:
    """The worker's end: one method per command."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        self.threads = threads
        self.mode = contextlib.ExitStack()
        self.roof: Call | None = None

    def version(self) -> str:
        return importlib.import_module(method_name(self.library)).__version__

    def isa(self) -> str:
        return importlib.import_module("pynn._core").isa_name()

    def prepare(self, module: str, index: int) -> list[np.ndarray]:
        """Builds a row's call and gives what its first run returns."""
        row = importlib.import_module(module).ROWS[index]
        self.mode.close()
        self.roof = None
        if self.library == "torch" and not row.training:
            import torch

            self.mode.enter_context(torch.inference_mode())
        self.call = getattr(row, method_name(self.library))(*row.inputs())
        return as_arrays(getattr(self.call, "check", self.call)())

    def calibrate(self) -> None:
        self.calls = timing.calls_per_block(self.call)

    def time(self) -> tuple[float, float | None]:
        """Seconds a call, and what the roof (if one is prepared) gives right behind the block.

        A roof of multiply-adds then takes half a millisecond: it meets the clock of the block, which AVX-512 work
        lowers (measured: 3.7 GHz in the roof's own loop, 2.9 to 3.4 in a product), before the machine raises it again.
        """
        seconds = timing.time_block(self.call, self.calls)
        if not self.roof:
            return seconds, None
        return seconds, self.roof_amount / timing.time_block(self.roof, self.roof_calls_behind)

    def prepare_roof(self, flops: float, total_bytes: float) -> None:
        self.roof, self.roof_amount = machine.fma_call() if flops else machine.copy_call(total_bytes)
        self.roof_calls = timing.calls_per_block(self.roof)
        self.roof_calls_behind = max(4, self.roof_calls // 40) if flops else self.roof_calls

    def roof_rate(self) -> float:
        """Of a whole block, at the clock that it has alone."""
        return self.roof_amount / timing.time_block(self.roof, self.roof_calls)


def as_arrays(result: Any) -> list[np.ndarray]:
    """A call's result (None, a number, an array or tensor, or a sequence of them) as copies in NumPy."""
    if result is None:
        return []
    if isinstance(result, (list, tuple)):
        return [a for item in result for a in as_arrays(item)]
    return [np.array(result.detach() if hasattr(result, "detach") else result)]
