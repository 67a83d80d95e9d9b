"""What a stream of calls leaves behind when its client goes."""

from __future__ import annotations

import asyncio

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.rpc.to_wire import spec_message
from support.broker_kit import running_broker
from support.builders import make_node, make_spec
from support.memory_store import MemoryStore
from support.processes import eventually
from support.stream_client import StreamClient, stream_of

WAITING = wire.StreamAllocationsRequest(
    ticket=1,
    create=wire.CreateAllocationRequest(
        spec=spec_message(make_spec(cpu=1)), wait_for=wire.WAIT_FOR_ACTIVE, wait_ms=60_000
    ),
)


async def test_a_stream_that_ends_before_its_grant_is_durable_leaves_no_waiter() -> None:
    store = MemoryStore()
    async with running_broker(make_node(), store=store) as kit:
        store.hold = True
        stream = asyncio.create_task(stream_of(kit, StreamClient([WAITING], open_end=True)).run())

        async def waited_for() -> bool:
            return bool(kit.pool.waiters)

        await eventually(waited_for, "the grant has been made", every_s=0)
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)
        store.let_go()
        store.hold = False
        await kit.pool.committer.submit(lambda _: None)
        assert len(kit.pool.state.allocations) == 1
        assert not kit.pool.waiters
