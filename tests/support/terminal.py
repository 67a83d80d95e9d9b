"""A program on a terminal of its own: what it draws is read, keys are typed.

Imports the standard library only.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from support.processes import eventually

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from types import TracebackType

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|P[^\x1b]*\x1b\\|.)"
)


class Terminal:
    """Runs a command on a pseudo terminal; use it in a `with` statement."""

    def __init__(
        self, command: Sequence[str], *, columns: int = 100, rows: int = 30, **environment: str
    ) -> None:
        self._keyboard, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self._process = subprocess.Popen(
            command,
            stdin=far,
            stdout=far,
            stderr=far,
            start_new_session=True,
            env=inherited | {"TERM": "xterm-256color"} | environment,
        )
        os.close(far)
        self._drawn = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join(5)
        os.close(self._keyboard)

    @property
    def raw(self) -> str:
        """All that it has written."""
        return self._drawn.decode(errors="replace")

    @property
    def mark(self) -> int:
        """Where it is in its writing now, for `shows`."""
        return len(self._drawn)

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._keyboard, keys.encode())

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    async def shows(self, what: str, since: int = 0, within_s: float = 30.0) -> None:
        """Waits until it has drawn a text since a mark."""

        async def drawn() -> bool:
            return what in _ESCAPES.sub("", self._drawn[since:].decode(errors="replace"))

        await eventually(drawn, f"{what!r} on the terminal", within_s)

    async def ended(self, within_s: float = 20.0) -> int:
        """Waits for its end and gives its status."""

        async def over() -> bool:
            return self._process.poll() is not None

        await eventually(over, "the program ends", within_s)
        self._reader.join(5)
        return self._process.returncode

    def _read(self) -> None:
        with suppress(OSError):  # a terminal that nobody writes to any more
            while data := os.read(self._keyboard, 1 << 16):
                self._drawn += data
