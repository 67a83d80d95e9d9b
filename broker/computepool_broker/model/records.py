"""Nodes, agents and allocations as the ledger keeps them. Pure.

Records are values: whoever changes one makes a new one and commits it. The one exception is
`revision`: only the commit knows it, so the commit fills it in, once, before anybody else sees
the record.

The life of an allocation (each arrow is one commit, see ledger/lifecycle.py):

    RESERVED --every part ADMITTED--> ACTIVE --release, expiry, failure--> RELEASING --> ENDED
        |                                                                     ^
        +--release, expiry, refused too often, admitted too late--------------+

The life of a part (a lease on one node):

    (an agent that has lost a STARTED part and admits it anew leads it back to ADMITTED)

    PENDING --agent admits--> ADMITTED --agent starts--> STARTED
       |  ^                       |                         |
       |  +-- re-placed: PENDING on another node, place_revision + 1
       +-------- allocation ends: RELEASING <---------------+
                                     |
                                     +--agent confirms teardown--> GONE
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from computepool_broker.model.amounts import Amounts, Resources
    from computepool_broker.model.request import Spec

NEW = 0
"""A revision that the commit will fill in."""


class AllocationState(IntEnum):
    """Numbers as on the wire."""

    RESERVED = 1
    ACTIVE = 2
    RELEASING = 3
    ENDED = 4


class EndReason(IntEnum):
    """How an allocation ended; numbers as on the wire."""

    NONE = 0
    RELEASED = 1
    EXPIRED = 2
    FAILED = 3
    LOST = 4
    REVOKED = 5


class PartState(IntEnum):
    """How far a lease has come in the ledger; numbers as LeaseState on the wire."""

    PENDING = 1
    ADMITTED = 2
    STARTED = 3
    RELEASING = 5
    GONE = 7


LIVE_STATES = frozenset({AllocationState.RESERVED, AllocationState.ACTIVE})
MOVING_STATES = frozenset({PartState.PENDING, PartState.RELEASING})
WANTED_STATES = frozenset({PartState.PENDING, PartState.ADMITTED, PartState.STARTED})


@dataclass(slots=True)
class Part:
    """One part of an allocation at its place.

    Attributes:
        amounts: What it holds on `node`, devices included.
        revision: The commit that last changed what its agent should do about it.
    """

    index: int
    place_revision: int
    node: str
    model: str
    amounts: Amounts
    state: PartState = PartState.PENDING
    revision: int = NEW

    def lease_id(self, allocation_id: str) -> str:
        """The lease's unique name."""
        return f"{allocation_id}.{self.index}.{self.place_revision}"

    def moved_to(self, state: PartState, *, fresh: bool) -> Part:
        """A copy in another state; `fresh` when its agent has to do something about it."""
        return replace(self, state=state, revision=NEW if fresh else self.revision)


@dataclass(slots=True)
class Allocation:
    """Committed amounts on named nodes for one tenant.

    Attributes:
        created_ms: Wall clock at the grant, in milliseconds since 1970; for people only.
        parts: In the order of their index; an adopted allocation can lack some.
        refusals: How often a part was refused and placed anew.
        flags: What an operator should know.
        revision: The commit of the last change.
    """

    id: str
    tenant: str
    request_id: str
    digest: bytes
    spec: Spec
    parts: tuple[Part, ...]
    created_ms: int
    description: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    state: AllocationState = AllocationState.RESERVED
    end_reason: EndReason = EndReason.NONE
    end_message: str = ""
    refusals: int = 0
    adopted: bool = False
    flags: tuple[str, ...] = ()
    revision: int = NEW

    @property
    def etag(self) -> str:
        """Changes with every commit of the allocation."""
        return f"{self.revision:x}"


class Device(NamedTuple):
    """One accelerator as its agent reports it; `foreign_milli` in thousandths."""

    id: str
    model: str
    memory_mib: int
    healthy: bool = True
    foreign_milli: int = 0


class NodeRecord(NamedTuple):
    """A node as its agent reports it.

    Attributes:
        gone: No longer in its agent's reports, kept because leases are on it.
    """

    name: str
    center: str
    region: str
    agent: str
    total: Resources
    reserved: Resources
    foreign: Resources
    devices: tuple[Device, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    unschedulable: bool = False
    gone: bool = False


class AgentRecord(NamedTuple):
    """An agent as it introduced itself in its last session.

    Attributes:
        broker: The broker that has its session, where several share a store.
    """

    name: str
    journal_id: str
    session: int
    center: str
    region: str
    role: str
    version: str = ""
    backend: str = ""
    broker: str = ""


class AgentState(IntEnum):
    """How an agent is doing; numbers as on the wire.

    RECONCILING --first complete report--> ACTIVE --silent--> DISCONNECTED --longer--> LOST
         ^------------------- OpenSession ----------------------+-------------------------+
    ACTIVE --CloseSession--> CLOSED
    """

    RECONCILING = 1
    ACTIVE = 2
    DISCONNECTED = 3
    LOST = 4
    CLOSED = 5
