"""One report: nodes and held leases as messages, in parts that fit into the wire's limit.

May import model and the generated protos. Pure, but for a cache of messages that it makes
again and again: nodes are immutable, so an equal object gives an equal message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from computepool.v1 import agent_pb2 as agent
from computepool.v1 import types_pb2 as types
from computepool_agents.model import JOURNALLED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from computepool_agents.model import Device, Held, Node

PART_BYTES = 1 << 20  # a quarter of what a message may have
MAX_PARTS = 1_000
_FRAMING_BYTES = 8  # at most: a field's tag and length before each entry


class ReportTooLargeError(Exception):
    """The report would need more parts than the contract allows."""


@dataclass(frozen=True, slots=True)
class Heading:
    """What all parts of a report have in common.

    Attributes:
        agent: Name of the agent.
        session: Its session.
        sequence: Number of the report in the session, from 1.
        applied_revision: Of the newest answer applied in this session; 0 before the first.
    """

    agent: str
    session: int
    sequence: int
    applied_revision: int


class Reporter:
    """Makes the requests of a report."""

    def __init__(self, part_bytes: int = PART_BYTES) -> None:
        self._part_bytes = part_bytes
        self._made: dict[str, tuple[Node, agent.NodeReport, int]] = {}

    def parts(
        self,
        heading: Heading,
        leases: Iterable[Held],
        nodes: Sequence[Node] | None,
        *,
        with_records: bool,
    ) -> list[agent.SyncRequest]:
        """Make one report.

        Args:
            heading: Goes on every part.
            leases: All leases held, refused or being torn down.
            nodes: All nodes; None says that they are as in the last report.
            with_records: Give the leases' whole records.

        Raises:
            ReportTooLargeError: It would need more than 1,000 parts.
        """
        parts = self._packed(leases, nodes or (), with_records=with_records)
        if len(parts) > MAX_PARTS:
            raise ReportTooLargeError(f"the report would have {len(parts)} parts")
        for place, part in enumerate(parts):
            part.agent = heading.agent
            part.session = heading.session
            part.sequence = heading.sequence
            part.part = place
            part.parts = len(parts)
            part.applied_revision = heading.applied_revision
            part.nodes_unchanged = nodes is None
        self._forget_but(nodes)
        return parts

    def _packed(
        self, leases: Iterable[Held], nodes: Iterable[Node], *, with_records: bool
    ) -> list[agent.SyncRequest]:
        parts = [agent.SyncRequest()]
        room = self._part_bytes
        for entry, size in self._entries(leases, nodes, with_records=with_records):
            needed = size + _FRAMING_BYTES
            if needed > room and room < self._part_bytes:
                parts.append(agent.SyncRequest())
                room = self._part_bytes
            room -= needed
            if isinstance(entry, agent.NodeReport):
                parts[-1].nodes.append(entry)
            else:
                parts[-1].leases.append(entry)
        return parts

    def _entries(
        self, leases: Iterable[Held], nodes: Iterable[Node], *, with_records: bool
    ) -> Iterator[tuple[agent.NodeReport | agent.HeldLease, int]]:
        for lease in leases:
            message = lease_message(lease, with_record=with_records)
            yield message, message.ByteSize()
        for node in nodes:
            yield self._node(node)

    def _node(self, node: Node) -> tuple[agent.NodeReport, int]:
        made = self._made.get(node.name)
        if made is None or made[0] is not node:
            message = node_message(node)
            made = self._made[node.name] = (node, message, message.ByteSize())
        return made[1], made[2]

    def _forget_but(self, nodes: Sequence[Node] | None) -> None:
        if nodes is not None and len(self._made) > len(nodes):
            names = {node.name for node in nodes}
            self._made = {name: made for name, made in self._made.items() if name in names}


def lease_message(lease: Held, *, with_record: bool) -> agent.HeldLease:
    """Make the line of a report about one lease; of a refused one no record was kept."""
    return agent.HeldLease(
        lease_id=lease.lease_id,
        state=lease.state,
        reason=lease.reason,
        message=lease.message,
        record=lease.record if with_record and lease.state in JOURNALLED else None,
    )


def node_message(node: Node) -> agent.NodeReport:
    """Make the lines of a report about one node."""
    return agent.NodeReport(
        node=node.name,
        total=node.total.message(),
        reserved=node.reserved.message(),
        foreign=node.foreign.message(),
        devices=[_device_message(device) for device in node.devices],
        labels=node.labels,
        unschedulable=node.unschedulable,
    )


def _device_message(device: Device) -> types.Device:
    health = types.DEVICE_HEALTH_HEALTHY if device.healthy else types.DEVICE_HEALTH_UNHEALTHY
    return types.Device(
        id=device.id,
        model=device.model,
        memory_mib=device.memory_mib,
        health=health,
        foreign_milli=device.foreign_milli,
    )
