"""Builders of what an agent deals with: a valid object in one line."""

from __future__ import annotations

from computepool.v1 import agent_pb2, types_pb2
from computepool_agents.model import ADMITTED, Amounts, Device, Held, Node
from computepool_agents.scenario import CenterPlan, NodeGroup

GIB = 1024


def make_node(
    name: str = "n1",
    *,
    cpu: int = 8,
    memory: int = 64,
    devices: int = 4,
    foreign_devices: tuple[int, ...] = (),
    sick_devices: tuple[int, ...] = (),
    reserved: Amounts | None = None,
    foreign: Amounts | None = None,
    unschedulable: bool = False,
) -> Node:
    """A node; cpu in cores, memory in GiB, devices by their places."""
    return Node(
        name=name,
        total=Amounts(cpu * 1000, memory * GIB, 100 * GIB),
        reserved=reserved or Amounts(),
        foreign=foreign or Amounts(),
        devices=tuple(
            Device(
                f"{name}-d{place}",
                "A100-SXM",
                80 * GIB,
                healthy=place not in sick_devices,
                foreign_milli=1000 if place in foreign_devices else 0,
            )
            for place in range(devices)
        ),
        unschedulable=unschedulable,
    )


def make_record(
    lease: str = "a1.0.0",
    node: str = "n1",
    *,
    cpu: int = 1,
    memory: int = 1,
    devices: dict[str, int] | None = None,
    stop_after_s: int | None = None,
    epoch: int = 1,
    revision: int = 1,
    identity: str = "store-1",
) -> types_pb2.LeaseRecord:
    """A lease's record; cpu in cores, memory in GiB, devices by id in thousandths."""
    contact = types_pb2.ContactTerm(policy=types_pb2.CONTACT_POLICY_KEEP)
    if stop_after_s is not None:
        contact = types_pb2.ContactTerm(
            policy=types_pb2.CONTACT_POLICY_STOP_AFTER, after_s=stop_after_s
        )
    return types_pb2.LeaseRecord(
        lease_id=lease,
        allocation_id=lease.split(".", maxsplit=1)[0] or "a",
        tenant="default",
        request_id=f"request-{lease}",
        digest=b"digest",
        count=1,
        node=node,
        devices=[
            types_pb2.DeviceShare(device_id=device, milli=milli)
            for device, milli in (devices or {}).items()
        ],
        resources=types_pb2.Resources(cpu_milli=cpu * 1000, memory_mib=memory * GIB),
        spec=types_pb2.AllocationSpec(ttl_s=3600, contact=contact),
        mark=types_pb2.StoreMark(identity=identity, epoch=epoch, revision=revision),
        model="A100-SXM" if devices else "",
    )


def make_held(
    lease: str = "a1.0.0",
    state: types_pb2.LeaseState = ADMITTED,
    reason: str = "",
    message: str = "",
    **record: object,
) -> Held:
    return Held(make_record(lease, **record), state, reason, message)  # type: ignore[arg-type]


def make_answer(
    *commands: agent_pb2.LeaseCommand,
    revision: int = 2,
    epoch: int = 1,
    identity: str = "store-1",
    next_sync_ms: int = 10_000,
) -> agent_pb2.SyncResponse:
    return agent_pb2.SyncResponse(
        mark=types_pb2.StoreMark(identity=identity, epoch=epoch, revision=revision),
        commands=commands,
        next_sync_ms=next_sync_ms,
    )


def admit(record: types_pb2.LeaseRecord) -> agent_pb2.LeaseCommand:
    return agent_pb2.LeaseCommand(
        lease_id=record.lease_id, action=agent_pb2.LEASE_ACTION_ADMIT, record=record
    )


def start(lease: str) -> agent_pb2.LeaseCommand:
    return agent_pb2.LeaseCommand(lease_id=lease, action=agent_pb2.LEASE_ACTION_START)


def revoke(lease: str, reason: str = "RELEASED") -> agent_pb2.LeaseCommand:
    return agent_pb2.LeaseCommand(
        lease_id=lease, action=agent_pb2.LEASE_ACTION_REVOKE, reason=reason
    )


def make_plan(
    name: str = "c1",
    nodes: int = 3,
    devices: int = 4,
    foreign_share: float = 0.0,
    labels: dict[str, str] | None = None,
) -> CenterPlan:
    """A simulated center of equal nodes, called "<name>-n0001" and so on."""
    group = NodeGroup(
        count=nodes,
        cpu_milli=64_000,
        memory_mib=512 * GIB,
        disk_mib=1000 * GIB,
        devices=devices,
        model="A100-SXM" if devices else "",
        device_memory_mib=80 * GIB if devices else 0,
        labels={"type": "a"},
    )
    return CenterPlan(name, "r1", "core", (group,), foreign_share, 1.0, labels or {})
