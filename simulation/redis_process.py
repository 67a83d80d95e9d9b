"""A Redis of a measurement's own: its folder, its port, ended by its pid."""

from __future__ import annotations

import shutil
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis
from bench.process import BenchError, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_DEADLINE_S = 20.0


def server_binary() -> str:
    """The server on the PATH.

    Raises:
        BenchError: There is none.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise BenchError("redis-server is missing: install the package redis-server")
    return found


@contextmanager
def redis_process(folder: Path, appendfsync: str = "everysec") -> Iterator[redis.Redis]:
    """An empty server with its log on disk for the length of a block; yields a client of it.

    Raises:
        BenchError: It ended, or does not answer within `START_DEADLINE_S`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port = free_port()
    command = [
        *(server_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
        *("--appendonly", "yes", "--appendfsync", appendfsync, "--save", ""),
    ]
    log = folder / "redis.log"
    with running(command, log) as process, redis.Redis(port=port) as client:
        deadline = time.monotonic() + START_DEADLINE_S
        while not answers(client):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"the Redis does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        yield client


def answers(client: redis.Redis) -> bool:
    """Whether the server is there."""
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
