"""The check of a transaction, and the ledger that decides in this process. Pure.

`check` is the rule of every commit (semantics, rule 4); store/redis_commit.lua says the same in
Lua, and the differential test holds the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.ledger.transaction import (
    Blocker,
    Committed,
    Outcome,
    Rejected,
    RejectReason,
    Transaction,
)
from computepool_broker.model.amounts import add, excess, shortfall, subtract

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.records import NodeRecord


def check(state: LedgerState, tx: Transaction) -> Rejected | None:
    """Say why `tx` cannot be committed on `state`, or None when it can."""
    if tx.epoch != state.epoch:
        return Rejected(RejectReason.EPOCH, str(state.epoch))
    if tx.sessions or tx.renew or tx.unrenewed or tx.nodes:
        rejected = _check_conditions(state, tx)
        if rejected is not None:
            return rejected
    for put in tx.puts:
        present = state.allocations.get(put.id)
        if (present.revision if present is not None else 0) != put.expected:
            return Rejected(RejectReason.RECORD_CHANGED, put.id)
    if tx.bind:
        records = {put.id: put.record for put in tx.puts}
        for allocation_id in tx.bind:
            record = records[allocation_id] or state.allocations[allocation_id]
            holder = state.request_ids.get((record.tenant, record.request_id))
            if holder is not None:
                return Rejected(RejectReason.REQUEST_ID_TAKEN, holder)
    return _check_reserve(state, tx) if tx.reserve else None


def _check_conditions(state: LedgerState, tx: Transaction) -> Rejected | None:
    """What must still be as its planner saw it, besides records and amounts."""
    for name, session in tx.sessions:
        agent = state.agents.get(name)
        if (agent.record.session if agent is not None else 0) != session:
            return Rejected(RejectReason.SESSION, name)
    for renewal in tx.renew:
        present = state.allocations.get(renewal.id)
        if present is None or present.revision != renewal.expected:
            return Rejected(RejectReason.RECORD_CHANGED, renewal.id)
    for allocation_id, count in tx.unrenewed:
        if state.renewals.get(allocation_id, 0) != count:
            return Rejected(RejectReason.RENEWED, allocation_id)
    for put in tx.nodes:
        book = state.nodes.get(put.name) if put.record is None else None
        if book is not None and book.leases:
            return Rejected(RejectReason.NODE_IN_USE, put.name)
    return None


def _check_reserve(state: LedgerState, tx: Transaction) -> Rejected | None:
    used: dict[str, dict[str, int]] = {}
    if tx.release or len(tx.reserve) > 1:
        # Several amounts on one node, or amounts that move away first, count together.
        for node, amounts, _ in tx.release:
            subtract(_own_copy(state, used, node), amounts)
    for node, amounts, forced in tx.reserve:
        book = state.nodes.get(node)
        if book is None:
            return Rejected(RejectReason.NODE_UNKNOWN, node)
        held = used.get(node, book.used)
        if forced:
            lack = excess(amounts, held)
        elif book.blockers:
            return Rejected(RejectReason.NOT_SCHEDULABLE, node)
        else:
            lack = shortfall(amounts, book.capacity, held)
        if lack is not None:
            return Rejected(RejectReason.NO_FIT, node, lack.key, lack.missing)
        if len(tx.reserve) > 1:
            add(_own_copy(state, used, node), amounts)
    return None


def _own_copy(state: LedgerState, used: dict[str, dict[str, int]], node: str) -> dict[str, int]:
    copy = used.get(node)
    if copy is None:
        copy = used[node] = dict(state.nodes[node].used)
    return copy


def is_durable(state: LedgerState, tx: Transaction) -> bool:
    """Whether `tx` changes anything that must survive the process.

    Capacity and the states of agents are known anew from the next reports; they are not
    written, and do not count in the revision that agents see.
    """
    if tx.puts or tx.centers or tx.new_epoch is not None:
        return True
    for put in tx.agents:
        book = state.agents.get(put.name)
        if (book.record if book else None) != put.record:
            return True
    return any(
        (change.set_bits | change.clear_bits) & Blocker.CORDONED for change in tx.blockers
    ) or any(_differs(state.nodes.get(put.name), put.record) for put in tx.nodes)


def _differs(book: NodeBook | None, new: NodeRecord | None) -> bool:
    """Whether a node is another one, apart from what others use of it and how its devices do."""
    if book is None or new is None:
        return (book is None) != (new is None)
    old = book.record
    if old.devices is not new.devices and _kinds(old) != _kinds(new):
        return True
    return old._replace(foreign=new.foreign, devices=new.devices) != new


def _kinds(record: NodeRecord) -> list[tuple[str, str, int]]:
    return [(d.id, d.model, d.memory_mib) for d in record.devices]


class Ledger:
    """Decides in this process: checks, then folds."""

    def __init__(self, state: LedgerState) -> None:
        self.state = state

    def apply(self, tx: Transaction) -> Outcome:
        """Commit `tx` in memory, or reject it whole."""
        rejected = check(self.state, tx)
        if rejected is not None:
            return rejected
        revision = self.state.revision + is_durable(self.state, tx)
        self.state.fold(tx, revision)
        return Committed(revision)
