"""Taking folds back: what was assumed of a batch, and turned out otherwise. Pure.

A store that several brokers share decides at its server. A broker that planned a batch has folded
it already; when others came first, or part of it was rejected, the folds are taken back in the
opposite order, and what really happened is folded then.

What is only told to others is not taken back: the sets of what to look at again (`changed`,
`moved`, `touched`) may name too much, never too little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.ledger.state import AgentBook, CenterBook, LedgerState
from computepool_broker.ledger.transaction import Blocker, PutCenter, Transaction
from computepool_broker.model.amounts import add, subtract
from computepool_broker.model.records import AgentRecord, AgentState

if TYPE_CHECKING:
    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.records import Allocation, NodeRecord

KEPT = Blocker.CORDONED | Blocker.SUSPECT
"""Blockers that are set for themselves; the others follow from agents, centers, records and flags."""


class _Node(NamedTuple):
    book: NodeBook
    record: NodeRecord
    blockers: int
    message: str


class _Agent(NamedTuple):
    book: AgentBook
    record: AgentRecord
    state: AgentState


class Before(NamedTuple):
    """What a transaction is about to replace; None where there was nothing."""

    tx: Transaction
    revision: int
    forgotten_through: int
    epoch: tuple[int, dict[int, int]] | None
    agents: list[tuple[str, _Agent | None]]
    centers: list[tuple[str, CenterBook | None]]
    nodes: list[tuple[str, _Node | None]]
    allocations: list[tuple[str, Allocation | None]]
    bound: list[tuple[tuple[str, str], str | None]]
    renewals: list[tuple[str, int]]


def look(state: LedgerState, tx: Transaction) -> Before:
    """Remember what `tx` is about to replace, just before it is folded."""
    allocations = [(put.id, state.allocations.get(put.id)) for put in tx.puts]
    return Before(
        tx,
        state.revision,
        state.forgotten_through,
        (state.epoch, dict(state.epochs)) if tx.new_epoch is not None else None,
        [(put.name, _agent(state, put.name)) for put in tx.agents],
        [(put.name, state.centers.get(put.name)) for put in tx.centers],
        [(name, _node(state, name)) for name in _node_names(tx)],
        allocations,
        _bound(state, tx, allocations),
        [(key, state.renewals.get(key, 0)) for key in _renewed(tx)],
    )


def take_back(state: LedgerState, before: Before) -> None:
    """Undo the fold of `before.tx`, the last one that was folded and not taken back."""
    tx = before.tx
    if before.epoch is not None:
        state.epoch, state.epochs = before.epoch
    for key, holder in before.bound:
        if holder is None:
            state.request_ids.pop(key, None)
        else:
            state.request_ids[key] = holder
    for allocation_id, record in reversed(before.allocations):
        state.replace_record(allocation_id, record)
    for key, count in before.renewals:
        if count:
            state.renewals[key] = count
        else:
            state.renewals.pop(key, None)
    _give_back(state, tx)
    for name, node in reversed(before.nodes):
        _restore_node(state, name, node)
    for name, center in reversed(before.centers):
        _restore_center(state, name, center)
    for name, agent in reversed(before.agents):
        _restore_agent(state, name, agent)
    state.revision, state.forgotten_through = before.revision, before.forgotten_through


def _node_names(tx: Transaction) -> dict[str, None]:
    names = [put.name for put in tx.nodes] + [change.node for change in tx.blockers]
    return dict.fromkeys(names)


def _renewed(tx: Transaction) -> dict[str, None]:
    return dict.fromkeys([r.id for r in tx.renew] + [put.id for put in tx.puts])


def _bound(
    state: LedgerState, tx: Transaction, allocations: list[tuple[str, Allocation | None]]
) -> list[tuple[tuple[str, str], str | None]]:
    keys = [(old.tenant, old.request_id) for _, old in allocations if old is not None]
    keys += [(put.record.tenant, put.record.request_id) for put in tx.puts if put.record]
    return [(key, state.request_ids.get(key)) for key in dict.fromkeys(keys) if key[1]]


def _agent(state: LedgerState, name: str) -> _Agent | None:
    book = state.agents.get(name)
    return None if book is None else _Agent(book, book.record, book.state)


def _node(state: LedgerState, name: str) -> _Node | None:
    book = state.nodes.get(name)
    return None if book is None else _Node(book, book.record, book.blockers, book.message)


def _give_back(state: LedgerState, tx: Transaction) -> None:
    changed: dict[str, NodeBook] = {}
    for node, amounts, _ in tx.reserve:
        book = changed[node] = state.nodes[node]
        subtract(book.used, amounts)
    for node, amounts, _ in tx.release:
        book = changed[node] = state.nodes[node]
        add(book.used, amounts)
    for book in changed.values():
        state.on_node(book)


def _restore_node(state: LedgerState, name: str, node: _Node | None) -> None:
    if node is None:
        state.drop_node(name)
        return
    state.restore_node(node.book, node.record, node.blockers & KEPT, node.message)


def _restore_center(state: LedgerState, name: str, center: CenterBook | None) -> None:
    cordoned = center is not None and center.cordoned
    message = center.message if center is not None else ""
    state.fold_center(PutCenter(name, cordoned, message))
    if center is None:
        del state.centers[name]


def _restore_agent(state: LedgerState, name: str, agent: _Agent | None) -> None:
    if agent is None:
        state.agents.pop(name, None)
        return
    state.restore_agent(agent.book, agent.record, agent.state)
