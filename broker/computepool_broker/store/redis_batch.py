"""Batches of transactions as they travel: to the script, through the stream, to the others. Pure.

`Batch` collects what one broker has staged: for the script what it judges by and writes
(redis_commit.lua), for other brokers what they fold (`transactions`). Both are the same text.

Revisions. The planner numbers its commits from the revision that it knows (`base`); by the time
of the commit others may have used those numbers. So all above the base travel as counted from it,
below 0, and the script's answer says what the base really was.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from computepool_broker.ledger.transaction import (
    Blocker,
    EpochStart,
    NodeAmounts,
    PutAgent,
    PutAllocation,
    PutCenter,
    PutNode,
    Renewal,
    SetBlockers,
    Transaction,
)
from computepool_broker.model import codec
from computepool_broker.model.records import LIVE_STATES, AgentState, PartState
from computepool_broker.store import redis_keys as keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.records import Allocation

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

Note = dict[str, Any]
"""One transaction; what is empty is left out."""

REPORTED = Blocker.GONE | Blocker.UNSCHEDULABLE
"""Blockers that follow from a node's record alone."""


class Batch:
    """Notes, and the nodes that they name by number."""

    def __init__(self, base: int, encoder: codec.Encoder) -> None:
        self.base = base
        self.notes: list[Note] = []
        self._encoder = encoder
        self._places: dict[str, int] = {}

    def keys(self) -> list[str]:
        """The script's KEYS."""
        return [*keys.FIXED, *map(keys.node_key, self._places)]

    def text(self) -> str:
        """The script's second argument."""
        return _encode({"names": list(self._places), "transactions": self.notes})

    def add(self, state: LedgerState, tx: Transaction, old: dict[str, Allocation | None]) -> None:
        """Note a transaction that was folded just now.

        Args:
            state: The tables, with it.
            tx: The transaction, revisions filled in.
            old: The records that it has replaced.
        """
        note: Note = {"epoch": str(tx.epoch), "revision": self._from_base(state.revision)}
        if tx.puts:
            note["puts"] = [self._put(put, old.get(put.id)) for put in tx.puts]
            flags = list(self._conflicts(tx, old))
            if flags:
                note["conflicts"] = flags
            if any(put.record is None for put in tx.puts):
                note["forgotten_through"] = self._from_base(state.forgotten_through)
        if tx.bind:
            records = {put.id: put.record for put in tx.puts}
            note["bind"] = [(_bound(records[key]), key) for key in tx.bind]
        for name, rows in (("reserve", tx.reserve), ("release", tx.release)):
            if rows:
                note[name] = [(self._place(r.node), r.amounts, r.forced) for r in rows]
        if tx.renew:
            note["renew"] = [(r.id, self._from_base(r.expected)) for r in tx.renew]
        self._add_rare(note, state, tx)
        self.notes.append(note)

    def _add_rare(self, note: Note, state: LedgerState, tx: Transaction) -> None:
        if tx.sessions:
            note["sessions"] = tx.sessions
        if tx.unrenewed:
            note["unrenewed"] = tx.unrenewed
        if tx.nodes:
            note["nodes"] = [self._node(state, put) for put in tx.nodes]
        if tx.blockers:
            note["blockers"] = [self._blockers(change) for change in tx.blockers]
        if tx.agents:
            note["agents"] = [_agent(put) for put in tx.agents]
        if tx.centers:
            note["centers"] = [(c.name, _encode((c.cordoned, c.message))) for c in tx.centers]
        if tx.new_epoch is not None:
            note["start"] = (str(state.epoch), _encode(state.epochs), tx.new_epoch.known_through)

    def _place(self, node: str) -> int:
        """The number of a node in this batch, from 1."""
        return self._places.setdefault(node, len(self._places) + 1)

    def _from_base(self, revision: int) -> int:
        return revision if revision <= self.base else self.base - revision

    def _put(self, put: PutAllocation, old: Allocation | None) -> tuple[Any, ...]:
        expected, record = self._from_base(put.expected), put.record
        if record is None:
            return (put.id, expected, 0, False, _bound(old) if old else False, False)
        own = self._from_base(record.revision)
        text = self._encoder.allocation(record, self.base)
        return (put.id, expected, own, text, False, record.state in LIVE_STATES)

    def _conflicts(
        self, tx: Transaction, old: dict[str, Allocation | None]
    ) -> Iterator[tuple[int, int]]:
        """Flagged leases that come to nodes or leave them."""
        for put in tx.puts:
            for record, by in ((old.get(put.id), -1), (put.record, 1)):
                if record is not None and record.flags:
                    for part in record.parts:
                        if part.state is not PartState.GONE:
                            yield self._place(part.node), by

    def _node(self, state: LedgerState, put: PutNode) -> tuple[Any, ...]:
        place, record = self._place(put.name), put.record
        if record is None:
            return (place, False)
        book = state.nodes[put.name]
        bits = book.blockers & REPORTED
        text, capacity = codec.encode_node(record), book.capacity
        return (place, text, capacity, bits, record.agent, record.center)

    def _blockers(self, change: SetBlockers) -> tuple[Any, ...]:
        row = (self._place(change.node), change.set_bits, change.clear_bits)
        if (change.set_bits | change.clear_bits) & Blocker.CORDONED:
            return (*row, change.message)
        return row


def head(**who: str | int | bool) -> str:
    """The script's first argument."""
    return _encode(who)


def transactions(
    text: str, base: int, rejected: frozenset[int], decoder: codec.Decoder
) -> Iterator[tuple[Transaction, int]]:
    """A batch out of the stream: what was accepted of it, each with the revision after it.

    Args:
        text: As it was sent.
        base: The revision before it.
        rejected: Places of what was not, from 1.
        decoder: Of records.

    Raises:
        ValueError: It is no such batch.
    """
    batch = json.loads(text)
    names = batch["names"]
    for at, note in enumerate(batch["transactions"], 1):
        if at not in rejected:
            yield _transaction(note, names, base, decoder), absolute(note["revision"], base)


def absolute(revision: int, base: int) -> int:
    """A revision that may count from a base."""
    return revision if revision >= 0 else base - revision


def _transaction(note: Note, names: list[str], base: int, decoder: codec.Decoder) -> Transaction:
    start = note.get("start")
    return Transaction(
        int(note["epoch"]),
        puts=tuple(
            [
                PutAllocation(
                    row[0],
                    decoder.allocation(row[3], base) if row[3] else None,
                    absolute(row[1], base),
                )
                for row in note.get("puts", ())
            ]
        ),
        bind=tuple([row[1] for row in note.get("bind", ())]),
        reserve=_amounts(note, "reserve", names),
        release=_amounts(note, "release", names),
        nodes=tuple(
            PutNode(names[row[0] - 1], codec.decode_node(row[1]) if row[1] else None)
            for row in note.get("nodes", ())
        ),
        blockers=tuple(
            SetBlockers(names[row[0] - 1], row[1], row[2], row[3] if len(row) > 3 else "")  # noqa: PLR2004 - the message
            for row in note.get("blockers", ())
        ),
        agents=tuple(
            PutAgent(
                row[0],
                codec.decode_agent(row[3]) if row[3] else None,
                AgentState(row[2]) if row[2] else None,
            )
            for row in note.get("agents", ())
        ),
        centers=tuple(PutCenter(row[0], *json.loads(row[1])) for row in note.get("centers", ())),
        new_epoch=EpochStart(int(start[0]), start[2]) if start else None,
        renew=tuple([Renewal(row[0], absolute(row[1], base)) for row in note.get("renew", ())]),
    )


def _amounts(note: Note, name: str, names: list[str]) -> tuple[NodeAmounts, ...]:
    rows = note.get(name)
    if not rows:
        return ()
    return tuple(
        [
            NodeAmounts(names[place - 1], tuple([(k, n) for k, n in amounts]), forced)
            for place, amounts, forced in rows
        ]
    )


def _bound(record: Allocation | None) -> str | bool:
    return keys.request_field(record.tenant, record.request_id) if record is not None else False


def _agent(put: PutAgent) -> tuple[Any, ...]:
    if put.record is None:
        return (put.name, 0, 0, False)
    state = +put.state if put.state is not None else 0
    return (put.name, put.record.session, state, codec.encode_agent(put.record))
