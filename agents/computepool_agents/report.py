"""One report, whole or what changed, as messages in parts that fit into the wire's limit.

May import model and the generated protos. Pure, but for a cache of messages that it makes
again and again: nodes are immutable, so an equal object gives an equal message.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from computepool.v1 import agent_pb2 as agent
from computepool.v1 import types_pb2 as types
from computepool_agents.model import JOURNALLED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from computepool_agents.model import Device, Held, Node

    _Entry = tuple[str, agent.NodeReport | agent.HeldLease | str, int]

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


@dataclass(frozen=True, slots=True)
class Difference:
    """What has changed since a report that was answered.

    Attributes:
        base: Number of that report.
        leases: Leases held since, or in another state.
        leases_gone: Ids of leases no longer held.
        nodes: Nodes that are new or different.
        nodes_gone: Names of nodes no longer there.
    """

    base: int
    leases: Sequence[Held] = ()
    leases_gone: Sequence[str] = ()
    nodes: Sequence[Node] = ()
    nodes_gone: Sequence[str] = ()

    @property
    def size(self) -> int:
        """Number of things that it names."""
        return len(self.leases) + len(self.leases_gone) + len(self.nodes) + len(self.nodes_gone)


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
        """Make one whole report.

        Args:
            heading: Goes on every part.
            leases: All leases held, refused or being torn down.
            nodes: All nodes; None says that they are as in the last report.
            with_records: Give the leases' whole records.

        Raises:
            ReportTooLargeError: It would need more than 1,000 parts.
        """
        entries = chain(
            _leases(leases, with_records=with_records), (self._node(node) for node in nodes or ())
        )
        parts = self._packed(heading, entries)
        for part in parts:
            part.nodes_unchanged = nodes is None
        if nodes is not None and len(self._made) > len(nodes):
            names = {node.name for node in nodes}
            self._made = {name: made for name, made in self._made.items() if name in names}
        return parts

    def difference(self, heading: Heading, changes: Difference) -> list[agent.SyncRequest]:
        """Make one report that names only what changed.

        Raises:
            ReportTooLargeError: It would need more than 1,000 parts.
        """
        entries = chain(
            _leases(changes.leases, with_records=False),
            (self._node(node) for node in changes.nodes),
            (("nodes_gone", name, len(name)) for name in changes.nodes_gone),
            (("leases_gone", name, len(name)) for name in changes.leases_gone),
        )
        parts = self._packed(heading, entries)
        for part in parts:
            part.delta, part.base_sequence = True, changes.base
        for name in changes.nodes_gone:
            self._made.pop(name, None)
        return parts

    def _packed(self, heading: Heading, entries: Iterable[_Entry]) -> list[agent.SyncRequest]:
        parts = [agent.SyncRequest()]
        room = self._part_bytes
        for kind, entry, size in entries:
            needed = size + _FRAMING_BYTES
            if needed > room and room < self._part_bytes:
                parts.append(agent.SyncRequest())
                room = self._part_bytes
            room -= needed
            getattr(parts[-1], kind).append(entry)
        if len(parts) > MAX_PARTS:
            raise ReportTooLargeError(f"the report would have {len(parts)} parts")
        for place, part in enumerate(parts):
            part.agent = heading.agent
            part.session = heading.session
            part.sequence = heading.sequence
            part.part = place
            part.parts = len(parts)
            part.applied_revision = heading.applied_revision
        return parts

    def _node(self, node: Node) -> _Entry:
        made = self._made.get(node.name)
        if made is None or made[0] is not node:
            message = node_message(node)
            made = self._made[node.name] = (node, message, message.ByteSize())
        return "nodes", made[1], made[2]


def _leases(leases: Iterable[Held], *, with_records: bool) -> Iterator[_Entry]:
    for lease in leases:
        message = lease_message(lease, with_record=with_records)
        yield "leases", message, message.ByteSize()


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
