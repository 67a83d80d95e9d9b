"""AllocationService on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import allocation_pb2_grpc
from computepool_broker.rpc import from_wire, limits, to_wire
from computepool_broker.services.allocations import AllocationService, Create

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from computepool_broker.model.records import Allocation
    from computepool_broker.services.pool import Pool

    Context = grpc.aio.ServicerContext[Any, Any]

DEADLINE_SHARE = 0.8
"""A create answers with the state reached rather than miss the call's own deadline."""


class AllocationServicer(allocation_pb2_grpc.AllocationServiceServicer):
    """Validates, calls the service, answers."""

    def __init__(
        self,
        service: AllocationService,
        pool: Pool,
        reader: from_wire.SpecReader,
        writer: to_wire.SpecWriter,
        durable: Callable[[], bool],
    ) -> None:
        """Wire it.

        Args:
            service: What the calls do.
            pool: For reading.
            reader: Specs from the wire.
            writer: Specs to the wire.
            durable: Whether a commit survives a crash of the store's machine, known once the
                store is open.
        """
        self._service = service
        self._pool = pool
        self._specs = reader
        self._writer = writer
        self._durable = durable

    async def CreateAllocation(
        self, request: wire.CreateAllocationRequest, context: Context
    ) -> wire.CreateAllocationResponse:
        """See the contract."""
        labels = request.labels
        description = request.description
        call = Create(
            from_wire.read_tenant("tenant", request.tenant),
            from_wire.read_request_id(request.request_id),
            self._specs.read("spec", request.spec),
            limits.text("description", description) if description else "",
            limits.labels("labels", labels) if labels else (),
        )
        wait_s = from_wire.read_wait_s(request)
        if wait_s:
            left = context.time_remaining()
            if left is not None:
                wait_s = min(wait_s, left * DEADLINE_SHARE)
        allocation, duplicate = await self._service.create(call, wait_s)
        out = wire.CreateAllocationResponse(duplicate=duplicate, ack_level=self._level())
        self._fill(out.allocation, allocation)
        return out

    async def PreviewAllocation(
        self, request: wire.PreviewAllocationRequest, _: Context
    ) -> wire.PreviewAllocationResponse:
        """See the contract."""
        from_wire.read_tenant("tenant", request.tenant)
        spec = self._specs.read("spec", request.spec)
        places, refusal, revision = await self._service.preview(spec)
        out = wire.PreviewAllocationResponse(
            leases=to_wire.planned(self._pool.state, places), view_revision=revision
        )
        if refusal is not None:
            out.refusal.CopyFrom(to_wire.refusal(refusal))
        return out

    async def GetAllocation(
        self, request: wire.GetAllocationRequest, _: Context
    ) -> wire.GetAllocationResponse:
        """See the contract."""
        found = await self._service.get(from_wire.read_id("id", request.id))
        out = wire.GetAllocationResponse()
        self._fill(out.allocation, found)
        return out

    async def ListAllocations(
        self, request: wire.ListAllocationsRequest, _: Context
    ) -> wire.ListAllocationsResponse:
        """See the contract."""
        size, after = from_wire.read_page(request.page_size, request.page_token)
        tenant = from_wire.read_tenant("tenant", request.tenant) if request.tenant else ""
        rows, more = await self._service.page(after, size, tenant, ended=request.include_ended)
        out = wire.ListAllocationsResponse()
        left = to_wire.PAGE_BYTES
        for allocation in rows:
            row = wire.Allocation()
            self._fill(row, allocation)
            left -= row.ByteSize()
            if left < 0 and out.allocations:
                more = True
                break
            out.allocations.append(row)
        if more:
            out.next_page_token = out.allocations[-1].id
        return out

    async def RenewAllocation(
        self, request: wire.RenewAllocationRequest, _: Context
    ) -> wire.RenewAllocationResponse:
        """See the contract."""
        ttl_s = request.ttl_s
        if ttl_s:
            limits.ranged("ttl_s", ttl_s, from_wire.LEAST_TTL_S, from_wire.YEAR_S)
        renewed = await self._service.renew(
            from_wire.read_id("id", request.id), limits.text("etag", request.etag, 64), ttl_s
        )
        out = wire.RenewAllocationResponse()
        self._fill(out.allocation, renewed)
        return out

    async def ReleaseAllocation(
        self, request: wire.ReleaseAllocationRequest, _: Context
    ) -> wire.ReleaseAllocationResponse:
        """See the contract."""
        released = await self._service.release(
            from_wire.read_id("id", request.id),
            limits.text("etag", request.etag, 64),
            limits.text("message", request.message),
        )
        out = wire.ReleaseAllocationResponse()
        self._fill(out.allocation, released)
        return out

    def _level(self) -> wire.AckLevel:
        return wire.ACK_LEVEL_DURABLE if self._durable() else wire.ACK_LEVEL_COMMITTED

    def _fill(self, out: wire.Allocation, a: Allocation) -> None:
        pool = self._pool
        left = pool.ttl.left_ms(a.id, pool.clock.now_ms)
        to_wire.fill_allocation(out, pool.state, a, left, self._writer)
