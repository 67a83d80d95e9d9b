"""`watch`: CreateAllocation while a thousand watch, beside the same without anybody."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.disk import need_disk
from bench.h2load import Target
from bench.output import Output, Row, remark
from bench.pool import CREATE, Pool, pool, read_answer, small_request
from bench.process import LOAD_CORE, BenchError, pinned, running
from bench.rounds import Plan, alternate, described, median

if TYPE_CHECKING:
    from pathlib import Path

NODES, AGENTS = 10_000, 10
VIEWS, ALLOCATIONS = 1_000, 20
PLAN = Plan(in_flight=64, seconds=4.0, rounds=3, most_requests=12_000)
RATE_TARGET = 0.8
VIEW_LATE_MS, ALLOCATION_LATE_MS = 2_500.0, 200.0
LAST_MESSAGES_S = 2.5
"""After the load, for what is still to be told: a watcher of the view may wait so long."""


class Bench:
    """One broker, loaded in turns without and with watchers."""

    def __init__(self, pool: Pool, watchers: subprocess.Popen[str]) -> None:
        self._pool = pool
        self._watchers = watchers
        body = small_request().SerializeToString()
        self.alone = Target("alone", pool.address, CREATE, body, pool.broker_pid)
        self.watched = Target("watched", pool.address, CREATE, body, pool.broker_pid)
        self._before = pool.counters()
        self.told: list[dict[str, Any]] = []

    def check(self, target: Target, requests: int) -> None:
        """Compare with the broker's counters; then let the watchers come, or go.

        Raises:
            BenchError: A request was not granted, or a watcher was not told of one.
        """
        now, before = self._pool.counters(), self._before
        self._before = now
        if now.grants - before.grants != requests or now.refusals != before.refusals:
            raise BenchError(f"{requests} requests made {now.grants - before.grants} grants")
        if target is self.alone:
            self._tell(watch=True)
            return
        time.sleep(LAST_MESSAGES_S)
        told = self._tell(watch=False)
        if told["allocations"] != requests:
            raise BenchError(f"{requests} grants, {told['allocations']} were told")
        remark(f"  told: {told}")
        self.told.append(told)

    def _tell(self, *, watch: bool) -> dict[str, Any]:
        if self._watchers.stdin is None:
            raise BenchError("the watchers have no standard input")
        self._watchers.stdin.write(json.dumps({"watch": watch}) + "\n")
        return read_answer(self._watchers)

    def late_ms(self, whose: str, percentile: str) -> float:
        """Median over the turns of a percentile of lateness."""
        return float(statistics.median(t[f"{whose}_late_ms"][percentile] for t in self.told))


def run(out: Output, folder: Path) -> None:
    """64 in flight on a quiet, half full pool of 10,000 nodes; watchers come and go by turns."""
    kind = need_disk(folder)
    with pool(folder, NODES, AGENTS) as ready:
        ready.fleet("quiet")
        command = [
            *(sys.executable, "-m", "bench.watchers", "--broker", ready.address),
            *("--views", str(VIEWS), "--allocations", str(ALLOCATIONS)),
        ]
        with running(
            pinned(LOAD_CORE, command),
            folder / "watchers.log",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as watchers:
            read_answer(watchers)
            bench = Bench(ready, watchers)
            rounds = alternate(bench.alone, bench.watched, folder, PLAN, bench.check)
            params = described(rounds, PLAN) | {
                "nodes": NODES,
                "centers": AGENTS,
                "view_watchers": VIEWS,
                "allocation_watchers": ALLOCATIONS,
                "told": bench.told[1:],  # the first is the warm-up's
                "file_system": kind,
                "target": f"ratio >= {RATE_TARGET}",
            }
            emit(out, bench, rounds, params)


def emit(out: Output, bench: Bench, rounds: Any, params: dict[str, Any]) -> None:
    """Rows: rate and processor time beside the same without watchers; how late changes are."""
    ours, alone = median(rounds, "rate", "ours"), median(rounds, "rate", "echo")
    out.emit(Row("watch", "rate", ours, "requests/s", alone, ours / alone, params))
    mine, theirs = (median(rounds, "server_cpu_us", name) for name in ("ours", "echo"))
    out.emit(Row("watch", "server_cpu", mine, "us/request", theirs, mine / theirs))
    for whose, most_ms in (("view", VIEW_LATE_MS), ("allocation", ALLOCATION_LATE_MS)):
        late_ms = bench.late_ms(whose, "p99")
        brief = {"target": f"<= {most_ms:g} ms", "p50_ms": bench.late_ms(whose, "p50")}
        out.emit(Row("watch", f"{whose}_late_p99", late_ms, "ms", params=brief))
