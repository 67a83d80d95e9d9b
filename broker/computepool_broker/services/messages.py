"""What agents say and are told, validated and free of the wire. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.ledger.adoption import ADOPTABLE

if TYPE_CHECKING:
    from computepool_broker.ledger.reconcile import Command, Held
    from computepool_broker.model.records import AgentRecord, NodeRecord


@dataclass(slots=True)
class Mark:
    """Which commit of which life of which store.

    In an answer to an agent it is filled in by the commit (services/committer.py): `revision` can
    still move while others may come first.
    """

    identity: str
    epoch: int
    revision: int
    agent: str = field(default="", compare=False)


class Open(NamedTuple):
    """A validated OpenSession."""

    record: AgentRecord
    protocol_version: int
    seen: Mark
    held_leases: int


class Report(NamedTuple):
    """A validated Sync, or one part of it.

    Attributes:
        oldest_ms: Age of the oldest number in it, in milliseconds.
        delta: It names only what changed since the report `base_sequence`.
        nodes_gone: With `delta`: nodes that are no longer there.
        leases_gone: With `delta`: leases that are no longer held.
    """

    agent: str
    session: int
    sequence: int
    part: int
    parts: int
    applied_revision: int
    held: list[Held]
    nodes: list[NodeRecord]
    nodes_unchanged: bool
    oldest_ms: int
    delta: bool
    base_sequence: int
    nodes_gone: list[str]
    leases_gone: list[str]

    @property
    def says_nothing_new(self) -> bool:
        """Whether all is as in the report that it is based on."""
        return self.delta and not (self.held or self.nodes or self.nodes_gone or self.leases_gone)

    @property
    def incomplete(self) -> bool:
        """Whether it lacks something that the first of a session must say to be reconciled."""
        return (
            self.delta
            or self.nodes_unchanged
            or any(h.record is None and h.state in ADOPTABLE for h in self.held)
        )


class Idle(NamedTuple):
    """A whole difference that names nothing: most reports are such."""

    agent: str
    session: int
    sequence: int
    applied_revision: int
    base_sequence: int


class Answer(NamedTuple):
    """What a report is answered with."""

    mark: Mark
    commands: list[Command]
    next_sync_ms: int
    least_gap_ms: int
    want_full: bool = False
    part_accepted: bool = False
    more: bool = False
