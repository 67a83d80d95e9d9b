"""What a report says, and what its agent must do: the difference of two states. Pure.

There is no command queue. The ledger is the desired state, a report is one snapshot of the real
one; `commands` computes the difference anew for every answer, so that nothing is lost when
messages are lost, doubled or late.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.ledger.transaction import Blocker, PutNode
from computepool_broker.model.amounts import DEVICE_PREFIX
from computepool_broker.model.records import (
    Allocation,
    AllocationState,
    Device,
    NodeRecord,
    Part,
    PartState,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from computepool_broker.ledger.state import AgentBook, LedgerState
    from computepool_broker.model.amounts import Amounts
    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.request import Spec


class HeldState(IntEnum):
    """How an agent holds a lease; numbers as LeaseState on the wire."""

    ADMITTED = 2
    STARTED = 3
    REFUSED = 4
    RELEASING = 5
    STOPPED = 6


class HeldRecord(NamedTuple):
    """The whole record of a lease from an agent's journal."""

    lease_id: str
    allocation_id: str
    tenant: str
    request_id: str
    digest: bytes
    part_index: int
    part_count: int
    place_revision: int
    node: str
    model: str
    amounts: Amounts
    spec: Spec
    identity: str
    epoch: int
    revision: int
    description: str = ""
    labels: tuple[tuple[str, str], ...] = ()


class Held(NamedTuple):
    """A lease as an agent reports it."""

    lease_id: str
    state: HeldState
    reason: str = ""
    message: str = ""
    record: HeldRecord | None = None

    @property
    def bare(self) -> Held:
        """The same without its record."""
        return self if self.record is None else self._replace(record=None)


class Action(IntEnum):
    """What an agent is to do about a lease; numbers as LeaseAction on the wire."""

    ADMIT = 1
    START = 2
    REVOKE = 3


class Command(NamedTuple):
    """One line of the difference; ADMIT carries the records as they were then."""

    lease_id: str
    action: Action
    record: tuple[Allocation, Part] | None = None
    reason: str = ""


def command(
    state: LedgerState, agent: AgentBook, lease_id: str, has: Held | None
) -> Command | None:
    """What to do about one lease; `has` is how the agent holds it, if it does."""
    ref = agent.leases.get(lease_id)
    if ref is None:
        if has is None or has.state is HeldState.RELEASING:
            return None
        return Command(lease_id, Action.REVOKE, None, "UNKNOWN_LEASE")
    allocation, part = state.part(ref)
    if part.state is PartState.RELEASING:
        # Also when it holds nothing: only a report after this answer proves that.
        if has is None or has.state is not HeldState.RELEASING:
            return Command(lease_id, Action.REVOKE, None, allocation.end_reason.name)
    elif has is None:
        return Command(lease_id, Action.ADMIT, (allocation, part))
    elif has.state is HeldState.ADMITTED and allocation.state is AllocationState.ACTIVE:
        return Command(lease_id, Action.START)
    return None


def commands(
    state: LedgerState, agent: AgentBook, held: Mapping[str, Held], among: Iterable[str]
) -> list[Command]:
    """The difference between what the ledger wants on an agent's nodes and what it holds.

    Args:
        state: The tables.
        agent: Whose nodes.
        held: What it holds.
        among: Leases to look at; all others must be as they should be.
    """
    found = (command(state, agent, lease_id, held.get(lease_id)) for lease_id in among)
    return [line for line in found if line is not None]


def torn_down(
    state: LedgerState,
    agent: AgentBook,
    held: Container[str],
    applied_revision: int,
    among: Iterable[str],
) -> dict[str, list[int]]:
    """Parts, of those looked at, whose teardown is confirmed: allocation id to positions.

    Absence counts only if the agent has applied the revision that ended the lease: an older
    report may have been made before the lease reached it.
    """
    out: dict[str, list[int]] = {}
    for lease_id in among:
        ref = agent.leases.get(lease_id)
        if ref is None or lease_id in held:
            continue
        part = state.allocations[ref.allocation_id].parts[ref.position]
        if part.state is PartState.RELEASING and part.revision <= applied_revision:
            out.setdefault(ref.allocation_id, []).append(ref.position)
    return out


def node_changes(state: LedgerState, reports: Iterable[NodeRecord]) -> tuple[PutNode, ...]:
    """What reports of nodes change: new and different ones."""
    out = []
    for record in reports:
        book = state.nodes.get(record.name)
        if book is None:
            out.append(PutNode(record.name, record))
        elif book.record is not record:
            kept = _with_ghosts(record, book.record, book.used)
            if kept != book.record:
                out.append(PutNode(record.name, kept))
    return tuple(out)


def vanished(state: LedgerState, names: Iterable[str]) -> tuple[PutNode, ...]:
    """What it changes that nodes are no longer there: those with leases stay, as gone."""
    out = []
    for name in names:
        book = state.nodes[name]
        if _empty(book):
            out.append(PutNode(name, None))
        elif not book.record.gone:
            out.append(PutNode(name, book.record._replace(gone=True)))
    return tuple(out)


def emptied_nodes(state: LedgerState, agent: AgentBook) -> tuple[PutNode, ...]:
    """Nodes that had vanished and whose last lease is gone too: they leave the pool."""
    return tuple(PutNode(name, None) for name in sorted(agent.gone) if _empty(state.nodes[name]))


def _empty(book: NodeBook) -> bool:
    """Whether a node that vanished can be forgotten: not with leases, nor while it is cordoned.

    A node is cordoned to be worked on, vanishes meanwhile, and must come back cordoned.
    """
    return not book.leases and not book.blockers & Blocker.CORDONED


def _with_ghosts(record: NodeRecord, old: NodeRecord, used: Mapping[str, int]) -> NodeRecord:
    """Keep devices that vanished under leases, as unhealthy ones, until the leases end."""
    if record.devices == old.devices:
        return record
    present = {d.id for d in record.devices}
    ghosts = tuple(
        Device(d.id, d.model, d.memory_mib, healthy=False)
        for d in old.devices
        if d.id not in present and DEVICE_PREFIX + d.id in used
    )
    return record._replace(devices=record.devices + ghosts) if ghosts else record
