"""What a real broker over a real Redis spends on the life of an allocation.

Starts redis-server, computepool-broker and the bench's fleet of agents, creates and releases
allocations for some seconds, and reads what each process has used: no internals of the broker
are touched, so the figures follow whatever the store does.

A life is: CreateAllocation, the agent's reports that it is admitted, started and torn down, and
ReleaseAllocation. Agents report as soon as they are rung.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import grpc
import redis
from bench.output import remark
from bench.pool import CALL_LIMIT_S, PATIENCE, Pool, fill, read_answer
from bench.process import cpu_s, program, running, wait_for_file
from bench.redis_server import redis_server

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import types_pb2 as types
from computepool.v1.allocation_pb2_grpc import AllocationServiceStub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


NODES, AGENTS = 10_000, 10
HELD = 1_000
"""Allocations that live at a time, beside the half of the pool that is granted for good."""


@dataclass(frozen=True, slots=True)
class Way:
    """How callers ask.

    Attributes:
        members: Creates (and releases) in one call; 0 for the unary calls.
        callers: Calls in flight.
    """

    name: str
    members: int
    callers: int


WAYS = (
    *(Way(f"unary-{callers}", 0, callers) for callers in (1, 4, 16, 64)),
    Way("batch", 100, 4),
)


@dataclass(frozen=True, slots=True)
class Spent:
    """Sums since the start, of broker and Redis.

    Attributes:
        broker_s: Processor time of the broker, in seconds.
        redis_s: Processor time of Redis, in seconds.
        scripts: Script calls.
        script_s: Time inside them, in seconds.
        revision: Transactions that counted.
    """

    broker_s: float
    redis_s: float
    scripts: int
    script_s: float
    revision: int


def spent(pool: Pool, client: redis.Redis) -> Spent:
    """Read the counters."""
    cpu: dict[str, Any] = client.info("cpu")
    stats: dict[str, Any] = client.info("commandstats")
    evalsha = stats.get("cmdstat_evalsha", {"calls": 0, "usec": 0})
    return Spent(
        cpu_s(pool.broker_pid),
        float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
        int(evalsha["calls"]),
        float(evalsha["usec"]) / 1e6,
        pool.counters().revision,
    )


def run(folder: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Each way for so long; by its name what a life and a transaction cost, in microseconds."""
    found: dict[str, dict[str, float]] = {}
    with (
        redis_server(folder / "redis") as (url, _),
        redis.Redis.from_url(url) as client,
        real_pool(folder, url) as pool,
    ):
        pool.fleet("eager")
        for way in WAYS:
            found[way.name] = asyncio.run(measured(pool, client, way, seconds))
            remark(f"{way.name}: {found[way.name]}")
    return found


@contextmanager
def real_pool(folder: Path, url: str) -> Iterator[Pool]:
    """A broker over that Redis with 10,000 nodes, half full."""
    ready, log = folder / "broker.ready", folder / "broker.log"
    ready.unlink(missing_ok=True)
    command = [
        *(program("computepool-broker"), "--listen", "127.0.0.1:0"),
        *("--store", url, "--ready-file", str(ready)),
        *("--log-level", "warning", *PATIENCE),
    ]
    with running(command, log) as process:
        address = wait_for_file(ready, process, log, 30.0)
        agents = [
            *(sys.executable, "-m", "bench.fleet", "--broker", address),
            *("--nodes", str(NODES), "--agents", str(AGENTS)),
        ]
        with running(agents, folder / "fleet.log", stdin=PIPE, stdout=PIPE) as fleet:
            read_answer(fleet)
            pool = Pool(address, process.pid, fleet)
            fill(pool, NODES)
            yield pool


async def measured(pool: Pool, client: redis.Redis, way: Way, seconds: float) -> dict[str, float]:
    """One way of asking, in steady state."""
    load = Load(pool.address, way)
    tasks = [asyncio.create_task(load.run()) for _ in range(way.callers)]
    await asyncio.wait_for(load.steady.wait(), CALL_LIMIT_S)
    before, made, start = spent(pool, client), load.made, time.monotonic()
    await asyncio.sleep(seconds)  # the length of a measurement, not a wait for something
    after, lives = spent(pool, client), load.made - made
    wall_s = time.monotonic() - start
    load.stopping = True
    await asyncio.gather(*tasks)
    await load.release_all()
    scripts, changes = after.scripts - before.scripts, after.revision - before.revision
    return {
        "lives_per_s": lives / wall_s,
        "broker_us_per_life": (after.broker_s - before.broker_s) / lives * 1e6,
        "redis_us_per_life": (after.redis_s - before.redis_s) / lives * 1e6,
        "transactions_per_life": changes / lives,
        "scripts_per_life": scripts / lives,
        "transactions_per_script": changes / scripts,
        "script_us": (after.script_s - before.script_s) / scripts * 1e6,
        "redis_us_per_script": (after.redis_s - before.redis_s) / scripts * 1e6,
    }


class Load:
    """Callers that create, hold HELD of what they have, and release the oldest."""

    def __init__(self, address: str, way: Way) -> None:
        self._way = way
        self._stub = AllocationServiceStub(grpc.aio.insecure_channel(address))
        self._held: deque[str] = deque()
        self.made = 0
        self.stopping = False
        self.steady = asyncio.Event()

    async def run(self) -> None:
        """One caller, until `stopping`."""
        while not self.stopping:
            await (self._batch() if self._way.members else self._unary())

    async def release_all(self) -> None:
        """End what is still held."""
        while self._held:
            some = [self._held.popleft() for _ in range(min(len(self._held), HELD))]
            await self._release_many(some)

    async def _unary(self) -> None:
        call = request()
        call.wait_for = wire.WAIT_FOR_RESERVED
        answer = await self._stub.CreateAllocation(call, timeout=CALL_LIMIT_S)
        self._keep([answer.allocation.id])
        if len(self._held) > HELD:
            old = wire.ReleaseAllocationRequest(id=self._held.popleft())
            await self._stub.ReleaseAllocation(old, timeout=CALL_LIMIT_S)

    async def _batch(self) -> None:
        members = self._way.members
        call = wire.BatchCreateAllocationsRequest(
            requests=[request() for _ in range(members)],
            wait_for=wire.WAIT_FOR_RESERVED,
        )
        answer = await self._stub.BatchCreateAllocations(call, timeout=CALL_LIMIT_S)
        self._keep([result.created.allocation.id for result in answer.results])
        if len(self._held) > HELD:
            await self._release_many([self._held.popleft() for _ in range(members)])

    async def _release_many(self, ids: list[str]) -> None:
        call = wire.BatchReleaseAllocationsRequest(ids=ids)
        await self._stub.BatchReleaseAllocations(call, timeout=CALL_LIMIT_S)

    def _keep(self, ids: list[str]) -> None:
        self._held.extend(ids)
        self.made += len(ids)
        if len(self._held) > HELD:
            self.steady.set()


def request() -> wire.CreateAllocationRequest:
    """One device of any model."""
    part = types.PartSpec(resources=types.Resources(cpu_milli=8_000, memory_mib=65_536), devices=1)
    return wire.CreateAllocationRequest(
        tenant="measure",
        spec=types.AllocationSpec(part=part, ttl_s=3_600),
    )
