"""A real broker asked for impossible lists; pages across the death of a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from computepool.v1 import allocation_pb2, inventory_pb2
from support.caller import CALL_S, reason_of
from support.local_pool import CENTERS

if TYPE_CHECKING:
    from support.caller import Caller
    from support.local_pool import LocalPool

MIB = 1024 * 1024


def field_of(error: grpc.aio.AioRpcError) -> str:
    """The field that a refusal names."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            bad = error_details_pb2.BadRequest()
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(bad):
                    return str(bad.field_violations[0].field)
    return ""


async def test_lists_that_cannot_be_are_refused_and_the_broker_goes_on(
    pool: LocalPool, caller: Caller
) -> None:
    broker = pool.broker()
    broker.start()
    await broker.ready()
    lists: list[tuple[Any, Any]] = [
        (caller.allocations.ListAllocations, allocation_pb2.ListAllocationsRequest),
        (caller.inventory.ListNodes, inventory_pb2.ListNodesRequest),
        (caller.inventory.ListAgents, inventory_pb2.ListAgentsRequest),
        (caller.inventory.ListCenters, inventory_pb2.ListCentersRequest),
    ]
    bad: list[tuple[dict[str, Any], str]] = [
        ({"filter": "x" * (3 * MIB)}, "filter"),
        ({"filter": "(" * 1024}, "filter"),
        ({"filter": "-" * 1024}, "filter"),
        ({"filter": "region = \u202emoor\u202c"}, "filter"),
        ({"filter": "é" * 1024}, "filter"),
        ({"filter": "colour = red"}, "filter"),
        ({"order_by": "region," * 100}, "order_by"),
        ({"order_by": "x" * (3 * MIB)}, "order_by"),
        ({"order_by": "é" * 1024}, "order_by"),
        ({"page_size": -1}, "page_size"),
        ({"page_size": 10**9}, "page_size"),
        ({"page_token": "x" * (3 * MIB)}, "page_token"),
        ({"page_token": "agent-of-yesterday"}, "page_token"),
        ({"page_token": "\u202e"}, "page_token"),
    ]
    for call, request in lists:
        for fields, want in bad:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(request(**fields), timeout=CALL_S)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, fields
            assert (reason_of(caught.value), field_of(caught.value)) == ("INVALID_FIELD", want)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request(filter="x" * (10 * MIB)), timeout=CALL_S)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # by gRPC: never read
        assert await call(request(), timeout=CALL_S) is not None


async def test_pages_go_on_with_a_broker_that_was_started_anew(
    pool: LocalPool, caller: Caller
) -> None:
    broker, region = pool.broker(), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    request = inventory_pb2.ListNodesRequest(page_size=5, order_by="center desc, name desc")
    names: list[str] = []
    while True:
        page = await caller.inventory.ListNodes(request, timeout=CALL_S)
        names += [node.name for node in page.nodes]
        request.page_token = page.next_page_token
        if not request.page_token:
            break
        if len(names) == 5:
            broker.kill()
            broker.start()
            await broker.ready()
            await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    assert len(names) == 12
    assert names == sorted(names, key=lambda n: (n.rsplit("-", 1)[0], n), reverse=True)
