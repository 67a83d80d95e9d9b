"""`flood`: CreateAllocation beside clients that disturb, by turns with the same without them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil

from bench.disk import need_disk
from bench.h2load import Target
from bench.output import Output, Row, remark
from bench.pool import CREATE, Pool, pool, read_answer, small_request
from bench.process import LOAD_CORE, BenchError, cpu_s, pinned, running
from bench.rounds import Plan, alternate, described, median

if TYPE_CHECKING:
    from pathlib import Path

NODES, AGENTS = 10_000, 10
IDLE, UNREAD = 1_000, 200
PLAN = Plan(in_flight=64, seconds=2.0, rounds=3, most_requests=8_000)
RATE_TARGET, COMING_TARGET = 0.8, 0.5
SETTLE_LIMIT_S, LOOK_S, QUIET = 60.0, 0.5, 0.1
"""Until the broker uses less than a tenth of its core for half a second."""
MIB = 1 << 20

FLOOD_MILLI = 50
"""Of a device; so small that the pool has room for all rounds."""


class Bench:
    """One broker, loaded by turns without and with those who disturb."""

    def __init__(self, pool: Pool, disturbers: subprocess.Popen[str], *, reconnect: bool) -> None:
        self._pool = pool
        self._disturbers = disturbers
        self._reconnect = reconnect
        self._process = psutil.Process(pool.broker_pid)
        body = small_request(FLOOD_MILLI).SerializeToString()
        self.alone = Target("alone", pool.address, CREATE, body, pool.broker_pid)
        self.beside = Target("beside", pool.address, CREATE, body, pool.broker_pid)
        self._before = pool.counters()
        self.rss_mib: list[float] = []
        self.reconnections: list[int] = []

    def check(self, target: Target, requests: int) -> None:
        """Compare with the broker's counters; then let those who disturb come, or go.

        Raises:
            BenchError: A request was not granted.
        """
        self.rss_mib.append(self._process.memory_info().rss / MIB)
        beside = target is self.beside
        # They go first: the counters are asked for in peace.
        told = self.tell(0, 0) if beside else {}
        now, before = self._pool.counters(), self._before
        self._before = now
        if now.grants - before.grants != requests or now.refusals != before.refusals:
            raise BenchError(f"{requests} requests made {now.grants - before.grants} grants")
        if beside:
            self.reconnections.append(told["reconnections"])
            remark(f"  memory of the broker: {self.rss_mib[-1]:.0f} MiB; {told}")
        else:
            self.tell(IDLE, UNREAD)
            self._settle()
            if self._reconnect:
                self.tell(IDLE, UNREAD, reconnect=True)

    def _settle(self) -> None:
        """Wait until the broker has taken all streams, and told the watchers what it can."""
        deadline = time.monotonic() + SETTLE_LIMIT_S
        busy = 1.0
        while busy > QUIET:
            if time.monotonic() > deadline:
                raise BenchError(f"the broker is busy for {SETTLE_LIMIT_S:g} s with {IDLE} streams")
            before = cpu_s(self._pool.broker_pid)
            time.sleep(LOOK_S)
            busy = (cpu_s(self._pool.broker_pid) - before) / LOOK_S

    def tell(self, idle: int, unread: int, *, reconnect: bool = False) -> dict[str, Any]:
        """Have so many who disturb from now on."""
        if self._disturbers.stdin is None:
            raise BenchError("those who disturb have no standard input")
        wanted = {"idle": idle, "unread": unread, "reconnect": reconnect}
        self._disturbers.stdin.write(json.dumps(wanted) + "\n")
        return read_answer(self._disturbers)


def run(out: Output, folder: Path) -> None:
    """64 in flight on a quiet, half full pool of 10,000 nodes."""
    kind = need_disk(folder)
    with pool(folder, NODES, AGENTS) as ready:
        ready.fleet("quiet")
        command = [sys.executable, "-m", "bench.disturbers", "--broker", ready.address]
        with running(
            pinned(LOAD_CORE, command),
            folder / "disturbers.log",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as disturbers:
            read_answer(disturbers)
            for reconnect in (False, True):
                remark(f"reconnecting: {reconnect}")
                bench = Bench(ready, disturbers, reconnect=reconnect)
                rounds = alternate(bench.alone, bench.beside, folder, PLAN, bench.check)
                emit(out, bench, rounds, {"file_system": kind, "reconnecting": reconnect})


def emit(out: Output, bench: Bench, rounds: Any, facts: dict[str, Any]) -> None:
    """Rows: the rate and the processor time beside the same without them; memory."""
    target = COMING_TARGET if facts["reconnecting"] else RATE_TARGET
    metric = "rate_reconnecting" if facts["reconnecting"] else "rate"
    params = described(rounds, PLAN) | facts | {
        "nodes": NODES,
        "idle_streams": IDLE,
        "clients_that_read_nothing": UNREAD,
        "reconnections": bench.reconnections,
        "target": f"ratio >= {target}",
    }  # fmt: skip
    ours, alone = median(rounds, "rate", "ours"), median(rounds, "rate", "echo")
    out.emit(Row("flood", metric, ours, "requests/s", alone, ours / alone, params))
    mine, theirs = (median(rounds, "server_cpu_us", name) for name in ("ours", "echo"))
    brief = {"reconnecting": facts["reconnecting"]}
    out.emit(Row("flood", "server_cpu", mine, "us/request", theirs, mine / theirs, brief))
    first, most = bench.rss_mib[0], max(bench.rss_mib)
    out.emit(Row("flood", "memory", most, "MiB", first, most / first, brief))
