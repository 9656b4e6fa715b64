"""Signals that ask a run to save, or to save and end."""

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

__all__ = ["StopSignals"]

ENDING = (signal.SIGTERM, signal.SIGINT)
SAVING = tuple(getattr(signal, name) for name in ("SIGUSR1",) if hasattr(signal, name))
PATIENCE = 1.0  # seconds in which a signal that comes twice counts once


class StopSignals:
    """Notes signals instead of acting on them: SIGTERM, SIGINT, and where there is one SIGUSR1.

    A handler that saves, or that talks to other ranks, would do so in the middle of anything. This
    one keeps the number of the signal; who trains looks at it between two steps. A second signal
    of an ending kind, a second or more after the first, acts at once, as if nothing had been
    installed; launchers pass on what a terminal has sent already.

    Attributes:
        ending: the signal that asked to end, or None.
        saving: whether a signal asked for a checkpoint.
    """

    def __init__(self) -> None:
        self.ending: int | None = None
        self.saving = False
        self._ended_at = 0.0
        self._before: dict[int, Any] = {}
        self._process: int | None = None

    def install(self) -> None:
        """Take the signals over; does nothing outside of the main thread, which Python forbids."""
        self.ending, self.saving = None, False
        if threading.current_thread() is not threading.main_thread():
            return
        self._process = os.getpid()
        self._before = {number: signal.getsignal(number) for number in (*ENDING, *SAVING)}
        for number in self._before:
            signal.signal(number, self._note)

    def remove(self) -> None:
        """Give the signals back to whoever had them."""
        if self._process == os.getpid():
            for number, handler in self._before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before, self._process = {}, None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number in SAVING:
            self.saving = True
        elif self.ending is None:
            self.ending, self._ended_at = number, time.monotonic()
        elif time.monotonic() - self._ended_at >= PATIENCE:
            self.remove()
            signal.raise_signal(number)
