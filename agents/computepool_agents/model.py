"""The words of the agent as values: amounts, devices, nodes, held leases, marks.

May import the generated protos (as plain data). Pure: no I/O, no clock.

The life of a lease as its agent holds it:

    ADMIT ──fits──> ADMITTED ──START──> STARTED ──REVOKE──> RELEASING ──torn down──> (forgotten)
      │                │                   │
      │                └──contact lost, ───┴──> STOPPED ──REVOKE──> (forgotten)
      │                   start failed
      └──does not──> REFUSED ──REVOKE──> (forgotten)

REFUSED lives in memory and only for a session; all others live in the journal. A REVOKE of an
ADMITTED lease leads to RELEASING as well: its start may be under way. Every journalled state
counts against the node until the lease is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from computepool.v1 import types_pb2 as types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ADMITTED = types.LEASE_STATE_ADMITTED
STARTED = types.LEASE_STATE_STARTED
REFUSED = types.LEASE_STATE_REFUSED
RELEASING = types.LEASE_STATE_RELEASING
STOPPED = types.LEASE_STATE_STOPPED

JOURNALLED = frozenset({ADMITTED, STARTED, RELEASING, STOPPED})
WHOLE_DEVICE_MILLI = 1000
MAX_AMOUNT = (1 << 53) - 1  # sums of many stay far below what an int64 on the wire holds


@dataclass(frozen=True, slots=True)
class Amounts:
    """Resources of a node besides devices; integers, in the units of their names."""

    cpu_milli: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    extras: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, resources: types.Resources) -> Self:
        """Read amounts off the wire."""
        return cls(
            resources.cpu_milli,
            resources.memory_mib,
            resources.disk_mib,
            dict(resources.extras),
        )

    def message(self) -> types.Resources:
        """Give the amounts as they go on the wire."""
        return types.Resources(
            cpu_milli=self.cpu_milli,
            memory_mib=self.memory_mib,
            disk_mib=self.disk_mib,
            extras=self.extras,
        )

    def plus(self, other: Amounts) -> Amounts:
        """Add, name by name."""
        return self._combined(other, 1)

    def minus(self, other: Amounts) -> Amounts:
        """Subtract, name by name; the result can be negative."""
        return self._combined(other, -1)

    def at_least_zero(self) -> Amounts:
        """Raise what is negative to 0."""
        return Amounts(
            max(0, self.cpu_milli),
            max(0, self.memory_mib),
            max(0, self.disk_mib),
            {name: max(0, amount) for name, amount in self.extras.items()},
        )

    def named(self) -> dict[str, int]:
        """Give all amounts by name; an extra's name stands behind "extras."."""
        plain = {
            "cpu_milli": self.cpu_milli,
            "memory_mib": self.memory_mib,
            "disk_mib": self.disk_mib,
        }
        return plain | {f"extras.{name}": amount for name, amount in self.extras.items()}

    def beyond(self, room: Amounts) -> dict[str, int]:
        """Name what does not fit into the room, and by how much.

        An amount of 0 always fits: asking for nothing of an over-full resource is no harm.
        """
        have = room.named()
        return {
            name: need - have.get(name, 0)
            for name, need in self.named().items()
            if need > 0 and need > have.get(name, 0)
        }

    def _combined(self, other: Amounts, sign: int) -> Amounts:
        names = self.extras.keys() | other.extras.keys()
        return Amounts(
            self.cpu_milli + sign * other.cpu_milli,
            self.memory_mib + sign * other.memory_mib,
            self.disk_mib + sign * other.disk_mib,
            {n: self.extras.get(n, 0) + sign * other.extras.get(n, 0) for n in sorted(names)},
        )


def total_of(amounts: Iterable[Amounts]) -> Amounts:
    """Sum amounts."""
    result = Amounts()
    for each in amounts:
        result = result.plus(each)
    return result


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, by its own stable id.

    Attributes:
        id: The device's UUID; unique in its node.
        model: In the catalogue's spelling where known.
        memory_mib: Memory of the device, in MiB.
        healthy: Whether it can be used.
        foreign_milli: Used by others than the pool, in thousandths, 0 to 1000.
    """

    id: str
    model: str
    memory_mib: int
    healthy: bool = True
    foreign_milli: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """A server as its backend measured it. Never says "free".

    Attributes:
        name: Unique in the pool.
        total: What it has.
        reserved: Held back for the system.
        foreign: Used by others than the pool.
        devices: All its devices.
        labels: What requests can ask for.
        unschedulable: The local engine takes no new work.
    """

    name: str
    total: Amounts
    reserved: Amounts = field(default_factory=Amounts)
    foreign: Amounts = field(default_factory=Amounts)
    devices: tuple[Device, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    unschedulable: bool = False


def closed(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Give the same nodes as ones that take no new work."""
    return tuple(replace(node, unschedulable=True) for node in nodes)


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as this agent holds it: the whole record, and how far it has come."""

    record: types.LeaseRecord
    state: types.LeaseState
    reason: str = ""
    message: str = ""

    @property
    def lease_id(self) -> str:
        """The lease's unique name."""
        return self.record.lease_id


@dataclass(frozen=True, slots=True)
class Mark:
    """Which life of which store, and which commit of it."""

    identity: str
    epoch: int
    revision: int

    @classmethod
    def of(cls, message: types.StoreMark) -> Self:
        """Read a mark off the wire."""
        return cls(message.identity, message.epoch, message.revision)

    def message(self) -> types.StoreMark:
        """Give the mark as it goes on the wire."""
        return types.StoreMark(identity=self.identity, epoch=self.epoch, revision=self.revision)

    def is_above(self, other: Mark | None) -> bool:
        """Say whether this is the higher one: by epoch, then by revision."""
        return other is None or (self.epoch, self.revision) > (other.epoch, other.revision)

    def is_behind(self, other: Mark) -> bool:
        """Say whether this is an earlier commit of the same life of the same store."""
        same = (self.identity, self.epoch) == (other.identity, other.epoch)
        return same and self.revision < other.revision


@dataclass(frozen=True, slots=True)
class Contact:
    """A moment on a clock that counts suspend.

    Attributes:
        boot_id: The boot that the clock belongs to.
        at_s: Seconds on that clock.
    """

    boot_id: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Change:
    """What one journal commit does, all or nothing.

    Attributes:
        puts: Leases to write, new or with a new state.
        drops: Ids of leases to forget.
        mark: The new highest mark, when it rose.
        contact: When the last answered Sync was sent, when that is news.
    """

    puts: tuple[Held, ...] = ()
    drops: tuple[str, ...] = ()
    mark: Mark | None = None
    contact: Contact | None = None
