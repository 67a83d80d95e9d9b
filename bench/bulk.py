"""`stream`, `batch` and `renew`: many allocations in one call, beside the empty call."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.allocate import AGENTS, NODES
from bench.disk import need_disk
from bench.echo import EchoCounter, echo_target
from bench.h2load import Target
from bench.output import Output, Row, remark
from bench.pool import CALL_LIMIT_S, Pool, pool, small_request
from bench.process import BenchError, cpu_s
from bench.rounds import Plan, alternate, described, median
from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import types_pb2 as types

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = "/computepool.v1.AllocationService"
BUSY = Plan(in_flight=64, seconds=1.6)
STREAM_CALLS, STREAMS, STREAM_MILLI = 500, 4, 50
BATCH, BATCHES = 100, 2
STREAM_TARGET, BATCH_TARGET = 2.0, 4.0
LEASES, RENEW_EVERY_S, RENEW_TARGET = 100_000, 30.0, 0.1
RENEW_BATCHES = (100, 1_000, 10_000)


def mixed_requests() -> list[wire.CreateAllocationRequest]:
    """A hundred requests of eight shapes in turn."""
    parts = [
        types.PartSpec(resources=have(1_000, 8_192), device_milli=200, models=["H100-SXM"]),
        types.PartSpec(resources=have(1_000, 4_096), device_milli=100),
        types.PartSpec(resources=have(500, 1_024)),
        types.PartSpec(resources=have(2_000, 8_192)),
        types.PartSpec(resources=have(250, 512), device_milli=50, models=["A100-SXM"]),
        types.PartSpec(resources=have(1_000, 2_048), device_milli=300),
        types.PartSpec(resources=have(4_000, 16_384)),
        types.PartSpec(resources=have(100, 256)),
    ]
    specs = [types.AllocationSpec(part=part) for part in parts]
    specs[3].regions.append("beijing")
    specs[6].node_labels["fabric"] = "ib"
    return [
        wire.CreateAllocationRequest(tenant="bench", spec=specs[n % len(specs)])
        for n in range(BATCH)
    ]


def have(cpu_milli: int, memory_mib: int) -> types.Resources:
    """Amounts besides devices."""
    return types.Resources(cpu_milli=cpu_milli, memory_mib=memory_mib)


class Checks:
    """Compares what was sent with what both servers counted."""

    def __init__(self, ready: Pool, echo: Target) -> None:
        self._pool = ready
        self._echo = echo
        self._counter = EchoCounter(echo.address)
        self._before = ready.counters()

    def __call__(self, target: Target, requests: int) -> None:
        """See bench.rounds.alternate.

        Raises:
            BenchError: The counts differ, or something was refused.
        """
        if target is self._echo:
            self._counter.check(requests)
            return
        now, before = self._pool.counters(), self._before
        grants, refusals = now.grants - before.grants, now.refusals - before.refusals
        if grants != requests * target.units or refusals:
            raise BenchError(
                f"{requests} requests for {target.units} each made {grants} grants and "
                f"{refusals} refusals"
            )
        self._before = now


@contextmanager
def beside_echo(folder: Path) -> Iterator[tuple[Pool, Target, dict[str, Any]]]:
    """A half full pool of 10,000 nodes beside an echo server with a single create's sizes."""
    kind = need_disk(folder)
    with pool(folder, NODES, AGENTS) as ready:
        ready.fleet("quiet")
        body = small_request().SerializeToString()
        answer = ready.create(small_request())
        with echo_target(folder, body, len(answer)) as echo:
            yield ready, echo, {"nodes": NODES, "agents": AGENTS, "file_system": kind}


def compare(out: Output, folder: Path, name: str, target: Any, asked: float) -> None:
    """Alternate one way of asking with the echo, and say allocations a second of each."""
    with beside_echo(folder) as (ready, echo, params):
        ours = target(ready)
        rounds = alternate(echo, ours, folder, BUSY, Checks(ready, echo))
        rate, base = median(rounds, "rate", "ours") * ours.units, median(rounds, "rate", "echo")
        params |= {
            **described(rounds, BUSY),
            "units": ours.units,
            "requests_in_flight": ours.in_flight,
            "durability": "durable",
            "target": f"ratio >= {asked:g}",
        }
        out.emit(Row(name, "rate", rate, "allocations/s", base, rate / base, params))
        cost = median(rounds, "server_cpu_us", "ours") / ours.units
        echo_cost = median(rounds, "server_cpu_us", "echo")
        out.emit(Row(name, "server_cpu", cost, "us/allocation", echo_cost, cost / echo_cost))


def run_stream(out: Output, folder: Path) -> None:
    """StreamAllocations, one allocation a message, over a few streams of one connection."""

    def target(ready: Pool) -> Target:
        # So small that the pool has room for all rounds.
        call = wire.StreamAllocationsRequest(ticket=1, create=small_request(STREAM_MILLI))
        return Target(
            "ours",
            ready.address,
            f"{SERVICE}/StreamAllocations",
            call.SerializeToString(),
            ready.broker_pid,
            frames=STREAM_CALLS,
            units=STREAM_CALLS,
            in_flight=STREAMS,
        )

    compare(out, folder, "stream", target, STREAM_TARGET)


def run_batch(out: Output, folder: Path) -> None:
    """BatchCreateAllocations of 100 of mixed shapes."""

    def target(ready: Pool) -> Target:
        request = wire.BatchCreateAllocationsRequest(
            requests=mixed_requests(), wait_for=wire.WAIT_FOR_RESERVED
        )
        return Target(
            "ours",
            ready.address,
            f"{SERVICE}/BatchCreateAllocations",
            request.SerializeToString(),
            ready.broker_pid,
            units=BATCH,
            in_flight=BATCHES,
        )

    compare(out, folder, "batch", target, BATCH_TARGET)


def run_renew(out: Output, folder: Path) -> None:
    """What renewing 100,000 live leases every 30 s costs the broker, by size of the batches."""
    kind = need_disk(folder)
    with pool(folder, NODES, AGENTS) as ready:
        ready.fleet("quiet")
        ids = live_leases(ready, LEASES)
        for size in RENEW_BATCHES:
            took = [renew_all(ready, ids, size) for _ in range(5)]
            share = sorted(took)[2] / RENEW_EVERY_S
            params = {
                "leases": len(ids),
                "batch": size,
                "every_s": RENEW_EVERY_S,
                "rounds_cpu_s": took,
                "file_system": kind,
                "target": f"<= {RENEW_TARGET:g}",
            }
            out.emit(Row("renew", "core_share", share, "cores", None, None, params))


def live_leases(ready: Pool, count: int) -> list[str]:
    """Grant until so many allocations live; their ids."""
    part = types.PartSpec(resources=have(1, 1))
    one = wire.CreateAllocationRequest(
        tenant="bench", spec=types.AllocationSpec(part=part, ttl_s=86_400)
    )
    request = wire.BatchCreateAllocationsRequest(
        requests=[one] * 1_000, wait_for=wire.WAIT_FOR_RESERVED
    )
    ids: list[str] = []
    start = time.monotonic()
    while len(ids) < count:
        answer = ready.allocations.BatchCreateAllocations(request, timeout=CALL_LIMIT_S)
        ids += [result.created.allocation.id for result in answer.results]
    remark(f"  {len(ids)} leases in {time.monotonic() - start:.1f} s")
    return ids


def renew_all(ready: Pool, ids: list[str], size: int) -> float:
    """Renew all, `size` a call; processor seconds of the broker.

    Raises:
        BenchError: One was not renewed.
    """
    before = cpu_s(ready.broker_pid)
    for at in range(0, len(ids), size):
        request = wire.BatchRenewAllocationsRequest(ids=ids[at : at + size])
        answer = ready.allocations.BatchRenewAllocations(request, timeout=CALL_LIMIT_S)
        if answer.renewed != len(request.ids):
            raise BenchError(f"{answer.renewed} of {len(request.ids)} were renewed")
    return cpu_s(ready.broker_pid) - before
