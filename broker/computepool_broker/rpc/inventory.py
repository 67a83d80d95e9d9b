"""InventoryService on the wire."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from computepool.v1 import inventory_pb2 as wire
from computepool.v1 import inventory_pb2_grpc
from computepool_broker import __version__
from computepool_broker.errors import InvalidArgumentError
from computepool_broker.model.accelerators import DEFAULT_PRECISION, catalogue
from computepool_broker.rpc import from_wire, limits, to_wire
from computepool_broker.rpc.centers import centers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from computepool_broker.rpc.lists import Lists
    from computepool_broker.rpc.watches import WatchCalls
    from computepool_broker.services.agents import AgentService
    from computepool_broker.services.audit import Auditor
    from computepool_broker.services.inventory import InventoryService
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.view import CenterSums

    Context = grpc.aio.ServicerContext[Any, Any]

MAX_FINDINGS = 1_000


class InventoryServicer(inventory_pb2_grpc.InventoryServiceServicer):
    """Validates, calls the service, answers."""

    def __init__(
        self,
        service: InventoryService,
        agents: AgentService,
        auditor: Auditor,
        pool: Pool,
        lists: Lists,
        watches: WatchCalls,
    ) -> None:
        self._service = service
        self._agents = agents
        self._auditor = auditor
        self._pool = pool
        self._lists = lists
        self._watches = watches
        self._name = secrets.token_hex(8)
        self._began_s = time.monotonic()

    async def ListBrokers(
        self, _: wire.ListBrokersRequest, __: Context
    ) -> wire.ListBrokersResponse:
        """See the contract: the one broker that its store is for."""
        state = self._pool.state
        mark = to_wire.mark(self._agents.mark())
        me = wire.Broker(
            name=self._name,
            address=self._pool.config.listen,
            version=__version__,
            uptime_ms=int((time.monotonic() - self._began_s) * 1000),
            agents=sum(life.session > 0 for life in self._pool.lives.values()),
            chores=True,
            revision=state.revision,
        )
        return wire.ListBrokersResponse(brokers=[me], mark=mark)

    async def GetView(self, request: wire.GetViewRequest, _: Context) -> wire.GetViewResponse:
        """See the contract."""
        precision = request.precision or DEFAULT_PRECISION
        catalogue().peak_gflops("", precision)  # refuses an unknown precision, naming the field
        return await self._service.view(lambda sums: self._view(sums, precision))

    def _view(self, sums: dict[str, CenterSums], precision: str) -> wire.GetViewResponse:
        pool = self._pool
        out = wire.GetViewResponse(
            mark=to_wire.mark(self._agents.mark()),
            state=wire.POOL_STATE_WARMING_UP if pool.warming_up else wire.POOL_STATE_READY,
            precision=precision,
            mass_silence=pool.mass_silence,
            audit_findings=pool.audit_findings,
            allocations=pool.state.live,
            grants_total=pool.grants,
            refusals_total=pool.refusals,
        )
        regions: dict[str, wire.RegionView] = {}
        for center in centers_of(pool, sums, precision):
            name = center.region
            if name not in regions:
                regions[name] = wire.RegionView(region=name, role=center.role)
            regions[name].centers.append(center.view)
        out.regions.extend(regions[name] for name in sorted(regions))
        return out

    def WatchView(  # type: ignore[override] # yields bytes that many are told
        self, request: wire.WatchViewRequest, _: Context
    ) -> AsyncIterator[bytes]:
        """See the contract."""
        return self._watches.view(request)

    def Drain(self, request: wire.DrainRequest, _: Context) -> AsyncIterator[wire.DrainResponse]:
        """See the contract."""
        return self._watches.drain(request)

    async def ListNodes(self, request: wire.ListNodesRequest, _: Context) -> wire.ListNodesResponse:
        """See the contract."""
        return await self._lists.nodes(request)

    async def ListCenters(
        self, request: wire.ListCentersRequest, _: Context
    ) -> wire.ListCentersResponse:
        """See the contract."""
        return await self._lists.centers(request)

    async def ListAgents(
        self, request: wire.ListAgentsRequest, _: Context
    ) -> wire.ListAgentsResponse:
        """See the contract."""
        return await self._lists.agents(request)

    async def ForgetAgent(
        self, request: wire.ForgetAgentRequest, _: Context
    ) -> wire.ForgetAgentResponse:
        """See the contract."""
        cost = await self._service.forget(from_wire.read_id("agent", request.agent))
        return wire.ForgetAgentResponse(allocations_lost=cost.allocations, nodes_removed=cost.nodes)

    async def Cordon(self, request: wire.CordonRequest, _: Context) -> wire.CordonResponse:
        """See the contract."""
        message = limits.text("message", request.message)
        return wire.CordonResponse(leases=await self._cordon(request, message, on=True))

    async def Uncordon(self, request: wire.UncordonRequest, _: Context) -> wire.UncordonResponse:
        """See the contract."""
        await self._cordon(request, "", on=False)
        return wire.UncordonResponse()

    async def _cordon(
        self, request: wire.CordonRequest | wire.UncordonRequest, message: str, *, on: bool
    ) -> int:
        which = request.WhichOneof("target")
        if which == "node":
            node = from_wire.read_id("node", request.node)
            return await self._service.cordon_node(node, message, on=on)
        if which == "center":
            center = from_wire.read_id("center", request.center)
            return await self._service.cordon_center(center, message, on=on)
        raise InvalidArgumentError("target", "name a node or a center")

    async def AuditPool(self, _: wire.AuditPoolRequest, __: Context) -> wire.AuditPoolResponse:
        """See the contract."""
        began = time.monotonic()
        audited = await self._auditor.run()
        found = audited.findings
        return wire.AuditPoolResponse(
            findings=[
                wire.Finding(
                    kind=to_wire.number(f.kind), node=f.node, lease_id=f.lease_id, message=f.message
                )
                for f in found[:MAX_FINDINGS]
            ],
            findings_omitted=max(0, len(found) - MAX_FINDINGS),
            nodes=audited.nodes,
            leases=audited.leases,
            mark=to_wire.mark(self._agents.mark()),
            duration_ms=int((time.monotonic() - began) * 1000),
        )
