"""A Redis of a bench's own, on a free port, with an append-only file.

Imports the bench's own parts; the server is another process.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.process import BenchError, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_LIMIT_S = 20.0


@contextmanager
def redis_server(folder: Path, appendfsync: str = "everysec") -> Iterator[tuple[str, str]]:
    """An empty server that keeps its files in `folder`; yields its URL and its version.

    Raises:
        BenchError: There is none on the PATH, or it does not answer.
    """
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise BenchError("redis-server is missing: install the package redis-server")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "yes", "--appendfsync", appendfsync]
    with running(command, folder / "log", stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + START_LIMIT_S
        while (text := info(port)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"redis-server does not answer on port {port}")
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0", text


def info(port: int) -> str | None:
    """The version of the server on this port; None when it does not answer yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as line:
            line.sendall(b"INFO server\r\n")
            found = re.search(rb"redis_version:(\S+)", line.recv(65_536))
    except OSError:
        return None
    return found[1].decode() if found else None
