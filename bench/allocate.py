"""`allocate` and `allocate-alone`: durable CreateAllocation beside the empty call."""

from __future__ import annotations

import statistics
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.disk import measure_us, need_disk
from bench.echo import EchoCounter, echo_target
from bench.h2load import Target
from bench.output import Output, Row, remark
from bench.pool import CREATE, Pool, pool, small_request
from bench.process import BenchError
from bench.rounds import Plan, Rounds, alternate, described, median

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODES, AGENTS = 10_000, 10
BUSY = Plan(in_flight=64, seconds=1.6)
ALONE = Plan(in_flight=1, seconds=1.6, most_requests=8_000)
RATE_TARGET = 0.8
OWN_TIME_MS = 0.45


class Bench:
    """A pool and an echo server side by side, with the checks of both."""

    def __init__(self, pool: Pool, echo: Target, folder: Path) -> None:
        self.pool = pool
        self.folder = folder
        self._echo = echo
        self._ours = Target("ours", pool.address, CREATE, echo.body, pool.broker_pid)
        self._echo_counter = EchoCounter(echo.address)
        self._before = pool.counters()
        self.agents_answer = False
        self.batches: list[float] = []
        self.disk_us: list[dict[str, float]] = []

    def check(self, target: Target, requests: int) -> None:
        """Compare a turn's requests with the server's own counters.

        Raises:
            BenchError: A request was refused, failed or was counted twice.
        """
        if target is self._echo:
            self._echo_counter.check(requests)
            return
        now, before = self.pool.counters(), self._before
        grants, rows = now.grants - before.grants, now.allocations - before.allocations
        # An allocation that agents refuse too often ends again: only a quiet pool keeps all rows.
        kept = rows == requests or (self.agents_answer and requests * 0.99 <= rows < requests)
        if grants != requests or not kept or now.refusals != before.refusals:
            raise BenchError(
                f"{requests} requests made {grants} grants, {rows} live allocations, "
                f"{now.refusals - before.refusals} refusals"
            )
        self.batches.append(requests / max(1, now.revision - before.revision))
        self._before = now

    def check_and_sync(self, target: Target, requests: int) -> None:
        """As `check`, and time the disk after each turn of ours."""
        self.check(target, requests)
        if target is not self._echo:
            self.disk_us.append(measure_us(self.folder))

    def measure(self, plan: Plan, check: Any = None) -> tuple[Rounds, dict[str, Any]]:
        """Run the rounds; return them and what belongs into the params."""
        self._before, self.batches = self.pool.counters(), []
        start = self._before
        rounds = alternate(self._echo, self._ours, self.folder, plan, check or self.check)
        requests = self._before.grants - start.grants
        return rounds, {
            **described(rounds, plan),
            "nodes": NODES,
            "devices": NODES * 8,
            "agents": AGENTS,
            "used_at_start": start.used,
            "allocations_at_start": start.allocations,
            "grants": requests,
            "grants_per_revision": statistics.median(self.batches),
            "durability": "durable",
        }


@contextmanager
def bench(folder: Path) -> Iterator[tuple[Bench, dict[str, Any]]]:
    """A half full pool of 10,000 nodes beside an echo server with its message sizes."""
    kind = need_disk(folder)
    with pool(folder, NODES, AGENTS) as ready:
        response = ready.create(small_request())
        body = small_request().SerializeToString()
        sizes = {"request_bytes": len(body), "response_bytes": len(response), "file_system": kind}
        with echo_target(folder, body, len(response)) as echo:
            yield Bench(ready, echo, folder), sizes


def run(out: Output, folder: Path) -> None:
    """64 in flight: a quiet pool, then another one with agents admitting and changing loads."""
    for load in ("quiet", "live"):
        remark(f"load={load}")
        with bench(folder) as (both, sizes):
            both.agents_answer = load == "live"
            before = both.pool.fleet(load)
            rounds, params = both.measure(BUSY)
            after = both.pool.fleet("quiet")
            params |= {
                **sizes,
                "load": load,
                "target": f"ratio >= {RATE_TARGET}" if load == "quiet" else None,
                "agent_syncs": after["syncs"] - before["syncs"],
                "agents_cpu_s": after["cpu_s"] - before["cpu_s"],
            }
            emit_rate(out, rounds, params)


def emit_rate(out: Output, rounds: Rounds, params: dict[str, Any]) -> None:
    """Rows of a busy run, each beside echo's: rate, processor time of the server, p50, p99."""
    ours, echo = median(rounds, "rate", "ours"), median(rounds, "rate", "echo")
    out.emit(Row("allocate", "rate", ours, "requests/s", echo, ours / echo, params))
    brief = {"load": params["load"], "in_flight": params["in_flight"]}
    mine, theirs = (median(rounds, "server_cpu_us", name) for name in ("ours", "echo"))
    out.emit(Row("allocate", "server_cpu", mine, "us/request", theirs, mine / theirs, brief))
    for metric in ("p50", "p99"):
        mine = median(rounds, f"{metric}_us", "ours") / 1000
        theirs = median(rounds, f"{metric}_us", "echo") / 1000
        out.emit(Row("allocate", metric, mine, "ms", theirs, mine / theirs, brief))


def run_alone(out: Output, folder: Path) -> None:
    """One in flight: p50 against echo's p50 + the disk's fdatasync p50 + 0.45 ms."""
    with bench(folder) as (both, sizes):
        both.pool.fleet("quiet")
        rounds, params = both.measure(ALONE, both.check_and_sync)
        ours, echo = (median(rounds, "p50_us", name) / 1000 for name in ("ours", "echo"))
        disks = {
            way: statistics.median(each[way] for each in both.disk_us) / 1000
            for way in both.disk_us[0]
        }
        # The cheaper way of writing is the harder comparison.
        disk = min(disks.values())
        limit = echo + disk + OWN_TIME_MS
        params |= {
            **sizes,
            "load": "quiet",
            "target": "ratio <= 1",
            "echo_p50_ms": echo,
            "fdatasync_p50_ms": disks,
            "allowed_ms": OWN_TIME_MS,
            "own_ms": ours - echo - disk,
        }
        out.emit(Row("allocate-alone", "p50", ours, "ms", limit, ours / limit, params))
