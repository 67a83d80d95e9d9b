"""What an answer of the broker means: whether to apply it, and what applying it does.

May import model, admission, book and the generated protos. Pure.

An answer is the difference between the ledger and one report. It may be old: delivered late,
twice, or by a broker whose store went back in time. Hence:

    epoch below the highest ever seen, or another store whose epoch is not above it
        -> REOPEN: a new session shows the broker our mark, and it raises its own above it
    revision not above the one applied whole in this session, or below the highest ever seen of
    this epoch, with commands
        -> IGNORE
    else -> APPLY

All brokers over one store count its commits together. So one whose view is a little behind what
another has told knows less than this agent: what it commands is not what the ledger wants now.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from computepool.v1 import agent_pb2 as agent
from computepool.v1 import types_pb2 as types
from computepool_agents import admission
from computepool_agents.model import (
    ADMITTED,
    REFUSED,
    RELEASING,
    STARTED,
    STOPPED,
    Change,
    Held,
    Mark,
    Node,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from computepool_agents.book import Book

MAX_COMMANDS = 100_000
MAX_COUNT = (1 << 63) - 1  # what the journal can hold


class Verdict(enum.Enum):
    """What to do with an answer."""

    APPLY = "apply"
    IGNORE = "ignore"
    REOPEN = "reopen"


def continues(mark: Mark, seen: Mark | None) -> bool:
    """Say whether a store's mark may follow on the highest one ever seen.

    The same store may stand still or go on; another store must have raised its epoch above it.
    """
    if seen is None:
        return True
    if mark.identity == seen.identity:
        return mark.epoch >= seen.epoch
    return mark.epoch > seen.epoch


def verdict(
    answer: agent.SyncResponse, seen: Mark | None, identity: str, applied_revision: int
) -> Verdict:
    """Decide whether an answer counts.

    Args:
        answer: The broker's answer to a complete report.
        seen: The highest mark ever seen.
        identity: The store that the session was opened with.
        applied_revision: Of the newest answer applied whole in this session; 0 before the first.
    """
    mark = Mark.of(answer.mark)
    if not continues(mark, seen) or mark.identity != identity:
        return Verdict.REOPEN
    if len(answer.commands) > MAX_COMMANDS or max(mark.epoch, mark.revision) > MAX_COUNT:
        return Verdict.REOPEN
    behind = seen is not None and mark.is_behind(seen)
    if answer.commands and (behind or mark.revision <= applied_revision):
        return Verdict.IGNORE
    return Verdict.APPLY


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying an answer does.

    Attributes:
        change: For the journal: admissions, teardowns begun, leases forgotten, the mark.
        refused: Leases said no to now, as reported until REVOKE arrives.
        forgotten: Ids of earlier refusals that the broker has dealt with.
        starts: Leases to make real; their new state is known when that is done.
        teardowns: Leases to tear down, already RELEASING in `change`.
        kept: Whether the journal had room for `change`; else nothing of that counts.
    """

    change: Change
    refused: tuple[Held, ...] = ()
    forgotten: tuple[str, ...] = ()
    starts: tuple[Held, ...] = ()
    teardowns: tuple[Held, ...] = ()
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Arbiter:
    """What admission rests on.

    Attributes:
        book: The leases held.
        refused: Ids of leases refused in this session.
        nodes: The nodes by name, measured last.
        veto: The local engine's own reason against a lease, or None.
        lack: Why the journal takes no more leases now; empty while it does.
    """

    book: Book
    refused: Mapping[str, Held]
    nodes: Mapping[str, Node]
    veto: Callable[[types.LeaseRecord], admission.Refusal | None]
    lack: str = ""

    def plan(self, answer: agent.SyncResponse) -> Plan:
        """Work out what an answer with verdict APPLY does.

        Revocations come first but free nothing yet: a lease counts until it is torn down.
        """
        mark = Mark.of(answer.mark)
        by_action = _sorted(answer.commands)
        forgotten, drops, teardowns = self._revoke(by_action[agent.LEASE_ACTION_REVOKE])
        admitted, refused = self._admit(by_action[agent.LEASE_ACTION_ADMIT], mark)
        ended = {lease.lease_id for lease in teardowns}
        starts = [
            held
            for command in by_action[agent.LEASE_ACTION_START]
            if (held := self.book.held.get(command.lease_id))
            and held.state == ADMITTED
            and held.lease_id not in ended
        ]
        change = Change(
            puts=(*admitted, *teardowns),
            drops=tuple(drops),
            mark=mark if mark.is_above(self.book.seen) else None,
        )
        return Plan(change, tuple(refused), tuple(forgotten), tuple(starts), tuple(teardowns))

    def _revoke(
        self, commands: Iterable[agent.LeaseCommand]
    ) -> tuple[list[str], list[str], list[Held]]:
        forgotten, drops, teardowns = [], [], []
        for command in commands:
            held = self.book.held.get(command.lease_id)
            if command.lease_id in self.refused:
                forgotten.append(command.lease_id)
            if held is not None and held.state == STOPPED:
                drops.append(held.lease_id)
            elif held is not None and held.state in {ADMITTED, STARTED}:
                teardowns.append(replace(held, state=RELEASING, reason=command.reason))
        return forgotten, drops, teardowns

    def _admit(
        self, commands: Iterable[agent.LeaseCommand], mark: Mark
    ) -> tuple[list[Held], list[Held]]:
        highest = max(mark.epoch, self.book.seen.epoch if self.book.seen else 0)
        admitted: list[Held] = []
        loads: dict[str, admission.Load] = {}
        known = set(self.refused)
        refused: list[Held] = []
        for command in commands:
            record = command.record
            if command.lease_id in known or command.lease_id in self.book.held:
                continue
            known.add(command.lease_id)
            load = loads.get(record.node)
            if load is None:
                on_node = self.book.on_node(record.node).values()
                load = loads[record.node] = admission.Load.of(on_node)
            refusal = self._judge(command, load, highest)
            if refusal is None:
                admitted.append(Held(record, ADMITTED))
                load.add(admitted[-1])
            else:
                refused.append(_refused(command, refusal))
        return admitted, refused

    def _judge(
        self, command: agent.LeaseCommand, on_node: admission.Load, highest_epoch: int
    ) -> admission.Refusal | None:
        if command.record.lease_id != command.lease_id:
            message = f"record.lease_id is {command.record.lease_id!r}, not {command.lease_id!r}"
            return admission.Refusal(admission.MALFORMED, message)
        if self.lack:
            return admission.Refusal(admission.JOURNAL_FULL, self.lack)
        refusal = admission.judge(command.record, self.nodes, on_node, highest_epoch)
        return refusal or self.veto(command.record)


def _refused(command: agent.LeaseCommand, refusal: admission.Refusal) -> Held:
    # Hardly more than the id is kept: a record that was refused may be malformed.
    record = types.LeaseRecord(lease_id=command.lease_id, node=command.record.node)
    return Held(record, REFUSED, refusal.reason, refusal.message)


def _sorted(
    commands: Iterable[agent.LeaseCommand],
) -> dict[agent.LeaseAction, list[agent.LeaseCommand]]:
    actions = (
        agent.LEASE_ACTION_ADMIT,
        agent.LEASE_ACTION_START,
        agent.LEASE_ACTION_REVOKE,
    )
    result: dict[agent.LeaseAction, list[agent.LeaseCommand]] = {a: [] for a in actions}
    for command in commands:
        if command.action in result:
            result[command.action].append(command)
    return result
