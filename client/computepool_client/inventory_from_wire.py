"""Messages of the protocol about the pool itself, as plain values. Pure."""

from typing import Final

from computepool.v1 import inventory_pb2, types_pb2
from computepool_client import inventory
from computepool_client.from_wire import resources, words

_POOL: Final = words(inventory_pb2.PoolState.items(), "POOL_STATE_", inventory.PoolState)
_AGENT: Final = words(inventory_pb2.AgentState.items(), "AGENT_STATE_", inventory.AgentState)
_FINDINGS: Final = {
    number: name.removeprefix("FINDING_KIND_") for name, number in inventory_pb2.FindingKind.items()
}


def view(message: inventory_pb2.GetViewResponse) -> inventory.View:
    """The one view."""
    return inventory.View(
        regions=tuple(_region(region) for region in message.regions),
        state=_POOL.get(message.state, inventory.PoolState.UNSPECIFIED),
        precision=message.precision,
        mass_silence=message.mass_silence,
        audit_findings=message.audit_findings,
        allocations=message.allocations,
        grants_total=message.grants_total,
        refusals_total=message.refusals_total,
        store=message.mark.identity,
        epoch=message.mark.epoch,
        revision=message.mark.revision,
    )


def center(region: str, role: str, message: inventory_pb2.CenterView) -> inventory.Center:
    """One center."""
    return inventory.Center(
        name=message.center,
        region=region,
        role=role,
        nodes=message.nodes,
        nodes_schedulable=message.nodes_schedulable,
        cpu_milli=_amounts(message.cpu_milli),
        memory_mib=_amounts(message.memory_mib),
        disk_mib=_amounts(message.disk_mib),
        models=tuple(_model(model) for model in message.models),
        age_ms=message.age_ms,
        cordoned=message.cordoned,
        cordon_message=message.cordon_message,
        agents=message.agents,
        agents_active=message.agents_active,
        in_flight_age_ms=message.in_flight_age_ms,
    )


def node(message: inventory_pb2.Node) -> inventory.Node:
    """One node."""
    return inventory.Node(
        name=message.name,
        region=message.region,
        center=message.center,
        agent=message.agent,
        total=resources(message.total),
        reserved=resources(message.reserved),
        foreign=resources(message.foreign),
        granted=resources(message.granted),
        devices=tuple(_device(device) for device in message.devices),
        labels=dict(message.labels),
        schedulable=message.schedulable,
        blockers=tuple(message.blockers),
        age_ms=message.age_ms,
        leases=message.leases,
        cordon_message=message.cordon_message,
    )


def agent(message: inventory_pb2.Agent) -> inventory.Agent:
    """One agent."""
    return inventory.Agent(
        name=message.name,
        center=message.center,
        region=message.region,
        state=_AGENT.get(message.state, inventory.AgentState.UNSPECIFIED),
        session=message.session,
        last_sync_age_ms=message.last_sync_age_ms,
        nodes=message.nodes,
        leases=message.leases,
        refusals=message.refusals,
        last_refusal=message.last_refusal,
        version=message.version,
        backend=message.backend,
        broker=message.broker,
    )


def drain(message: inventory_pb2.DrainResponse, at_start: int) -> inventory.DrainProgress:
    """Who is still there, of so many leases when the drain began."""
    holders = tuple(
        inventory.DrainHolder(
            each.allocation_id, each.tenant, each.node, each.remaining_ttl_ms, each.releasing
        )
        for each in message.holders
    )
    return inventory.DrainProgress(message.leases, at_start, holders, message.holders_omitted)


def audit(message: inventory_pb2.AuditPoolResponse) -> inventory.Audit:
    """What an audit found."""
    findings = tuple(
        inventory.Finding(
            _FINDINGS.get(each.kind, "UNSPECIFIED"), each.node, each.lease_id, each.message
        )
        for each in message.findings
    )
    return inventory.Audit(
        findings, message.findings_omitted, message.nodes, message.leases, message.duration_ms
    )


def _region(message: inventory_pb2.RegionView) -> inventory.Region:
    centers = tuple(center(message.region, message.role, each) for each in message.centers)
    return inventory.Region(message.region, message.role, centers)


def _amounts(message: inventory_pb2.Amounts) -> inventory.Amounts:
    return inventory.Amounts(
        message.total,
        message.reserved,
        message.foreign,
        message.granted,
        message.in_flight,
        message.releasing,
        message.free,
        message.schedulable,
        message.overcommit,
    )


def _model(message: inventory_pb2.ModelView) -> inventory.ModelView:
    return inventory.ModelView(
        message.model,
        _amounts(message.devices),
        message.peak_gflops,
        message.granted_gflops,
        message.foreign_gflops,
        message.unknown_model,
    )


def _device(message: inventory_pb2.NodeDevice) -> inventory.NodeDevice:
    return inventory.NodeDevice(
        id=message.device.id,
        model=message.device.model,
        memory_mib=message.device.memory_mib,
        healthy=message.device.health != types_pb2.DEVICE_HEALTH_UNHEALTHY,
        foreign_milli=message.device.foreign_milli,
        granted_milli=message.granted_milli,
        gone=message.gone,
    )
