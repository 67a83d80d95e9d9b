"""Signals that ask to stop, as something that a loop can wait for."""

import os
import select
import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopping:
    """Counts the signals that ask to stop.

    The handler only counts and writes to a pipe: a lock taken in it could be held
    by the very code that it interrupts.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of handlers
        self.asked += 1
        os.write(self._write, b"x")

    def wait(self, timeout_s: float) -> bool:
        """Waits for at most `timeout_s` seconds; whether a stop has been asked for."""
        if not self.asked:
            select.select([self._read], [], [], timeout_s)
        return self.asked > 0
