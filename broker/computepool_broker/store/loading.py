"""Filling the tables of the ledger from what a store kept. Pure.

Agents come back as DISCONNECTED: their nodes take no grants until they have reconciled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
    from collections.abc import Mapping

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.records import AgentRecord, Allocation, NodeRecord


class Tables(NamedTuple):
    """Everything that a store kept.

    Attributes:
        states: Of agents that other brokers may still speak with; all others are DISCONNECTED.
        suspects: Nodes that are suspect until their agent's next report.
    """

    identity: str
    epoch: int
    revision: int
    epochs: dict[int, int]
    agents: list[AgentRecord]
    centers: list[tuple[str, bool, str]]
    nodes: list[tuple[NodeRecord, bool, str]]
    allocations: list[Allocation]
    forgotten_through: int = 0
    states: Mapping[str, AgentState] = {}
    suspects: frozenset[str] = frozenset()
    renewals: Mapping[str, int] = {}


def fill(state: LedgerState, tables: Tables) -> None:
    """Fold the records into an empty state.

    Raises:
        KeyError: A record refers to one that is not there: the store is damaged.
    """
    state.identity, state.epoch = tables.identity, tables.epoch
    state.epochs = dict(tables.epochs)
    state.forgotten_through = tables.forgotten_through
    revision = state.opened_revision = tables.revision
    state.fold(
        Transaction(
            state.epoch,
            agents=tuple(
                PutAgent(a.name, a, tables.states.get(a.name, AgentState.DISCONNECTED))
                for a in tables.agents
            ),
            centers=tuple(PutCenter(*row) for row in tables.centers),
            nodes=tuple(PutNode(record.name, record) for record, _, _ in tables.nodes),
            blockers=tuple(
                SetBlockers(record.name, Blocker.CORDONED, 0, message)
                for record, cordoned, message in tables.nodes
                if cordoned
            )
            + tuple(SetBlockers(name, Blocker.SUSPECT) for name in sorted(tables.suspects)),
        ),
        revision,
    )
    state.renewals = dict(tables.renewals)
    for allocation in tables.allocations:
        kept = allocation.revision
        state.fold(
            Transaction(
                state.epoch,
                puts=(PutAllocation(allocation.id, allocation),),
                reserve=tuple(
                    NodeAmounts(part.node, part.amounts, forced=True)
                    for part in allocation.parts
                    if part.state is not PartState.GONE
                ),
            ),
            revision,
        )
        allocation.revision = kept
        # Of several allocations with one request_id (an adopted one can be flagged for it) the
        # one that was bound first keeps it.
        if allocation.request_id and not any("request_id" in f for f in allocation.flags):
            state.request_ids[allocation.tenant, allocation.request_id] = allocation.id
    state.take_touched()
