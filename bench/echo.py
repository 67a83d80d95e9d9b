"""`echo`: what an empty unary call costs on this machine, the measure of the others."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from bench.disk import measure_us, need_disk
from bench.echo_server import COUNT_METHOD, METHOD
from bench.h2load import Target, run_h2load
from bench.output import Output, Row
from bench.pool import small_request
from bench.process import SERVER_CORE, BenchError, pinned, running, wait_for_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Size of the answer to `pool.small_request`; the other benches measure theirs.
RESPONSE_BYTES = 240


class EchoCounter:
    """Checks that the echo server has seen every request."""

    def __init__(self, address: str) -> None:
        self._count: grpc.UnaryUnaryMultiCallable[bytes, bytes] = grpc.insecure_channel(
            address
        ).unary_unary(COUNT_METHOD)
        self._seen = self._now()

    def _now(self) -> int:
        return int(self._count(b"", timeout=10))

    def check(self, requests: int) -> None:
        """Compare with the calls counted since the last check.

        Raises:
            BenchError: They differ.
        """
        now = self._now()
        if now - self._seen != requests:
            raise BenchError(f"echo counted {now - self._seen} of {requests} requests")
        self._seen = now


@contextmanager
def echo_target(folder: Path, body: bytes, response_bytes: int) -> Iterator[Target]:
    """A running echo server, to be loaded with `body`."""
    ready, log = folder / "echo.ready", folder / "echo.log"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "bench.echo_server", str(ready), str(response_bytes)]
    with running(pinned(SERVER_CORE, command), log) as process:
        yield Target("echo", wait_for_file(ready, process, log, 15.0), METHOD, body, process.pid)


def run(out: Output, folder: Path) -> None:
    """Measure the empty call with 64 in flight and alone, and the disk."""
    kind = need_disk(folder)
    body = small_request().SerializeToString()
    sizes = {"request_bytes": len(body), "response_bytes": RESPONSE_BYTES}
    with echo_target(folder, body, RESPONSE_BYTES) as target:
        counter = EchoCounter(target.address)
        for in_flight in (64, 1):
            load = run_h2load(target, folder, requests=3000, in_flight=in_flight)
            counter.check(3000)
            requests = int(load.rate * 4)
            load = run_h2load(target, folder, requests=requests, in_flight=in_flight)
            counter.check(requests)
            params = {"in_flight": in_flight, "load_cpu": load.load_cpu, "seconds": 4, **sizes}
            out.emit(Row("echo", "rate", load.rate, "requests/s", params=params))
            out.emit(Row("echo", "p50", load.p50_us / 1000, "ms", params=params))
            out.emit(Row("echo", "p99", load.p99_us / 1000, "ms", params=params))
    disk = {"bytes": 4096, "file_system": kind}
    for way, took_us in measure_us(folder).items():
        row = Row("echo", "fdatasync_p50", took_us / 1000, "ms", params={**disk, "write": way})
        out.emit(row)
