"""Transactions as the script in redis_commit.lua takes them. Pure.

`Recorder` follows the tables while transactions are applied in memory, and notes for each what
the script needs and cannot see in it: the records with their revisions filled in, and what became
of blockers and capacity. Each note is complete when its transaction has been applied, so that
the script can judge every transaction of a batch by what the ones before it have left.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from computepool_broker.ledger.transaction import Blocker, Transaction
from computepool_broker.model import codec
from computepool_broker.model.amounts import MAX_HELD
from computepool_broker.store import redis_keys as keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.ledger.transaction import NodeAmounts, PutAllocation
    from computepool_broker.model.book import NodeBook

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

Note = dict[str, Any]
"""One transaction for the script; amounts and bits are numbers, all else text or false."""


class Batch:
    """Notes, and the nodes that they name by number."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.encode = codec.Encoder().allocation
        self._places: dict[str, int] = {}

    def place(self, node: str) -> int:
        """The number of a node in this batch, from 1."""
        return self._places.setdefault(node, len(self._places) + 1)

    def keys(self) -> list[str]:
        """The script's KEYS."""
        return [*keys.FIXED, *map(keys.node_key, self._places)]

    def argument(self, instance: str, identity: str, serial: int, revision: int) -> str:
        """The script's argument; `serial` and `revision` are those before this batch."""
        return _encode(
            {
                "instance": instance,
                "identity": identity,
                "serial": str(serial),
                "next_serial": str(serial + 1),
                "revision": str(revision),
                "max_held": MAX_HELD,
                "transactions": self.notes,
            }
        )


class Recorder:
    """Notes what transactions do to the tables of one store.

    Use: `before(tx)`, apply it in memory, then `after(...)` if it was accepted.
    """

    def __init__(self, state: LedgerState) -> None:
        self._state = state
        self._on_node, self._on_node_gone = state.on_node, state.on_node_gone
        self._blockers: dict[str, int] = {}
        self._changed: dict[str, NodeBook] = {}
        self._old_keys: dict[str, list[str]] = {}
        self._unbind: list[str | bool] = []
        state.on_node = self._listen(state.on_node)
        state.on_node_gone = self._listen_gone(state.on_node_gone)

    def _listen(self, further: Callable[[NodeBook], None]) -> Callable[[NodeBook], None]:
        changed = self._changed

        def listener(book: NodeBook) -> None:
            changed[book.record.name] = book
            further(book)

        return listener

    def _listen_gone(self, further: Callable[[NodeBook], None]) -> Callable[[NodeBook], None]:
        changed, blockers = self._changed, self._blockers

        def listener(book: NodeBook) -> None:
            changed.pop(book.record.name, None)
            blockers.pop(book.record.name, None)
            further(book)

        return listener

    def stop(self) -> None:
        """Follow the tables no more."""
        self._state.on_node, self._state.on_node_gone = self._on_node, self._on_node_gone

    def loaded(self, kept: dict[str, int]) -> Batch:
        """The tables have been filled: what Redis has to learn of it.

        Args:
            kept: By node the blockers that are in Redis.
        """
        self._blockers.update(kept)
        batch = Batch()
        note = claims(batch, Transaction(self._state.epoch), self._state.revision, ())
        note["blockers"] = self._changed_blockers(batch)
        batch.notes.append(note)
        return batch

    def before(self, tx: Transaction) -> None:
        """Note what the transaction is about to replace."""
        state = self._state
        self._changed.clear()
        self._old_keys = {
            put.name: list(book.capacity)
            for put in tx.nodes
            if (book := state.nodes.get(put.name)) is not None
        }
        self._unbind = [self._bound_to(put) for put in tx.puts]

    def _bound_to(self, put: PutAllocation) -> str | bool:
        old = self._state.allocations.get(put.id) if put.record is None else None
        return keys.request_field(old.tenant, old.request_id) if old is not None else False

    def after(self, batch: Batch, tx: Transaction, revision: int) -> None:
        """The transaction was applied; `revision` is the one after it."""
        state = self._state
        note = claims(batch, tx, revision, self._unbind)
        note["blockers"] = self._changed_blockers(batch)
        note["nodes"] = [self._node(batch, put.name) for put in tx.nodes]
        note["messages"] = [
            (batch.place(change.node), book.message or False)
            for change in tx.blockers
            if (change.set_bits | change.clear_bits) & Blocker.CORDONED
            and (book := state.nodes.get(change.node)) is not None
        ]
        note["agents"] = [
            (a.name, a.record is not None and codec.encode_agent(a.record)) for a in tx.agents
        ]
        note["centers"] = [(c.name, _encode((c.cordoned, c.message))) for c in tx.centers]
        if any(put.record is None for put in tx.puts):
            note["forgotten_through"] = str(state.forgotten_through)
        if tx.new_epoch is not None:
            note["start"] = (str(state.epoch), _encode(state.epochs))
        batch.notes.append(note)

    def _changed_blockers(self, batch: Batch) -> list[tuple[int, int]]:
        out = []
        for name, book in self._changed.items():
            if self._blockers.get(name) != book.blockers:
                self._blockers[name] = book.blockers
                out.append((batch.place(name), book.blockers))
        return out

    def _node(self, batch: Batch, name: str) -> tuple[Any, ...]:
        book = self._state.nodes.get(name)
        if book is None:
            return (batch.place(name), False)
        stale = [key for key in self._old_keys.get(name, ()) if key not in book.capacity]
        return (batch.place(name), codec.encode_node(book.record), book.capacity, stale)


def claims(batch: Batch, tx: Transaction, revision: int, unbind: Sequence[str | bool]) -> Note:
    """What the script checks of a transaction, and writes of it without asking the tables.

    Args:
        batch: The batch that the note is for.
        tx: The transaction.
        revision: The one after it.
        unbind: For each of its puts the request_id that it lets go of, or False.
    """
    records = {put.id: put.record for put in tx.puts}
    return {
        "epoch": str(tx.epoch),
        "revision": str(revision),
        "puts": [
            (put.id, put.expected, _record_of(batch, put), field)
            for put, field in zip(tx.puts, unbind, strict=True)
        ],
        "bind": [
            (keys.request_field(record.tenant, record.request_id), record.id)
            for key in tx.bind
            if (record := records[key]) is not None
        ],
        "reserve": _amounts(batch, tx.reserve),
        "release": _amounts(batch, tx.release),
        "nodes": (),
        "blockers": (),
        "messages": (),
        "agents": (),
        "centers": (),
    }


def _record_of(batch: Batch, put: PutAllocation) -> str | bool:
    record = put.record
    return record is not None and f"{record.revision} {batch.encode(record)}"


def _amounts(batch: Batch, rows: Iterable[NodeAmounts]) -> list[tuple[Any, ...]]:
    return [(batch.place(row.node), row.amounts, row.forced) for row in rows]
