"""Starts the real daemons, watches them, stops, kills and pauses them; one folder for each pool.

Imports the standard library only. Every daemon is ended by its own pid.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

READY_S = 40.0
"""For a daemon to come up; generous, since the machine may be busy."""
_TAIL_CHARS = 6_000
_POLL_S = 0.02
# Below the range that the kernel takes the ports of outgoing connections from: the port of a
# broker that is down stays free, and no client connects to itself there.
_PORTS = range(15_000, 32_000)

T = TypeVar("T")


async def eventually(
    probe: Callable[[], Awaitable[T]], what: str, within_s: float = 20.0, every_s: float = 0.05
) -> T:
    """Wait until `probe` gives something true; a deadline missed fails the test."""
    deadline = time.monotonic() + within_s
    while True:
        last = await probe()
        if last:
            return last
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what} (last: {last!r})"
        await asyncio.sleep(every_s)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def program(name: str) -> str:
    """Path of a command installed beside this interpreter."""
    path = Path(sys.executable).with_name(name)
    assert path.exists(), f"{path} is not installed: run `make setup`"
    return str(path)


class Daemon:
    """One process that says in a ready file that it serves; its output is kept in a log."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, *, ready_file: bool = True
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log_path = folder / f"{name}.log"
        self.ready_path = folder / f"{name}.ready"
        self._home = folder
        self._ready_flags = ["--ready-file", str(self.ready_path)] if ready_file else []
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, or start it again."""
        assert not self.running, f"{self.name} runs already"
        self.ready_path.unlink(missing_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COMPUTEPOOL_")}
        environment |= {"XDG_STATE_HOME": str(self._home / "home"), "GRPC_VERBOSITY": "NONE"}
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [*self.command, *self._ready_flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    async def ready(self, within_s: float = READY_S) -> str:
        """Wait for its ready file and give what it says."""

        async def said() -> str:
            if self.ready_path.exists():
                return self.ready_path.read_text().strip()
            assert self.running, f"{self.name} ended with {self.code}:\n{self.tail()}"
            return ""

        return await eventually(said, f"{self.name} is ready", within_s, _POLL_S)

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return None if self._process is None else self._process.poll()

    async def ended(self, within_s: float = 20.0) -> int:
        """Wait until it ends and give its exit code."""

        async def has_ended() -> bool:
            return not self.running

        await eventually(has_ended, f"{self.name} ends", within_s, _POLL_S)
        assert self.code is not None
        return self.code

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing when it has ended."""
        if self._process is not None and self.running:
            self._process.send_signal(number)

    async def stop(self, within_s: float = 20.0) -> int:
        """Ask it to stop and give its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(within_s)

    def kill(self) -> None:
        """End it as a crash would, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Stop its time: it keeps all that it has and answers nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let its time go on."""
        self.signal(signal.SIGCONT)

    @property
    def log(self) -> str:
        """All that it has said, over all its lives."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def log_of_this_life(self) -> str:
        """What it has said since it was started last."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def tail(self) -> str:
        """The end of its log, for a failure's report."""
        return self.log[-_TAIL_CHARS:]
