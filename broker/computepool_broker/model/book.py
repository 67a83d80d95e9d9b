"""A node's page in the books: its capacity, and what is granted on it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from computepool_broker.model.amounts import (
    CPU,
    DISK,
    EXTRA_PREFIX,
    MEMORY,
)

if TYPE_CHECKING:
    from computepool_broker.model.records import NodeRecord


def capacity_of(node: NodeRecord) -> dict[str, int]:
    """`total - reserved - foreign` under every key; an unhealthy device has 0, so has a gone node.

    Values can be negative when more is foreign than there is: nothing fits then.
    """
    if node.gone:
        return {}
    total, reserved, foreign = node.total, node.reserved, node.foreign
    taken_mib = reserved.disk_mib + foreign.disk_mib
    out = {
        CPU: total.cpu_milli - reserved.cpu_milli - foreign.cpu_milli,
        MEMORY: total.memory_mib - reserved.memory_mib - foreign.memory_mib,
        DISK: total.disk_mib - taken_mib if taken_mib else total.disk_mib,
    }
    out.update(zip(node.devices.keys, node.devices.capacity_milli, strict=True))
    for name, amount in total.extras:
        out[EXTRA_PREFIX + name] = amount
    for name, amount in (*reserved.extras, *foreign.extras):
        out[EXTRA_PREFIX + name] = out.get(EXTRA_PREFIX + name, 0) - amount
    return out


def only_foreign_differs(old: NodeRecord, new: NodeRecord) -> bool:
    """Whether a report has changed at most what others use besides devices; a "no" may be wrong.

    By which objects they are: a record that was read before keeps all that is as it was.
    """
    return (
        old.devices is new.devices
        and old.total is new.total
        and old.reserved is new.reserved
        and old.labels is new.labels
        and old.gone == new.gone
        and old.unschedulable == new.unschedulable
        and old[:4] == new[:4]  # name, center, region, agent
    )


@dataclass(slots=True)
class NodeBook:
    """A node and what is granted on it.

    Attributes:
        capacity: See capacity_of.
        used: Sum of the amounts of all parts here that are not GONE.
        blockers: Bits of Blocker.
        leases: Number of parts here that are not GONE.
        conflicts: Number of parts here whose allocation is flagged.
        message: Why it is cordoned, for people.
        row: The view's row of this node; -1 before it has one.
        only_blockers: Set while the view is told of a change of blockers alone: all nodes of an
            agent change so at once, and their amounts need no second look.
    """

    record: NodeRecord
    capacity: dict[str, int]
    used: dict[str, int] = field(default_factory=dict)
    blockers: int = 0
    leases: int = 0
    conflicts: int = 0
    message: str = ""
    row: int = -1
    only_blockers: bool = False

    def follow(self, record: NodeRecord) -> None:
        """Take what a newer report says."""
        old, self.record = self.record, record
        plain = not (record.gone or record.foreign.extras or old.foreign.extras)
        if plain and only_foreign_differs(old, record):
            capacity, was, now = self.capacity, old.foreign, record.foreign
            capacity[CPU] += was.cpu_milli - now.cpu_milli
            capacity[MEMORY] += was.memory_mib - now.memory_mib
            capacity[DISK] += was.disk_mib - now.disk_mib
        else:
            self.capacity = capacity_of(record)
