"""A transaction is data: what must hold, and what then changes. Pure.

A store checks and applies a transaction in one atomic step, or rejects it whole. The test is
fine-grained: "does it still fit", never "has anything changed".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from computepool_broker.model.amounts import Amounts
    from computepool_broker.model.records import (
        AgentRecord,
        AgentState,
        Allocation,
        NodeRecord,
    )


class Blocker:
    """Why a node takes no new grants, as bits; a node is schedulable when none is set."""

    CORDONED = 1
    CENTER_CORDONED = 2
    AGENT_NOT_ACTIVE = 4
    SUSPECT = 8
    UNSCHEDULABLE = 16
    GONE = 32
    CONFLICT = 64

    @classmethod
    def names(cls, bits: int) -> list[str]:
        """The names of the bits that are set."""
        return [name for name, bit in vars(cls).items() if isinstance(bit, int) and bits & bit]


class NodeAmounts(NamedTuple):
    """Amounts on one node. `forced` reserves without asking whether they fit (adoption)."""

    node: str
    amounts: Amounts
    forced: bool = False


class PutAllocation(NamedTuple):
    """Write a record (None deletes it), provided that the present one is as expected.

    Attributes:
        expected: Revision of the present record; 0 when there must be none.
    """

    id: str
    record: Allocation | None
    expected: int = 0


class PutNode(NamedTuple):
    """Write what an agent reported of a node; None takes the node out of the pool."""

    name: str
    record: NodeRecord | None


class SetBlockers(NamedTuple):
    """Set and clear bits of a node's blockers; `message` says why it is cordoned."""

    node: str
    set_bits: int = 0
    clear_bits: int = 0
    message: str = ""


class PutAgent(NamedTuple):
    """Write an agent and its state; None strikes it off."""

    name: str
    record: AgentRecord | None
    state: AgentState | None = None


class PutCenter(NamedTuple):
    """Cordon or uncordon a center."""

    name: str
    cordoned: bool
    message: str = ""


class Renewal(NamedTuple):
    """Count a renewal, provided that the record is as expected: renewing an ended lease must fail.

    Attributes:
        expected: Revision of the present record.
    """

    id: str
    expected: int


class EpochStart(NamedTuple):
    """A new epoch begins because continuity is in doubt.

    Attributes:
        epoch: The new one.
        known_through: The last revision of the life before that this store surely knows.
    """

    epoch: int
    known_through: int


class Transaction(NamedTuple):
    """What one commit does.

    Attributes:
        epoch: The epoch that it was planned in; another one rejects it.
        bind: Allocations whose (tenant, request_id) must be free, and is theirs from now on.
        sessions: Agents that must still have these sessions; 0 for one that must not be known.
        renew: Renewals to count; expiry is conditional on their number.
        unrenewed: Allocations that must have been renewed so often, and no oftener.
    """

    epoch: int
    puts: tuple[PutAllocation, ...] = ()
    bind: tuple[str, ...] = ()
    reserve: tuple[NodeAmounts, ...] = ()
    release: tuple[NodeAmounts, ...] = ()
    nodes: tuple[PutNode, ...] = ()
    blockers: tuple[SetBlockers, ...] = ()
    agents: tuple[PutAgent, ...] = ()
    centers: tuple[PutCenter, ...] = ()
    new_epoch: EpochStart | None = None
    sessions: tuple[tuple[str, int], ...] = ()
    renew: tuple[Renewal, ...] = ()
    unrenewed: tuple[tuple[str, int], ...] = ()


class RejectReason(Enum):
    """Why a transaction was rejected."""

    EPOCH = "EPOCH"
    RECORD_CHANGED = "RECORD_CHANGED"
    REQUEST_ID_TAKEN = "REQUEST_ID_TAKEN"
    NODE_UNKNOWN = "NODE_UNKNOWN"
    NOT_SCHEDULABLE = "NOT_SCHEDULABLE"
    NO_FIT = "NO_FIT"
    NODE_IN_USE = "NODE_IN_USE"
    SESSION = "SESSION"
    RENEWED = "RENEWED"


class Rejected(NamedTuple):
    """Nothing was changed, and why."""

    reason: RejectReason
    subject: str = ""
    key: str = ""
    missing: int = 0


@dataclass(slots=True)
class Committed:
    """It happened; with a shared store: it is assumed, until the verdict on its batch is there.

    Attributes:
        revision: The store's revision after it. Volatile changes (capacity, states of agents)
            do not raise it.
        undone: The verdict was that it did not happen.
    """

    revision: int
    undone: bool = field(default=False, compare=False)


Outcome = Committed | Rejected
