"""AllocationService on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import allocation_pb2_grpc
from computepool_broker.rpc import from_wire
from computepool_broker.rpc.creates import (
    read_create,
    read_release,
    read_release_level,
    read_renew,
    read_waits,
)
from computepool_broker.rpc.stream import CallStream, StreamParts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from computepool_broker.rpc.bulk import BulkCalls
    from computepool_broker.rpc.explain import ExplainCalls
    from computepool_broker.rpc.lists import Lists
    from computepool_broker.rpc.watches import WatchCalls
    from computepool_broker.services.allocations import AllocationService

    Context = grpc.aio.ServicerContext[Any, Any]

DEADLINE_SHARE = 0.8
"""A create answers with the state reached rather than miss the call's own deadline."""


class AllocationServicer(allocation_pb2_grpc.AllocationServiceServicer):
    """Validates, calls the service, answers."""

    def __init__(
        self,
        service: AllocationService,
        explains: ExplainCalls,
        bulk: BulkCalls,
        streams: StreamParts,
        lists: Lists,
        watches: WatchCalls,
    ) -> None:
        self._service = service
        self._explains = explains
        self._bulk = bulk
        self._streams = streams
        self._lists = lists
        self._watches = watches
        self._pool = streams.pool
        self._specs = streams.specs
        self._answers = streams.answers

    async def CreateAllocation(
        self, request: wire.CreateAllocationRequest, context: Context
    ) -> wire.CreateAllocationResponse:
        """See the contract."""
        call = read_create(request, self._specs)
        wait_s, level = read_waits(request, self._answers.levels)
        if wait_s:
            left_s = _most_wait_s(context)
            wait_s = wait_s if left_s is None else min(wait_s, left_s)
        made = await self._service.create(call, wait_s, level)
        out = wire.CreateAllocationResponse()
        self._answers.fill_created(out, made, level)
        return out

    async def BatchCreateAllocations(
        self, request: wire.BatchCreateAllocationsRequest, context: Context
    ) -> wire.BatchCreateAllocationsResponse:
        """See the contract."""
        return await self._bulk.create(request, _most_wait_s(context))

    async def BatchRenewAllocations(
        self, request: wire.BatchRenewAllocationsRequest, _: Context
    ) -> wire.BatchRenewAllocationsResponse:
        """See the contract."""
        return await self._bulk.renew(request)

    async def BatchReleaseAllocations(
        self, request: wire.BatchReleaseAllocationsRequest, _: Context
    ) -> wire.BatchReleaseAllocationsResponse:
        """See the contract."""
        return await self._bulk.release(request)

    async def StreamAllocations(  # type: ignore[override] # reads and writes by the context
        self, _: object, context: Context
    ) -> None:
        """See the contract."""
        await CallStream(self._streams, context).run()

    async def PreviewAllocation(
        self, request: wire.PreviewAllocationRequest, _: Context
    ) -> wire.PreviewAllocationResponse:
        """See the contract."""
        return await self._explains.preview(request)

    async def ExplainAllocation(
        self, request: wire.ExplainAllocationRequest, _: Context
    ) -> wire.ExplainAllocationResponse:
        """See the contract."""
        return await self._explains.explain(request)

    async def GetAllocation(
        self, request: wire.GetAllocationRequest, _: Context
    ) -> wire.GetAllocationResponse:
        """See the contract."""
        found = await self._service.get(from_wire.read_id("id", request.id))
        out = wire.GetAllocationResponse()
        self._answers.fill(out.allocation, found)
        return out

    async def ListAllocations(
        self, request: wire.ListAllocationsRequest, _: Context
    ) -> wire.ListAllocationsResponse:
        """See the contract."""
        return await self._lists.allocations(request)

    async def RenewAllocation(
        self, request: wire.RenewAllocationRequest, _: Context
    ) -> wire.RenewAllocationResponse:
        """See the contract."""
        renewed = await self._service.renew(*read_renew(request))
        out = wire.RenewAllocationResponse()
        self._answers.fill(out.allocation, renewed)
        return out

    async def ReleaseAllocation(
        self, request: wire.ReleaseAllocationRequest, _: Context
    ) -> wire.ReleaseAllocationResponse:
        """See the contract."""
        level = read_release_level(request, self._answers.levels)
        released = await self._service.release(*read_release(request), level)
        out = wire.ReleaseAllocationResponse()
        self._answers.fill(out.allocation, released)
        return out

    def WatchAllocations(  # type: ignore[override] # yields bytes that many are told
        self, request: wire.WatchAllocationsRequest, _: Context
    ) -> AsyncIterator[bytes]:
        """See the contract."""
        return self._watches.allocations(request)


def _most_wait_s(context: Context) -> float | None:
    """How long a call may wait, in seconds, so as not to miss its own deadline."""
    left: float | None = context.time_remaining()
    return None if left is None else left * DEADLINE_SHARE
