"""Calls a real broker from a test; errors by their stable reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from computepool.v1 import (
    allocation_pb2,
    allocation_pb2_grpc,
    inventory_pb2,
    inventory_pb2_grpc,
    types_pb2,
)
from support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable

CALL_S = 15.0
ACTIVE = allocation_pb2.ALLOCATION_STATE_ACTIVE
RESERVED = allocation_pb2.ALLOCATION_STATE_RESERVED
RELEASING = allocation_pb2.ALLOCATION_STATE_RELEASING
ENDED = allocation_pb2.ALLOCATION_STATE_ENDED
LIVE = (RESERVED, ACTIVE)
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    # In spite of its name the least time that an attempt to connect is given: with little of it
    # nobody ever connects on a machine that is busy.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The stable reason of an error of ours; the status's name for one of gRPC's own."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            info = error_details_pb2.ErrorInfo()
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(info.reason)
    return str(error.code().name)


def spec(
    devices: int = 1,
    *,
    cpu_milli: int = 1_000,
    memory_mib: int = 64,
    count: int = 1,
    ttl_s: int = 600,
    centers: Iterable[str] = (),
    stop_after_s: int = 0,
) -> types_pb2.AllocationSpec:
    """What is asked for, in one line."""
    part = types_pb2.PartSpec(
        resources=types_pb2.Resources(cpu_milli=cpu_milli, memory_mib=memory_mib), devices=devices
    )
    contact = None
    if stop_after_s:
        policy = types_pb2.CONTACT_POLICY_STOP_AFTER
        contact = types_pb2.ContactTerm(policy=policy, after_s=stop_after_s)
    return types_pb2.AllocationSpec(
        part=part, count=count, ttl_s=ttl_s, centers=list(centers), contact=contact
    )


class Caller:
    """One connection; use it in an `async with` statement."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self.allocations = allocation_pb2_grpc.AllocationServiceStub(self._channel)
        self.inventory = inventory_pb2_grpc.InventoryServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._channel.close()

    async def create(
        self,
        what: types_pb2.AllocationSpec,
        request_id: str = "",
        wait_for: allocation_pb2.WaitFor = allocation_pb2.WAIT_FOR_ACTIVE,
    ) -> allocation_pb2.CreateAllocationResponse:
        """Create; waits for ACTIVE unless told otherwise."""
        request = allocation_pb2.CreateAllocationRequest(
            spec=what, request_id=request_id, wait_for=wait_for
        )
        return await self.allocations.CreateAllocation(request, timeout=CALL_S)

    async def active(
        self, what: types_pb2.AllocationSpec, request_id: str = ""
    ) -> allocation_pb2.Allocation:
        """Create and insist that it is ACTIVE."""
        allocation = (await self.create(what, request_id)).allocation
        assert allocation.state == ACTIVE, allocation
        return allocation

    async def get(self, allocation_id: str) -> allocation_pb2.Allocation:
        """One allocation."""
        request = allocation_pb2.GetAllocationRequest(id=allocation_id)
        return (await self.allocations.GetAllocation(request, timeout=CALL_S)).allocation

    async def renew(self, allocation_id: str) -> allocation_pb2.Allocation:
        """Give it its time anew."""
        request = allocation_pb2.RenewAllocationRequest(id=allocation_id)
        return (await self.allocations.RenewAllocation(request, timeout=CALL_S)).allocation

    async def release(self, allocation_id: str) -> allocation_pb2.Allocation:
        """Give it back."""
        request = allocation_pb2.ReleaseAllocationRequest(id=allocation_id)
        return (await self.allocations.ReleaseAllocation(request, timeout=CALL_S)).allocation

    async def all(self, *, ended: bool = True) -> list[allocation_pb2.Allocation]:
        """Every allocation that the broker knows."""
        found: list[allocation_pb2.Allocation] = []
        request = allocation_pb2.ListAllocationsRequest(page_size=1_000, include_ended=ended)
        while True:
            page = await self.allocations.ListAllocations(request, timeout=CALL_S)
            found += page.allocations
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    async def view(self) -> inventory_pb2.GetViewResponse:
        """The one view."""
        return await self.inventory.GetView(inventory_pb2.GetViewRequest(), timeout=CALL_S)

    async def nodes(self) -> dict[str, inventory_pb2.Node]:
        """Up to a thousand nodes, by name."""
        request = inventory_pb2.ListNodesRequest(page_size=1_000)
        answer = await self.inventory.ListNodes(request, timeout=CALL_S)
        return {node.name: node for node in answer.nodes}

    async def agents(self) -> dict[str, inventory_pb2.Agent]:
        """All agents, by name."""
        answer = await self.inventory.ListAgents(inventory_pb2.ListAgentsRequest(), timeout=CALL_S)
        return {agent.name: agent for agent in answer.agents}

    async def forget(self, agent: str) -> inventory_pb2.ForgetAgentResponse:
        """Strike an agent off."""
        request = inventory_pb2.ForgetAgentRequest(agent=agent)
        return await self.inventory.ForgetAgent(request, timeout=CALL_S)

    async def findings(self) -> list[inventory_pb2.Finding]:
        """What an audit made now disagrees with."""
        answer = await self.inventory.AuditPool(inventory_pb2.AuditPoolRequest(), timeout=CALL_S)
        return list(answer.findings)

    async def agents_are(
        self, want: inventory_pb2.AgentState, *names: str, within_s: float = 30.0
    ) -> None:
        """Wait until these agents are in a state."""

        async def so() -> bool:
            try:
                agents = await self.agents()
            except grpc.aio.AioRpcError:
                return False
            return all(name in agents and agents[name].state == want for name in names)

        what = f"{', '.join(names)} {inventory_pb2.AgentState.Name(want)}"
        await eventually(so, what, within_s)

    async def becomes(
        self, allocation_id: str, *states: allocation_pb2.AllocationState, within_s: float = 20.0
    ) -> allocation_pb2.Allocation:
        """Wait until an allocation is in one of these states, and give it."""

        async def so() -> allocation_pb2.Allocation | None:
            try:
                allocation = await self.get(allocation_id)
            except grpc.aio.AioRpcError:
                return None
            return allocation if allocation.state in states else None

        names = " or ".join(allocation_pb2.AllocationState.Name(state) for state in states)
        found = await eventually(so, f"{allocation_id} {names}", within_s)
        assert found is not None
        return found
