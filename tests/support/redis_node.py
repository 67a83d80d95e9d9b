"""One process of a Redis pool: a server or a sentinel that keeps its port, folder and config file.

Sentinels rewrite the config files of whom they command, so that each knows its part when it is
started again.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import redis

from support.processes import free_port
from support.redis_server import DATABASES, RedisServer, server_binary

if TYPE_CHECKING:
    from pathlib import Path


def sentinel_command(binary: str = "") -> list[str]:
    """How a sentinel is started, but for its config file: `redis-sentinel`, or a server as one."""
    found = None if binary else shutil.which("redis-sentinel") or shutil.which("valkey-sentinel")
    return [found] if found else [binary or server_binary(), "--sentinel"]


class _Configured(RedisServer):
    """A process that is told everything by its own config file.

    Attributes:
        announced: The port that others reach it by: its own, or that of what stands before it.
    """

    def __init__(self, folder: Path, program: list[str]) -> None:
        super().__init__(folder, binary=program[0])
        self._program = program
        self._lines: list[str] = []
        self.announced = 0
        self.paused = False

    @property
    def config_path(self) -> Path:
        """Read when it starts, rewritten while it runs."""
        return self._folder / "conf"

    @property
    def log_path(self) -> Path:
        """What it has said, over all its lives."""
        return self._folder / "log"

    @property
    def running(self) -> bool:
        """Whether its process has not ended; a paused one runs."""
        return self._process is not None and self._process.poll() is None

    def choose_port(self) -> None:
        """Take a port, before it is started: others must be told of it first."""
        self.port = self.announced = free_port()

    def start(self) -> None:
        """Start, or start again with the config that it has by now; wait until it answers."""
        self.paused = False
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.config_path.exists():
            self.config_path.write_text("\n".join([*self._common(), *self._lines, ""]))
        super().start()

    def _common(self) -> list[str]:
        return [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self._folder}",
            f"logfile {self.log_path}",
        ]

    def _command(self) -> list[str]:
        # "--sentinel" goes behind the file's name.
        return [self._program[0], str(self.config_path), *self._program[1:]]

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Let it neither read nor answer (SIGSTOP)."""
        self.paused = True
        super().pause()

    def resume(self) -> None:
        """Let it go on."""
        super().resume()
        self.paused = False


class Node(_Configured):
    """A server: primary or replica, as the sentinels have it."""

    def __init__(self, folder: Path, appendfsync: str, program: str, **settings: str) -> None:
        super().__init__(folder, [program])
        self._lines = [
            "appendonly yes",
            f"appendfsync {appendfsync}",
            'save ""',
            f"databases {DATABASES}",
            # A replica that comes back shall have all within the second.
            "repl-diskless-sync-delay 0",
            "repl-ping-replica-period 1",
            *(f"{name.replace('_', '-')} {value}" for name, value in settings.items()),
        ]
        self._follows = 0

    def follow(self, port: int | None) -> None:
        """Begin life as a replica of the server announced there; as a primary without."""
        self._follows = port or 0

    def _common(self) -> list[str]:
        announce = [f"replica-announce-port {self.announced}", "replica-announce-ip 127.0.0.1"]
        follow = [f"replicaof 127.0.0.1 {self._follows}"] if self._follows else []
        return [*super()._common(), *announce, *follow]


class Sentinel(_Configured):
    """A sentinel."""

    def __init__(self, folder: Path, program: list[str], *lines: str, monitor: str) -> None:
        super().__init__(folder, program)
        self._monitor = monitor
        self._settings_of_service = list(lines)

    def watch(self, port: int) -> None:
        """Watch the primary announced there, from the first start on."""
        self._lines = [self._monitor.format(port=port), *self._settings_of_service]

    def _common(self) -> list[str]:
        announce = [f"sentinel announce-port {self.announced}", "sentinel announce-ip 127.0.0.1"]
        return [*super()._common(), *announce]

    def start(self) -> None:
        """See _Configured; then make it look around more often than is usual."""
        super().start()
        # Older than Redis 7 it refuses, and finds its peers within seconds, too.
        with self.client() as client, suppress(redis.ResponseError):
            client.execute_command("SENTINEL", "DEBUG", *_HASTE)  # type: ignore[no-untyped-call]


_HASTE = (
    "INFO-PERIOD", 300, "PING-PERIOD", 200, "PUBLISH-PERIOD", 300, "ASK-PERIOD", 200,
    "TILT-PERIOD", 2_000, "DEFAULT-DOWN-AFTER", 800, "ELECTION-TIMEOUT", 2_000,
)  # fmt: skip
"""In ms. What they are by themselves is for networks, and makes a failover last for ten seconds."""
