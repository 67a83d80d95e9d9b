"""Brokers that are started anew one after the other: no call of a program with the SDK fails."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from computepool.v1 import inventory_pb2
from computepool_client import AsyncPool, Pool
from support.local_pool import CENTERS
from support.processes import eventually, free_port
from support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from support.caller import Caller
    from support.local_pool import LocalPool
    from support.processes import Daemon

ACTIVE = inventory_pb2.AGENT_STATE_ACTIVE
MANY_BROKERS = pytest.mark.xfail(
    strict=True, reason="one broker at a time on one Redis; goes when the store takes several"
)


class Program:
    """What a program does with the SDK, in threads and on an event loop, until it is told to end.

    Any error ends the part that met it, and is raised at the end.
    """

    def __init__(self, endpoint: str, seed: str) -> None:
        self.endpoint = endpoint
        self.done: Counter[str] = Counter()
        self.told: set[str] = set()
        self.made: set[str] = set()
        self._rng = random.Random(f"{seed}:program")
        self._over = threading.Event()

    def over(self) -> None:
        """Let everything come to its end."""
        self._over.set()

    async def lives_through(self, events: Coroutine[Any, Any, None]) -> None:
        """Do everything at once, until the events are over."""
        async with asyncio.TaskGroup() as parts:
            for _ in range(4):
                parts.create_task(asyncio.to_thread(self.work))
            for part in (self.watch, self.hold, self.ask):
                parts.create_task(part())
            parts.create_task(events)

    @property
    def going(self) -> bool:
        return not self._over.is_set()

    def work(self) -> None:
        """One thread: allocations one by one and in batches."""
        with Pool(self.endpoint) as pool:
            while self.going:
                with pool.allocate(cpu=0.1, ttl="1m", labels={"by": "program"}) as lease:
                    self.made.add(lease.id)
                    lease.renew()
                    assert pool.get(lease.id).live
                    self.done["block"] += 1
                with pool.allocate_many([{"cpu": 0.1, "ttl": "1m"}] * 3) as leases:
                    assert len(leases) == 3
                    self.done["batch"] += 1
                pool.view()
                assert {agent.name for agent in pool.agents()} == set(CENTERS)
                self.done["look"] += 1

    async def watch(self) -> None:
        """How the allocations of the threads change."""
        async with AsyncPool(self.endpoint) as pool:
            async for changes in pool.watch(filter='labels.by = "program"'):
                assert not changes.restarted
                self.told |= {event.allocation.id for event in changes.events}
                self.done["watch"] += 1
                if not self.going and self.made <= self.told:
                    return

    async def hold(self) -> None:
        """One block that must outlive everything."""
        async with AsyncPool(self.endpoint) as pool, pool.allocate(gpus=1, ttl="10s") as lease:
            while self.going:
                await asyncio.sleep(self._rng.uniform(0.0, 0.2))
                lease.check()
                assert (await pool.get(lease.id)).live
                self.done["held"] += 1

    async def ask(self) -> None:
        """One task after the other, asynchronously."""
        async with AsyncPool(self.endpoint) as pool:
            while self.going:
                lease = await pool.allocate(cpu=0.1, ttl="1m")
                await lease.release()
                self.done["task"] += 1

    async def progress(self) -> None:
        """Wait until every part of it has got an answer since now."""
        before = self.done.copy()

        async def all_went_on() -> bool:
            parts = ("block", "batch", "look", "held", "task", "watch")
            return all(self.done[part] > before[part] for part in parts)

        await eventually(all_went_on, "every part of the program goes on", 30.0)


@contextmanager
def ended(program: Program) -> Iterator[None]:
    """Whatever happens, the program ends."""
    try:
        yield
    finally:
        program.over()


async def restarted_one_by_one(program: Program, brokers: list[Daemon], rounds: int) -> None:
    """Stop each broker in good order and start it again, while the program works."""
    with ended(program):
        await program.progress()
        for _ in range(rounds):
            for broker in brokers:
                assert await broker.stop() == 0
                broker.start()
                await broker.ready()
                await program.progress()


@contextmanager
def two_brokers(pool: LocalPool, folder: Path) -> Iterator[tuple[list[Daemon], str]]:
    """Two equal brokers over one Redis, and the endpoint that names both."""
    with running_redis(folder / "redis", "everysec") as redis:
        other = f"127.0.0.1:{free_port()}"
        brokers = [
            pool.broker(name, listen=target, store=redis.url(), stop_grace_s="3")
            for name, target in (("one", pool.target), ("two", other))
        ]
        yield brokers, f"{pool.target},{other}"


async def all_there(
    pool: LocalPool, caller: Caller, brokers: list[Daemon], endpoint: str
) -> Daemon:
    """Start the brokers, and the agents, which are at any of them."""
    region = pool.region(broker=endpoint)
    for broker in brokers:
        broker.start()
        await broker.ready()
    region.start()
    await region.ready()
    await caller.agents_are(ACTIVE, *CENTERS)
    return region


async def no_call_fails(
    pool: LocalPool, caller: Caller, brokers: list[Daemon], endpoint: str, seed: str
) -> None:
    await all_there(pool, caller, brokers, endpoint)
    program = Program(endpoint, seed)
    await program.lives_through(restarted_one_by_one(program, brokers, rounds=2))
    await caller.agents_are(ACTIVE, *CENTERS)
    assert await caller.findings() == []


@pytest.mark.timeout(120)
async def test_one_broker_that_is_started_anew_fails_no_call(
    pool: LocalPool, caller: Caller, seed: str
) -> None:
    await no_call_fails(pool, caller, [pool.broker(stop_grace_s="3")], pool.target, seed)


@MANY_BROKERS
@pytest.mark.timeout(120)
async def test_two_brokers_that_are_started_anew_in_turn_fail_no_call(
    pool: LocalPool, caller: Caller, tmp_path: Path, seed: str
) -> None:
    with two_brokers(pool, tmp_path) as (brokers, endpoint):
        await no_call_fails(pool, caller, brokers, endpoint, seed)


async def killed_and_back(program: Program, brokers: list[Daemon]) -> None:
    """Each broker in turn is killed and started again; the other one serves meanwhile."""
    with ended(program):
        await program.progress()
        for broker in brokers:
            broker.kill()
            await program.progress()
            broker.start()
            await broker.ready()
            await program.progress()


@MANY_BROKERS
@pytest.mark.timeout(120)
async def test_a_kill_of_one_of_two_brokers_fails_no_call_and_takes_no_lease(
    pool: LocalPool, caller: Caller, tmp_path: Path, seed: str
) -> None:
    with two_brokers(pool, tmp_path) as (brokers, endpoint):
        await all_there(pool, caller, brokers, endpoint)
        program = Program(endpoint, seed)
        await program.lives_through(killed_and_back(program, brokers))
        await caller.agents_are(ACTIVE, *CENTERS)
        assert await caller.findings() == []
