"""Watches of a real broker over its wire: restarts, readers that do not read, and the stop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from support.caller import ENDED, Caller, reason_of, spec
from support.local_pool import CENTERS
from support.processes import eventually

if TYPE_CHECKING:
    from support.local_pool import LocalPool

pytestmark = pytest.mark.timeout(90)
WITHIN_S = 20.0
MANY = 300
NON_READERS = 50


class Watcher:
    """Reads a watch of allocations in the background until it ends; keeps the newest of each."""

    def __init__(self, caller: Caller, token: str = "") -> None:
        self.known: dict[str, allocation_pb2.Allocation] = {}
        self.token = token
        self.synced = asyncio.Event()
        self.error: grpc.aio.AioRpcError | None = None
        request = allocation_pb2.WatchAllocationsRequest(resume_token=token)
        self._call: Any = caller.allocations.WatchAllocations(request)
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        try:
            async for message in self._call:
                self.known |= {e.allocation.id: e.allocation for e in message.events}
                self.token = message.resume_token
                if message.synced:
                    self.synced.set()
        except grpc.aio.AioRpcError as error:
            self.error = error

    async def agrees(self, caller: Caller) -> None:
        """Wait until it knows what the broker lists."""

        async def so() -> bool:
            listed = {a.id: a.revision for a in await caller.all()}
            return listed == {key: self.known[key].revision for key in listed if key in self.known}

        await eventually(so, "the watcher knows what is listed", WITHIN_S)


async def error_of(call: Any) -> grpc.aio.AioRpcError | None:
    """Read a stream to its end, which must be an error; gives it."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def start(pool: LocalPool, caller: Caller, **settings: str) -> Any:
    broker, region = pool.broker(**settings), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    return broker


async def test_a_watch_goes_on_after_the_broker_was_killed(pool: LocalPool, caller: Caller) -> None:
    broker = await start(pool, caller)
    first = await caller.active(spec())
    watcher = Watcher(caller)
    await watcher.agrees(caller)
    second = await caller.active(spec())
    await watcher.agrees(caller)
    broker.kill()
    await watcher.task
    assert watcher.error is not None
    broker.start()
    await broker.ready()
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    await caller.release(first.id)
    await caller.becomes(first.id, ENDED)
    again = Watcher(caller, watcher.token)
    again.known = {second.id: watcher.known[second.id]}  # unchanged: it is not told again
    await again.agrees(caller)
    assert again.known[first.id].state == ENDED


async def test_all_watches_end_when_the_broker_stops_also_those_that_nobody_reads(
    pool: LocalPool, caller: Caller
) -> None:
    broker = await start(pool, caller, stop_grace_s="10")
    held = await caller.active(spec())
    watcher = Watcher(caller)
    await watcher.agrees(caller)
    view: Any = caller.inventory.WatchView(inventory_pb2.WatchViewRequest(least_interval_ms=60_000))
    assert (await view.read()).whole
    drain: Any = caller.inventory.Drain(inventory_pb2.DrainRequest(node=held.leases[0].node))
    assert (await drain.read()).leases == 1
    began = time.monotonic()
    broker.signal(15)
    await watcher.task
    errors = [watcher.error, await error_of(view), await error_of(drain)]
    assert [(e.code(), reason_of(e)) for e in errors if e] == [
        (grpc.StatusCode.UNAVAILABLE, "STOPPING")
    ] * 3
    assert await broker.ended() == 0
    assert time.monotonic() - began < 10
    assert "Traceback" not in broker.log


async def test_clients_that_read_nothing_cost_little_and_hold_up_nobody(
    pool: LocalPool, caller: Caller
) -> None:
    broker = await start(pool, caller)
    async with Caller(pool.target) as sleepy:
        request = allocation_pb2.WatchAllocationsRequest()
        asleep: list[Any] = [
            sleepy.allocations.WatchAllocations(request) for _ in range(NON_READERS)
        ]
        for call in asleep:
            await call.read()
        awake = Watcher(caller)
        await awake.synced.wait()
        created = allocation_pb2.CreateAllocationRequest(
            spec=spec(0, cpu_milli=1, memory_mib=1),
            description="x" * 1_000,
            wait_for=allocation_pb2.WAIT_FOR_RESERVED,
        )
        made = []
        for _ in range(MANY):
            answer = await caller.allocations.CreateAllocation(created, timeout=15)
            made.append(answer.allocation.id)
        for key in made[::2]:
            await caller.release(key)
        await awake.agrees(caller)
        # They wake up: nothing is missed, however late.
        known: dict[str, int] = {}
        async with asyncio.timeout(WITHIN_S):
            listed = {a.id: a.revision for a in await caller.all()}
            while known != listed:
                message = await asleep[0].read()
                known |= {e.allocation.id: e.allocation.revision for e in message.events}
                listed = {a.id: a.revision for a in await caller.all()}
        for call in asleep:
            call.cancel()
    late = [Watcher(caller) for _ in range(3)]
    for watcher in late:
        await watcher.agrees(caller)
    assert await broker.stop() == 0
    assert "Traceback" not in broker.log


async def test_bad_requests_are_refused_over_the_wire(pool: LocalPool, caller: Caller) -> None:
    broker = pool.broker()
    broker.start()
    await broker.ready()
    for call in (
        caller.allocations.WatchAllocations(
            allocation_pb2.WatchAllocationsRequest(resume_token="x" * 1_000_000)
        ),
        caller.allocations.WatchAllocations(
            allocation_pb2.WatchAllocationsRequest(filter="\u202etenant = a")
        ),
        caller.inventory.WatchView(inventory_pb2.WatchViewRequest(least_interval_ms=1)),
        caller.inventory.Drain(inventory_pb2.DrainRequest()),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason_of(caught.value) == "INVALID_FIELD"
