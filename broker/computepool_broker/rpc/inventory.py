"""InventoryService on the wire."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from computepool.v1 import inventory_pb2 as wire
from computepool.v1 import inventory_pb2_grpc
from computepool.v1 import types_pb2 as types
from computepool_broker.errors import InvalidArgumentError
from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model.accelerators import DEFAULT_PRECISION, catalogue
from computepool_broker.model.amounts import CPU, DEVICE_PREFIX, DISK, MEMORY, Resources
from computepool_broker.model.records import AgentState
from computepool_broker.rpc import from_wire, limits, to_wire
from computepool_broker.services.pool import NEVER

if TYPE_CHECKING:
    import grpc

    from computepool_broker.ledger.state import AgentBook
    from computepool_broker.model.book import NodeBook
    from computepool_broker.services.agents import AgentService
    from computepool_broker.services.audit import Auditor
    from computepool_broker.services.inventory import InventoryService
    from computepool_broker.services.pool import AgentLife, Pool
    from computepool_broker.services.view import CenterSums, Sums

    Context = grpc.aio.ServicerContext[Any, Any]

MAX_FINDINGS = 1_000
WHOLE = 1_000
MAX_SUM = 2**63 - 1


class InventoryServicer(inventory_pb2_grpc.InventoryServiceServicer):
    """Validates, calls the service, answers."""

    def __init__(
        self, service: InventoryService, agents: AgentService, auditor: Auditor, pool: Pool
    ) -> None:
        self._service = service
        self._agents = agents
        self._auditor = auditor
        self._pool = pool

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
        centers = self._centers(sums)
        agents: dict[str, list[AgentBook]] = {}
        for book in pool.state.agents.values():
            agents.setdefault(book.record.center, []).append(book)
        ages = pool.center_ages_ms()
        regions: dict[str, wire.RegionView] = {}
        for name in sorted(centers):
            region, role = centers[name]
            if region not in regions:
                regions[region] = wire.RegionView(region=region, role=role)
            center = self._center(name, agents.get(name, []), sums.get(name), precision)
            center.age_ms = ages.get(name, 0) if name in sums else NEVER
            regions[region].centers.append(center)
        out.regions.extend(regions[name] for name in sorted(regions))
        return out

    def _centers(self, sums: dict[str, CenterSums]) -> dict[str, tuple[str, str]]:
        """Region and role by center, of all that have an agent or a node."""
        columns = self._pool.columns
        out = {name: (columns.center_regions[columns.centers[name]], "") for name in sums}
        for book in self._pool.state.agents.values():
            out[book.record.center] = (book.record.region, book.record.role)
        return out

    def _center(
        self, name: str, agents: list[AgentBook], sums: CenterSums | None, precision: str
    ) -> wire.CenterView:
        pool = self._pool
        cordon = pool.state.centers.get(name)
        out = wire.CenterView(
            center=name,
            cordoned=bool(cordon and cordon.cordoned),
            cordon_message=cordon.message if cordon and cordon.cordoned else "",
            agents=len(agents),
            agents_active=sum(a.state is AgentState.ACTIVE for a in agents),
        )
        if sums is None:
            return out
        out.nodes, out.nodes_schedulable = sums.nodes, sums.schedulable
        if sums.oldest_in_flight_ms:
            out.in_flight_age_ms = max(0, pool.wall_ms() - sums.oldest_in_flight_ms)
        for field, key in ((out.cpu_milli, CPU), (out.memory_mib, MEMORY), (out.disk_mib, DISK)):
            field.CopyFrom(_amounts(sums.fixed[key]))
        for model in sorted(sums.models):
            out.models.append(_model(model, sums.models[model], precision))
        return out

    async def ListNodes(self, request: wire.ListNodesRequest, _: Context) -> wire.ListNodesResponse:
        """See the contract."""
        size, after = from_wire.read_page(request.page_size, request.page_token)
        center = from_wire.read_id("center", request.center) if request.center else ""
        rows, more = await self._service.nodes(after, size, center, self._node)
        fitting = to_wire.fitting(rows)
        more = more or len(fitting) < len(rows)
        return wire.ListNodesResponse(
            nodes=fitting, next_page_token=fitting[-1].name if more else ""
        )

    def _node(self, book: NodeBook) -> wire.Node:
        record, used = book.record, book.used
        life = self._pool.lives.get(record.agent)
        seen = life.observed_ms if life else NEVER
        return wire.Node(
            name=record.name,
            region=record.region,
            center=record.center,
            agent=record.agent,
            total=to_wire.resources(Resources() if record.gone else record.total),
            reserved=to_wire.resources(record.reserved),
            foreign=to_wire.resources(record.foreign),
            granted=to_wire.resources(Resources.of(used)),
            devices=[
                wire.NodeDevice(
                    device=types.Device(
                        id=d.id,
                        model=d.model,
                        memory_mib=d.memory_mib,
                        health=types.DEVICE_HEALTH_HEALTHY
                        if d.healthy
                        else types.DEVICE_HEALTH_UNHEALTHY,
                        foreign_milli=d.foreign_milli,
                    ),
                    granted_milli=used.get(DEVICE_PREFIX + d.id, 0),
                    gone=record.gone,
                )
                for d in record.devices
            ],
            labels=dict(record.labels),
            schedulable=book.blockers == 0,
            blockers=Blocker.names(book.blockers),
            age_ms=NEVER if seen == NEVER else self._pool.clock.now_ms - seen,
            leases=book.leases,
            cordon_message=book.message,
        )

    async def ListAgents(self, _: wire.ListAgentsRequest, __: Context) -> wire.ListAgentsResponse:
        """See the contract."""
        rows = await self._service.agents(self._agent)
        return wire.ListAgentsResponse(agents=to_wire.fitting(rows))

    def _agent(self, book: AgentBook, life: AgentLife) -> wire.Agent:
        record = book.record
        return wire.Agent(
            name=record.name,
            center=record.center,
            region=record.region,
            state=to_wire.number(book.state),
            session=record.session,
            last_sync_age_ms=self._pool.clock.now_ms - life.heard_ms if life.session else NEVER,
            nodes=len(book.nodes),
            leases=len(book.leases),
            refusals=life.refusals,
            last_refusal=life.last_refusal,
            version=record.version,
            backend=record.backend,
        )

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


def _amounts(s: Sums) -> wire.Amounts:
    # Agents report what they like: a sum past the end of the field is shown as its end.
    return wire.Amounts(**{name: min(value, MAX_SUM) for name, value in s._asdict().items()})


def _model(model: str, s: Sums, precision: str) -> wire.ModelView:
    table = catalogue()
    peak = table.peak_gflops(model, precision)
    return wire.ModelView(
        model=model,
        devices=_amounts(s),
        peak_gflops=peak * s.total // WHOLE,
        granted_gflops=peak * s.granted // WHOLE,
        foreign_gflops=peak * s.foreign // WHOLE,
        unknown_model=table.find(model) is None,
    )
