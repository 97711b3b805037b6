"""Ctrl-C between two steps, never within one."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupt:
    """Context manager under which KeyboardInterrupt waits for the end of a step.

    Call `hold()` before the step and `release()` after it, which raises what has come meanwhile (`pending`). A second
    Ctrl-C does not wait. Signals concern the main thread only, and a handler that is not Python's own is left alone.
    """

    pending = False
    _held = False

    def __enter__(self) -> Interrupt:
        self._installed = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def hold(self) -> None:
        """From here on Ctrl-C waits."""
        self._held = True

    def release(self) -> None:
        """The step is complete."""
        self._held = False
        if self.pending:
            self.pending = False
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.pending or not self._held:
            raise KeyboardInterrupt
        self.pending = True
