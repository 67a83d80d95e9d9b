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

from computepool_broker.model.amounts import DEVICE_PREFIX, WHOLE_DEVICE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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


class Devices:
    """The devices of a node, in the order of their report.

    Kept as columns: a pool has a million devices, whose ids are unlike, while all else of a node's
    devices is as it is on a thousand other nodes and can be one value for all of them. Whoever
    reads one gets a Device made for the purpose.

    Attributes:
        keys: What amounts call each of them: DEVICE_PREFIX and its id.
        models: Of each.
        memories_mib: Of each.
        healthy: Of each.
        foreign_milli: Of each.
    """

    __slots__ = ("foreign_milli", "healthy", "keys", "memories_mib", "models")

    def __init__(
        self,
        keys: tuple[str, ...],
        models: tuple[str, ...],
        memories_mib: tuple[int, ...],
        healthy: tuple[bool, ...],
        foreign_milli: tuple[int, ...],
    ) -> None:
        self.keys = keys
        self.models = models
        self.memories_mib = memories_mib
        self.healthy = healthy
        self.foreign_milli = foreign_milli

    @classmethod
    def of(cls, devices: Iterable[Device]) -> Devices:
        """The same from single ones."""
        rows = list(devices)
        if not rows:
            return NO_DEVICES
        ids, models, memories_mib, healthy, foreign_milli = zip(*rows, strict=True)
        keys = tuple([DEVICE_PREFIX + name for name in ids])
        return cls(keys, models, memories_mib, healthy, foreign_milli)

    @property
    def capacity_milli(self) -> list[int]:
        """Thousandths of each that others leave to us; 0 of an unhealthy one."""
        if not any(self.foreign_milli) and all(self.healthy):
            return [WHOLE_DEVICE] * len(self.keys)
        return [
            # Not a thousand of its own for each: most devices are whole.
            (WHOLE_DEVICE - foreign if foreign else WHOLE_DEVICE) if healthy else 0
            for healthy, foreign in zip(self.healthy, self.foreign_milli, strict=True)
        ]

    def sharing(self, other: Devices) -> Devices:
        """Equal to these, made of the other's values where they are equal."""
        if self == other:
            return other
        return Devices(
            other.keys if self.keys == other.keys else self.keys,
            other.models if self.models == other.models else self.models,
            other.memories_mib if self.memories_mib == other.memories_mib else self.memories_mib,
            self.healthy,
            self.foreign_milli,
        )

    def _columns(self) -> tuple[tuple[object, ...], ...]:
        return self.keys, self.models, self.memories_mib, self.healthy, self.foreign_milli

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, at: int) -> Device:
        return Device(
            self.keys[at][len(DEVICE_PREFIX) :],
            self.models[at],
            self.memories_mib[at],
            self.healthy[at],
            self.foreign_milli[at],
        )

    def __iter__(self) -> Iterator[Device]:
        return map(self.__getitem__, range(len(self.keys)))

    def __add__(self, others: Iterable[Device]) -> Devices:
        return Devices.of((*self, *others))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Devices) and self._columns() == other._columns()

    def __hash__(self) -> int:
        return hash(self._columns())

    def __repr__(self) -> str:
        return f"Devices.of({list(self)!r})"


NO_DEVICES = Devices((), (), (), (), ())


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
    devices: Devices = NO_DEVICES
    labels: tuple[tuple[str, str], ...] = ()
    unschedulable: bool = False
    gone: bool = False


class AgentRecord(NamedTuple):
    """An agent as it introduced itself in its last session."""

    name: str
    journal_id: str
    session: int
    center: str
    region: str
    role: str
    version: str = ""
    backend: str = ""


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
