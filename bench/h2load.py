"""Running h2load against a unary gRPC method and reading what it measured.

h2load takes every gRPC error for a success (HTTP status 200): callers compare
the server's own counters with `Load.requests`. Imports the standard library.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.process import LOAD_CORE, BenchError, cpu_s, pinned

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of h2load showed.

    Attributes:
        requests: Requests answered with HTTP status 200; gRPC errors are among them.
        rate: Answered requests a second, from the first start to the last answer.
        p50_us: Median time from sending a request to the end of its answer, microseconds.
        p99_us: The same, 99th percentile.
        load_cpu: h2load's own share of its core.
        server_cpu_us: Processor time of the server's process per request, microseconds.
    """

    requests: int
    rate: float
    p50_us: float
    p99_us: float
    load_cpu: float
    server_cpu_us: float


def framed(message: bytes) -> bytes:
    """The message as gRPC sends it: a byte 0 (not compressed), its length, itself."""
    return struct.pack(">BI", 0, len(message)) + message


@dataclass(frozen=True, slots=True)
class Target:
    """A unary method and the body to send.

    Attributes:
        name: Names this target's files.
        address: `host:port`.
        method: `/package.Service/Method`.
        body: The request message, not framed.
        pid: Of the server.
        frames: How often the message is sent in one request (a stream of calls).
        units: What one request asks for, in single calls.
        in_flight: Requests at a time, where that is not the plan's.
    """

    name: str
    address: str
    method: str
    body: bytes
    pid: int
    frames: int = 1
    units: int = 1
    in_flight: int = 0


def find_h2load() -> str:
    """Path of h2load.

    Raises:
        BenchError: It is missing; says how to get it.
    """
    found = shutil.which("h2load")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["apt-get", "install", "-y", "--no-install-recommends", "nghttp2-client"]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        found = shutil.which("h2load")
    if found is None:
        raise BenchError("h2load is missing: install the package nghttp2-client")
    return found


def run_h2load(
    target: Target, folder: Path, *, requests: int, in_flight: int, connections: int = 1
) -> Load:
    """Send `requests` requests, `in_flight` at a time over `connections`, from the load core.

    Raises:
        BenchError: h2load failed, or not every request was answered with status 200.
    """
    body, log = folder / f"{target.name}.body", folder / f"{target.name}.log"
    body.write_bytes(framed(target.body) * target.frames)
    log.unlink(missing_ok=True)
    streams = max(1, in_flight // connections)
    command = [
        find_h2load(),
        *("--requests", str(requests), "--clients", str(connections)),
        *("--max-concurrent-streams", str(streams), "--threads", "1"),
        *("--data", str(body), "--log-file", str(log)),
        *("--header", "content-type: application/grpc", "--header", "te: trailers"),
        f"http://{target.address}{target.method}",
    ]
    server_s = cpu_s(target.pid)
    wall_s, used_s, text = measured(pinned(LOAD_CORE, command))
    server_s = cpu_s(target.pid) - server_s
    answered = int(found[1]) if (found := re.search(r"status codes: (\d+) 2xx", text)) else 0
    if answered != requests:
        raise BenchError(f"{answered} of {requests} requests to {target.name} answered:\n{text}")
    return read_log(log, used_s / wall_s, server_s / requests * 1e6)


def measured(command: list[str]) -> tuple[float, float, str]:
    """Run a command; return wall seconds, its processor seconds, its output.

    Raises:
        BenchError: It returned anything but 0.
    """
    before, start = os.times(), time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    wall_s, after = time.monotonic() - start, os.times()
    if done.returncode:
        raise BenchError(f"{command} returned {done.returncode}: {done.stdout}{done.stderr}")
    used_s = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    return wall_s, used_s, done.stdout


def read_log(log: Path, load_cpu: float, server_cpu_us: float) -> Load:
    """The figures of h2load's log: start (us since the epoch), status, duration (us)."""
    rows = [line.split("\t") for line in log.read_text(encoding="utf-8").splitlines()]
    starts = [int(row[0]) for row in rows]
    took = [int(row[2]) for row in rows]
    end = max(start + duration for start, duration in zip(starts, took, strict=True))
    took.sort()
    return Load(
        requests=len(rows),
        rate=len(rows) / (end - min(starts)) * 1e6,
        p50_us=float(took[len(took) // 2]),
        p99_us=float(took[len(took) * 99 // 100]),
        load_cpu=load_cpu,
        server_cpu_us=server_cpu_us,
    )
