"""Bringing tables that are in use to what a store now holds. Pure.

For a broker that fell too far behind, and for one whose store is not what it was: another primary,
an older copy, an empty one. What is the same stays as it is, so that those who follow the tables
(the view, watchers, doorbells) hear of differences only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.ledger.transaction import (
    Blocker,
    NodeAmounts,
    PutAgent,
    PutAllocation,
    PutCenter,
    PutNode,
    SetBlockers,
    Transaction,
)
from computepool_broker.model.records import AgentState, PartState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.records import Allocation
    from computepool_broker.store.loading import Tables


def resync(state: LedgerState, tables: Tables) -> list[Allocation]:
    """Make `state` say what `tables` say; `state.touched` then names what differs.

    Returns:
        Allocations that are not there any more.
    """
    state.identity, state.epoch = tables.identity, tables.epoch
    state.epochs = dict(tables.epochs)
    state.opened_revision = tables.revision
    there = {a.id: a for a in tables.allocations}
    lost = [a for key, a in state.allocations.items() if key not in there]
    _fold(state, agents=tuple(_agents(state, tables)))
    _fold(state, centers=tuple(_centers(state, tables)))
    _fold(state, nodes=tuple(_nodes(state, tables)))
    for allocation in lost:
        _replace(state, allocation.id, None)
    for allocation in tables.allocations:
        if state.allocations.get(allocation.id) != allocation:
            _replace(state, allocation.id, allocation)
    _bind(state, tables)
    _fold(state, blockers=tuple(_blockers(state, tables)))
    _drop_what_left(state, tables)
    state.renewals = dict(tables.renewals)
    state.forgotten_through = tables.forgotten_through
    state.revision = tables.revision
    return lost


def _fold(state: LedgerState, **changes: tuple[object, ...]) -> None:
    if any(changes.values()):
        state.fold(Transaction(state.epoch, **changes), state.revision)  # type: ignore[arg-type]


def _agents(state: LedgerState, tables: Tables) -> Iterable[PutAgent]:
    for record in tables.agents:
        book = state.agents.get(record.name)
        doing = tables.states.get(record.name, AgentState.DISCONNECTED)
        if book is None or book.record != record or book.state is not doing:
            yield PutAgent(record.name, record, doing)


def _centers(state: LedgerState, tables: Tables) -> Iterable[PutCenter]:
    named = {name for name, _, _ in tables.centers}
    for name, cordoned, message in tables.centers:
        book = state.centers.get(name)
        if book is None or (book.cordoned, book.message) != (cordoned, message):
            yield PutCenter(name, cordoned, message)
    for name, book in state.centers.items():
        if name not in named and book.cordoned:
            yield PutCenter(name, cordoned=False)


def _nodes(state: LedgerState, tables: Tables) -> Iterable[PutNode]:
    for record, _, _ in tables.nodes:
        book = state.nodes.get(record.name)
        if book is None or book.record != record:
            yield PutNode(record.name, record)


def _blockers(state: LedgerState, tables: Tables) -> Iterable[SetBlockers]:
    mine = Blocker.CORDONED | Blocker.SUSPECT
    for record, cordoned, message in tables.nodes:
        bits = (Blocker.CORDONED if cordoned else 0) | (
            Blocker.SUSPECT if record.name in tables.suspects else 0
        )
        book = state.nodes[record.name]
        if book.blockers & mine != bits or book.message != message:
            yield SetBlockers(record.name, bits, mine & ~bits, message)


def _replace(state: LedgerState, key: str, record: Allocation | None) -> None:
    """Put a record as it is, with its amounts."""
    old = state.allocations.get(key)
    revision = record.revision if record is not None else state.revision
    state.fold(
        Transaction(
            state.epoch,
            puts=(PutAllocation(key, record),),
            release=_amounts(old),
            reserve=_amounts(record),
        ),
        revision,
    )


def _amounts(record: Allocation | None) -> tuple[NodeAmounts, ...]:
    if record is None:
        return ()
    return tuple(
        NodeAmounts(part.node, part.amounts, forced=True)
        for part in record.parts
        if part.state is not PartState.GONE
    )


def _bind(state: LedgerState, tables: Tables) -> None:
    """Of several allocations with one request_id the one that was bound first keeps it."""
    state.request_ids = {
        (a.tenant, a.request_id): a.id
        for a in tables.allocations
        if a.request_id and not any("request_id" in flag for flag in a.flags)
    }


def _drop_what_left(state: LedgerState, tables: Tables) -> None:
    named = {record.name for record, _, _ in tables.nodes}
    _fold(state, nodes=tuple(PutNode(name, None) for name in state.nodes if name not in named))
    agents = {record.name for record in tables.agents}
    _fold(state, agents=tuple(PutAgent(name, None) for name in state.agents if name not in agents))
    listed = {name for name, _, _ in tables.centers}
    for name in [name for name in state.centers if name not in listed]:
        del state.centers[name]
