"""Ctrl-C between two steps, never within one."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupt:
    """Context manager under which KeyboardInterrupt waits for the end of an update of the weights.

    Set `updating` before the update; call `updated()` after it, which raises what has come meanwhile. A second Ctrl-C
    does not wait. Signals concern the main thread only, and a handler that is not Python's own is left alone.
    """

    updating = False
    _pending = False

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

    def updated(self) -> None:
        """The update is complete."""
        self.updating = False
        if self._pending:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._pending or not self.updating:
            raise KeyboardInterrupt
        self._pending = True
