"""The made-up inventory that the bench's agents report: nodes, devices, foreign load.

Pure but for the random generator that is handed in. Imports the protos only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from computepool.v1 import agent_pb2, types_pb2

if TYPE_CHECKING:
    import random

DEVICES = 8
MODELS = ("H100-SXM", "A100-SXM", "Ascend-910B")
ROLES = (("beijing", "core"), ("tianjin", "support"), ("zhangjiakou", "receiver"))
# Foreign devices of a node at the start, one of these by chance: a quarter of all.
FOREIGN_DEVICES = (0, 0, 0, 0, 0, 2, 2, 4, 4, 8)
WHOLE = 1000
LEASES_A_PART, NODES_A_PART = 20_000, 2_000


@dataclass(slots=True)
class Center:
    """What one agent stands in front of, and which leases it holds there."""

    name: str
    region: str
    role: str
    nodes: list[agent_pb2.NodeReport]
    held: dict[str, agent_pb2.HeldLease] = field(default_factory=dict)
    used_milli: dict[str, int] = field(default_factory=dict)


def make_center(index: int, nodes: int, rng: random.Random) -> Center:
    """Center number `index` with `nodes` nodes of eight devices, models taking turns."""
    region, role = ROLES[index % len(ROLES)]
    name = f"{region}-{index:02d}"
    reports = [
        make_node(f"{name}-node-{n:05d}", MODELS[n % len(MODELS)], rng) for n in range(nodes)
    ]
    return Center(name, region, role, reports)


def make_node(name: str, model: str, rng: random.Random) -> agent_pb2.NodeReport:
    """A node of 192 cores, 2 TiB and eight devices, some of them in foreign use."""
    node = agent_pb2.NodeReport(
        node=name,
        total=types_pb2.Resources(cpu_milli=192_000, memory_mib=2_097_152, disk_mib=8_388_608),
        reserved=types_pb2.Resources(cpu_milli=2_000, memory_mib=8_192),
        labels={"rack": name[-5:-2], "fabric": "ib"},
    )
    foreign = rng.choice(FOREIGN_DEVICES)
    for number in range(DEVICES):
        node.devices.add(
            id=f"GPU-{rng.getrandbits(64):016x}-{rng.getrandbits(64):016x}",
            model=model,
            memory_mib=81_920,
            health=types_pb2.DEVICE_HEALTH_HEALTHY,
            foreign_milli=WHOLE if number < foreign else 0,
        )
    change_host_load(node, rng)
    return node


def change_host_load(node: agent_pb2.NodeReport, rng: random.Random) -> None:
    """Give the node another foreign load of processor and memory."""
    node.foreign.cpu_milli = rng.randrange(2_000, 32_000, 100)
    node.foreign.memory_mib = rng.randrange(8_192, 262_144, 1_024)


def change_foreign(center: Center, node: agent_pb2.NodeReport, rng: random.Random) -> None:
    """Another foreign load, and one device that changes hands unless a lease has it."""
    change_host_load(node, rng)
    device = node.devices[rng.randrange(len(node.devices))]
    if device.foreign_milli:
        device.foreign_milli = 0
    elif not center.used_milli.get(device.id) and rng.random() < 1 / 3:
        # Three of four devices are free of foreign load: this keeps it so.
        device.foreign_milli = WHOLE


def apply(center: Center, command: agent_pb2.LeaseCommand) -> None:
    """Do what the broker said about one lease."""
    if command.action == agent_pb2.LEASE_ACTION_ADMIT:
        admit(center, command.record)
    elif command.action == agent_pb2.LEASE_ACTION_START:
        center.held[command.lease_id].state = types_pb2.LEASE_STATE_STARTED
    else:
        lease = center.held.pop(command.lease_id, None)
        if lease is not None and lease.state != types_pb2.LEASE_STATE_REFUSED:
            take(center, lease.record, -1)


def admit(center: Center, record: types_pb2.LeaseRecord) -> None:
    """Hold the lease, or refuse it where its devices are in use."""
    if record.lease_id in center.held:
        return
    foreign = foreign_of(center, record)
    fits = all(
        foreign.get(share.device_id, WHOLE)
        + center.used_milli.get(share.device_id, 0)
        + share.milli
        <= WHOLE
        for share in record.devices
    )
    lease = agent_pb2.HeldLease(lease_id=record.lease_id, record=record)
    if fits:
        lease.state = types_pb2.LEASE_STATE_ADMITTED
        take(center, record, 1)
    else:
        lease.state, lease.reason = types_pb2.LEASE_STATE_REFUSED, "DOES_NOT_FIT"
    center.held[record.lease_id] = lease


def foreign_of(center: Center, record: types_pb2.LeaseRecord) -> dict[str, int]:
    """Foreign thousandths of each device of the lease's node."""
    number = int(record.node.rpartition("-")[2])
    return {device.id: device.foreign_milli for device in center.nodes[number].devices}


def take(center: Center, record: types_pb2.LeaseRecord, sign: int) -> None:
    """Count the lease's devices as used (sign 1) or given back (sign -1)."""
    for share in record.devices:
        used = center.used_milli.get(share.device_id, 0)
        center.used_milli[share.device_id] = used + sign * share.milli


def report(
    center: Center, base: agent_pb2.SyncRequest, *, nodes: bool, records: bool
) -> list[agent_pb2.SyncRequest]:
    """The parts of one report; `base` holds agent, session, sequence, applied revision."""
    held = [lease if records else bare(lease) for lease in center.held.values()]
    parts: list[agent_pb2.SyncRequest] = []
    lease_step = NODES_A_PART if records else LEASES_A_PART
    lease_chunks = [held[at : at + lease_step] for at in range(0, len(held), lease_step)]
    reported = center.nodes if nodes else []
    node_chunks = [reported[at : at + NODES_A_PART] for at in range(0, len(reported), NODES_A_PART)]
    for number in range(max(len(lease_chunks), len(node_chunks), 1)):
        part = agent_pb2.SyncRequest(part=number, nodes_unchanged=not nodes)
        part.MergeFrom(base)
        part.leases.extend(lease_chunks[number] if number < len(lease_chunks) else ())
        part.nodes.extend(node_chunks[number] if number < len(node_chunks) else ())
        parts.append(part)
    for part in parts:
        part.parts = len(parts)
    return parts


def bare(lease: agent_pb2.HeldLease) -> agent_pb2.HeldLease:
    """The lease without its record."""
    return agent_pb2.HeldLease(lease_id=lease.lease_id, state=lease.state, reason=lease.reason)
