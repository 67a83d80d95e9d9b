"""What agents say and are told, validated and free of the wire. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from computepool_broker.ledger.reconcile import Command, Held
    from computepool_broker.model.records import AgentRecord, NodeRecord


class Mark(NamedTuple):
    """Which commit of which life of which store."""

    identity: str
    epoch: int
    revision: int


class Open(NamedTuple):
    """A validated OpenSession."""

    record: AgentRecord
    protocol_version: int
    seen: Mark
    held_leases: int


class Report(NamedTuple):
    """A validated Sync, or one part of it."""

    agent: str
    session: int
    sequence: int
    part: int
    parts: int
    applied_revision: int
    held: list[Held]
    nodes: list[NodeRecord]
    nodes_unchanged: bool
    oldest_ms: int = 0


class Answer(NamedTuple):
    """What a report is answered with."""

    mark: Mark
    commands: list[Command]
    next_sync_ms: int
    least_gap_ms: int
    want_full: bool = False
    part_accepted: bool = False
