"""Filling the tables of the ledger from what a store kept. Pure.

Agents come back as DISCONNECTED: their nodes take no grants until they have reconciled.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

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
    from collections.abc import Iterable, Iterator

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.amounts import Amounts
    from computepool_broker.model.records import AgentRecord, Allocation, NodeRecord

T = TypeVar("T")
AT_ONCE = 1_000
"""Records in one fold."""


class Tables(NamedTuple):
    """Everything that a store kept. Nodes and allocations are read as they are needed."""

    identity: str
    epoch: int
    revision: int
    epochs: dict[int, int]
    agents: list[AgentRecord]
    centers: list[tuple[str, bool, str]]
    nodes: Iterable[tuple[NodeRecord, bool, str]]
    allocations: Iterable[Allocation]
    forgotten_through: int = 0


@contextmanager
def collecting_later() -> Iterator[None]:
    """While a store is loaded nothing is garbage, and looking for it takes as long as the rest."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # All of it counts as old from now on: not as new, to be looked at with the next object.
        gc.freeze()
        gc.unfreeze()
        if was_on:
            gc.enable()


def fill(state: LedgerState, tables: Tables) -> None:
    """Fold the records into an empty state.

    Raises:
        KeyError: A record refers to one that is not there: the store is damaged.
    """
    state.identity, state.epoch = tables.identity, tables.epoch
    state.epochs = dict(tables.epochs)
    state.forgotten_through = tables.forgotten_through
    state.opened_revision = tables.revision
    state.fold(
        Transaction(
            state.epoch,
            agents=tuple(PutAgent(a.name, a, AgentState.DISCONNECTED) for a in tables.agents),
            centers=tuple(PutCenter(*row) for row in tables.centers),
        ),
        tables.revision,
    )
    for nodes in _chunks(tables.nodes):
        _fill_nodes(state, nodes, tables.revision)
    for allocations in _chunks(tables.allocations):
        _fill_allocations(state, allocations, tables.revision)
    for agent in state.agents.values():
        agent.changed.clear()  # it has been told of nothing yet: its first report is compared whole
    state.take_touched()


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    source = iter(items)
    while chunk := list(islice(source, AT_ONCE)):
        yield chunk


def _fill_nodes(
    state: LedgerState, nodes: list[tuple[NodeRecord, bool, str]], revision: int
) -> None:
    state.fold(
        Transaction(
            state.epoch,
            nodes=tuple([PutNode(record.name, record) for record, _, _ in nodes]),
            blockers=tuple(
                [
                    SetBlockers(record.name, Blocker.CORDONED, 0, message)
                    for record, cordoned, message in nodes
                    if cordoned
                ]
            ),
        ),
        revision,
    )


def _fill_allocations(state: LedgerState, allocations: list[Allocation], revision: int) -> None:
    kept = [allocation.revision for allocation in allocations]
    reserve = []
    for allocation in allocations:
        for part in allocation.parts:
            if part.state is not PartState.GONE:
                part.amounts = _as_on_node(state, part.node, part.amounts)
                reserve.append(NodeAmounts(part.node, part.amounts, forced=True))
    puts = tuple([PutAllocation(allocation.id, allocation) for allocation in allocations])
    state.fold(Transaction(state.epoch, puts=puts, reserve=tuple(reserve)), revision)
    for allocation, own in zip(allocations, kept, strict=True):
        allocation.revision = own
        # Of several allocations with one request_id (an adopted one can be flagged for it) the
        # one that was bound first keeps it.
        if allocation.request_id and not any("request_id" in f for f in allocation.flags):
            state.request_ids[allocation.tenant, allocation.request_id] = allocation.id
    state.take_touched()


def _as_on_node(state: LedgerState, node: str, amounts: Amounts) -> Amounts:
    """The same amounts; their devices' keys are the node's own values."""
    keys = state.nodes[node].record.devices.keys
    return tuple(
        [(keys[keys.index(pair[0])], pair[1]) if pair[0] in keys else pair for pair in amounts]
    )
