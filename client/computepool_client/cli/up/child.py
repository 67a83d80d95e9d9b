"""One daemon as a child: started, watched, restarted with back-off, stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FIRST_DELAY_S: Final = 1.0
_LAST_DELAY_S: Final = 30.0
# Having run for this long, a child is taken for healthy: its next delay is the first.
_HEALTHY_AFTER_S: Final = 60.0
# A log larger than this is put aside when its daemon starts.
_LARGEST_LOG_BYTES: Final = 10 * 1024 * 1024
_LAUNCHER: Final = "computepool_client.cli.up.launcher"
_TAIL_BYTES: Final = 16 * 1024


@dataclass(slots=True)
class Child:
    """A daemon: `python -m module arguments`, its output in `log`.

    A module that is an absolute path is a program of its own.

    It runs in a process group of its own, so that Ctrl-C reaches `up` alone, and
    ends when `up` does. `ready_file` is written by the daemon when it serves.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    log: Path
    ready_file: Path
    _process: subprocess.Popen[bytes] | None = None
    _started_at: float = 0.0
    _delay_s: float = _FIRST_DELAY_S
    _log_start: int = 0

    @property
    def pid(self) -> int:
        """Process id; 0 before the start."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Starts it; must be called from the main thread, whose end the kernel watches."""
        self.ready_file.unlink(missing_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        command = [sys.executable, "-m", _LAUNCHER, str(os.getpid()), self.module, *self.arguments]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own modules
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        self._started_at = time.monotonic()

    def status(self) -> int | None:
        """The exit status (negative: the signal that killed it); None while it runs."""
        return self._process.poll() if self._process is not None else None

    def ready(self) -> str:
        """What it has written into its ready file; empty before."""
        try:
            return self.ready_file.read_text().strip() or "ready"
        except FileNotFoundError:
            return ""

    def delay_s(self) -> float:
        """How long to wait before the next start, in seconds; grows with every call."""
        if time.monotonic() - self._started_at > _HEALTHY_AFTER_S:
            self._delay_s = _FIRST_DELAY_S
        delay_s, self._delay_s = self._delay_s, min(2 * self._delay_s, _LAST_DELAY_S)
        return delay_s

    def tail(self, lines: int = 12) -> list[str]:
        """The last lines of its log since its last start."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - _TAIL_BYTES))
                return log.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended, waiting for at most `timeout_s` seconds."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def in_words(status: int) -> str:
    """An exit status for people."""
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
