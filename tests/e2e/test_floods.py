"""Clients by the thousand that sleep, read nothing, stop half way, or come again and again.

A real broker stands it: its memory is bounded and does not grow with time, others are served
meanwhile, and what the clients held is given back when they go.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import psutil
import pytest

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import inventory_pb2 as inventory
from computepool.v1.allocation_pb2_grpc import AllocationServiceStub
from computepool.v1.inventory_pb2_grpc import InventoryServiceStub
from support.caller import CALL_S, LIVE, Caller, spec
from support.processes import eventually
from support.raw_http2 import PREFACE, SETTINGS, RawClient, frame, message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.local_pool import LocalPool
    from support.processes import Daemon

MIB = 1 << 20
OWN = (("grpc.use_local_subchannel_pool", 1),)
"""A connection of its own for each channel."""
CONNECTIONS = 20
SERVICE = "/computepool.v1.AllocationService"
TICKET = wire.StreamAllocationsRequest(ticket=1).SerializeToString()
A_FEW = 8
"""Files that gRPC's own threads may have opened meanwhile."""
CPU_ONLY = spec(0, cpu_milli=1, memory_mib=0)


class Watched:
    """A broker process and what it uses."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._process = psutil.Process(daemon.pid)

    @property
    def rss_mib(self) -> float:
        """Memory, in MiB."""
        return float(self._process.memory_info().rss / MIB)

    @property
    def connections(self) -> int:
        """Open files and sockets."""
        return int(self._process.num_fds())

    async def gives_back(self, files: int) -> None:
        """Wait until no more are open than there were."""

        async def so() -> bool:
            return self.connections <= files + A_FEW

        await eventually(so, f"no more than {files} files are open", 30)


@pytest.fixture
async def broker(pool: LocalPool, caller: Caller) -> Watched:
    """A broker with the small region, which has granted something."""
    daemon, region = pool.broker(), pool.region()
    daemon.start()
    await daemon.ready()
    region.start()
    await region.ready()
    await caller.active(spec(1), "before")
    return Watched(daemon)


@asynccontextmanager
async def channels(target: str, count: int) -> AsyncIterator[list[Any]]:
    """So many connections."""
    made = [grpc.aio.insecure_channel(target, OWN) for _ in range(count)]
    try:
        yield made
    finally:
        await asyncio.gather(*(channel.close() for channel in made))


def end(calls: list[Any]) -> None:
    """Cancel and forget calls: gRPC keeps a closed channel's connection while one is known."""
    while calls:
        calls.pop().cancel()


async def lives(caller: Caller, rounds: int = 20) -> None:
    """Create and release, as if nobody else were there."""
    for _ in range(rounds):
        made = (await caller.create(CPU_ONLY, "", wire.WAIT_FOR_RESERVED)).allocation
        await caller.release(made.id)


async def calm(caller: Caller, broker: Watched) -> None:
    """What must hold after any flood."""
    await caller.active(spec(1), "after")
    assert not await caller.findings()
    assert "internal_error" not in broker.daemon.log
    assert "Traceback" not in broker.daemon.log


async def test_a_thousand_streams_that_sleep(
    pool: LocalPool, caller: Caller, broker: Watched
) -> None:
    files, before = broker.connections, broker.rss_mib
    async with channels(pool.target, CONNECTIONS) as made:
        calls: list[Any] = []
        for at in range(1_000):
            channel = made[at % CONNECTIONS]
            stub, view = AllocationServiceStub(channel), InventoryServiceStub(channel)
            if at % 4 == 0:
                calls.append(stub.WatchAllocations(wire.WatchAllocationsRequest()))
            elif at % 4 == 1:
                calls.append(view.WatchView(inventory.WatchViewRequest(least_interval_ms=60_000)))
            else:
                call = stub.StreamAllocations()
                await call.write(wire.StreamAllocationsRequest(ticket=1))
                calls.append(call)
        first = await asyncio.wait_for(asyncio.gather(*(call.read() for call in calls)), 60)
        assert len(first) == 1_000
        assert grpc.aio.EOF not in first
        opened = broker.rss_mib
        assert opened - before < 100, f"{before:.0f} MiB, then {opened:.0f}"
        await lives(caller)
        assert not any(call.done() for call in calls)
        end(calls)
    await broker.gives_back(files)
    await calm(caller, broker)


async def test_two_hundred_clients_that_read_nothing(
    pool: LocalPool, caller: Caller, broker: Watched
) -> None:
    files, before = broker.connections, broker.rss_mib
    grown: list[float] = []
    async with AsyncExitStack() as stack:
        for at in range(200):
            raw = await stack.enter_async_context(RawClient(pool.target, reads=False))
            if at % 2:
                await raw.send(raw.begin(f"{SERVICE}/WatchAllocations"), message(b""), end=True)
            else:
                # As many calls as are taken unasked; each has an answer, which nobody reads.
                await raw.send(raw.begin(f"{SERVICE}/StreamAllocations"), message(TICKET) * 9_000)
        for _ in range(4):
            await lives(caller, 150)
            grown.append(broker.rss_mib)
    assert max(grown) - before < 100, f"{before:.0f} MiB, then {grown}"
    assert grown[-1] - grown[1] < 15, f"it grows on: {grown}"
    await broker.gives_back(files)
    await calm(caller, broker)


async def test_clients_that_come_again_and_again(
    pool: LocalPool, caller: Caller, broker: Watched
) -> None:
    files, before = broker.connections, broker.rss_mib
    host, _, port = pool.target.rpartition(":")
    came = 0
    over = asyncio.Event()

    async def comes(kind: int) -> None:
        nonlocal came
        while not over.is_set():
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(host, int(port))
                if kind:
                    writer.write(PREFACE + frame(SETTINGS, 0, 0))
                if kind == 2:
                    await reader.read(9)
                writer.transport.abort()
                came += 1

    tasks = [asyncio.create_task(comes(n % 3)) for n in range(12)]
    sizes = []
    for _ in range(3):
        await lives(caller, 60)
        sizes.append(broker.rss_mib)
    over.set()
    await asyncio.gather(*tasks)
    assert came > 300
    assert sizes[0] - before < 100, f"{before:.0f} MiB, then {sizes} after {came} connections"
    assert sizes[-1] - sizes[0] < 30, f"it grows on: {sizes} after {came} connections"
    await broker.gives_back(files)
    await calm(caller, broker)


async def test_calls_that_stop_half_way(pool: LocalPool, caller: Caller, broker: Watched) -> None:
    """Each says that 4 MiB are to come, and sends what it may; others say nothing, or end early."""
    files, before = broker.connections, broker.rss_mib
    body = message(b"x" * 4_000, 4 * MIB - 5)
    sizes = []
    for _ in range(3):
        async with AsyncExitStack() as stack:
            for _ in range(4):
                raw = await stack.enter_async_context(RawClient(pool.target))
                await raw.moved(5)
                for at in range(250):
                    stream = raw.begin(f"{SERVICE}/CreateAllocation")
                    if at % 5 == 4:
                        raw.write(frame(0, 1, stream))
                    elif at % 5:
                        await raw.send(stream, body, end=at % 5 == 1)
            await lives(caller)
            sizes.append(broker.rss_mib)
        await broker.gives_back(files)
    assert sizes[0] - before < 150, f"{before:.0f} MiB, then {sizes}"
    assert sizes[-1] - sizes[0] < 30, f"it grows on: {sizes}"
    await calm(caller, broker)


async def test_more_streams_of_a_connection_than_there_may_be_wait(
    pool: LocalPool, caller: Caller, broker: Watched
) -> None:
    async with channels(pool.target, 1) as (channel,):
        stub = AllocationServiceStub(channel)
        many = [stub.StreamAllocations() for _ in range(1_024)]
        one = wire.StreamAllocationsRequest(ticket=7)
        for call in many:
            await call.write(one)
        await asyncio.wait_for(asyncio.gather(*(call.read() for call in many)), 60)
        waiting = asyncio.ensure_future(
            stub.ListAllocations(wire.ListAllocationsRequest(), timeout=CALL_S)
        )
        await lives(caller)
        assert not waiting.done()
        many[0].cancel()
        await waiting
        for call in many:
            call.cancel()
    await calm(caller, broker)


async def test_a_thousand_creates_that_wait_and_go_leave_nothing(
    pool: LocalPool, caller: Caller, broker: Watched
) -> None:
    async with channels(pool.target, CONNECTIONS) as made:
        request = wire.CreateAllocationRequest(spec=CPU_ONLY, wait_for=wire.WAIT_FOR_ACTIVE)
        stubs = [AllocationServiceStub(channel) for channel in made]
        calls = [stubs[n % CONNECTIONS].CreateAllocation(request) for n in range(1_000)]
        await lives(caller)
    await asyncio.gather(*calls, return_exceptions=True)
    live = [row.id for row in await caller.all() if row.state in LIVE]
    for at in range(0, len(live), 1_000):
        batch = wire.BatchReleaseAllocationsRequest(ids=live[at : at + 1_000])
        await caller.allocations.BatchReleaseAllocations(batch, timeout=CALL_S)

    async def all_back() -> bool:
        return all(n.granted.cpu_milli == 0 for n in (await caller.nodes()).values())

    await eventually(all_back, "everything has come back", 40)
    await calm(caller, broker)


async def test_a_thousand_clients_that_come_at_once_are_all_served(
    pool: LocalPool, caller: Caller, broker: Watched
) -> None:
    # More than may wait at the door: the kernel has the others try again by themselves.
    async def one(channel: Any) -> None:
        request = wire.ListAllocationsRequest(page_size=1)
        await AllocationServiceStub(channel).ListAllocations(request, timeout=60)

    async with channels(pool.target, 1_000) as made:
        await asyncio.gather(*map(one, made))
    await calm(caller, broker)
