"""What jobs weigh: however much is asked at once, the event loop breathes in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.rpc.to_wire import spec_message
from computepool_broker.services.grants import Create
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_node, make_spec
from support.stream_client import StreamClient, stream_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

ROOMY = make_node(cpu=3_000)
GANG = 256
SPEC = make_spec(cpu=1, count=GANG)


async def batches(kit: BrokerKit, work: Sequence[Coroutine[Any, Any, Any]]) -> int:
    """Batches that the writer needed for all of it at once."""
    before = kit.pool.committer.batches
    await asyncio.gather(*work)
    return kit.pool.committer.batches - before


async def test_gangs_that_come_at_once_do_not_share_one_batch() -> None:
    async with running_broker(ROOMY) as kit:
        calls = [kit.allocations.create(Create("default", "", SPEC), 0) for _ in range(8)]
        assert await batches(kit, calls) >= 4


async def test_gangs_in_a_stream_do_not_share_one_batch() -> None:
    async with running_broker(ROOMY) as kit:
        request = wire.CreateAllocationRequest(
            spec=spec_message(SPEC), wait_for=wire.WAIT_FOR_RESERVED
        )
        calls = [wire.StreamAllocationsRequest(ticket=n, create=request) for n in range(8)]
        client = StreamClient(calls)
        assert await batches(kit, [stream_of(kit, client).run()]) >= 4
        assert [result.WhichOneof("result") for result in client.results] == ["create"] * 8


ASK: dict[str, Callable[[BrokerKit], Coroutine[Any, Any, Any]]] = {
    "preview": lambda kit: kit.explanations.preview(make_spec(gpus=9), list),
    "explain": lambda kit: kit.explanations.of_request(make_spec(gpus=9)),
    "view": lambda kit: kit.inventory.view(dict),
}


@pytest.mark.parametrize("ask", ASK)
async def test_who_asks_for_reasons_or_sums_a_hundred_times_holds_nobody_up(ask: str) -> None:
    async with running_broker(*(make_node(f"n{n}", gpus=1) for n in range(2_000))) as kit:
        assert await batches(kit, [ASK[ask](kit) for _ in range(100)]) >= 4
