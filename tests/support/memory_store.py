"""A store in memory, for tests of the core: what is on its disk, and what is only staged.

Implements the Store protocol over the pure ledger. A MemoryDisk outlives the store: opening
another MemoryStore on it is a restart, a copy of it is a backup, a fresh one a lost store. What
was staged and not committed is gone with the store, as in a crash.

    hold    commits stay under way until `let_go`
    fail    the next commit that writes fails, and all after it, as a broken disk does
"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from computepool_broker.errors import OutcomeUnknownError
from computepool_broker.ledger.ledger import Ledger
from computepool_broker.ledger.transaction import Blocker, Committed
from computepool_broker.model import codec
from computepool_broker.store.loading import Tables, fill

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.ledger.transaction import Outcome, Transaction

UNKNOWN = "the store has failed; retry with the same request_id"


@dataclass
class MemoryDisk:
    """Everything that survives: rows as text, as a real store has them."""

    identity: str = "store-1"
    epoch: int = 1
    revision: int = 0
    epochs: dict[int, int] = field(default_factory=dict)
    forgotten_through: int = 0
    agents: dict[str, str] = field(default_factory=dict)
    centers: dict[str, tuple[bool, str]] = field(default_factory=dict)
    nodes: dict[str, tuple[str, bool, str]] = field(default_factory=dict)
    allocations: dict[str, str] = field(default_factory=dict)

    def backup(self) -> MemoryDisk:
        """An independent copy of the disk as it is."""
        return copy.deepcopy(self)

    def tables(self) -> Tables:
        """All rows, decoded anew."""
        decoder = codec.Decoder()
        return Tables(
            self.identity,
            self.epoch,
            self.revision,
            dict(self.epochs),
            [codec.decode_agent(text) for text in self.agents.values()],
            [(name, *row) for name, row in self.centers.items()],
            [(codec.decode_node(row[0]), row[1], row[2]) for row in self.nodes.values()],
            [decoder.allocation(self.allocations[key]) for key in sorted(self.allocations)],
            self.forgotten_through,
        )


@dataclass
class _Rows:
    """What one commit writes; None deletes a row."""

    revision: int = 0
    forgotten_through: int = 0
    epoch: tuple[int, dict[int, int]] | None = None
    agents: dict[str, str | None] = field(default_factory=dict)
    centers: dict[str, tuple[bool, str] | None] = field(default_factory=dict)
    nodes: dict[str, tuple[str, bool, str] | None] = field(default_factory=dict)
    allocations: dict[str, str | None] = field(default_factory=dict)


class MemoryStore:
    """See the module. Keeps the promises of a Store on its disk."""

    durable = True
    always_durable = True

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        self.disk = disk or MemoryDisk()
        self.hold = False
        self.fail = False
        self._rows = _Rows()
        self._broken = False
        self._under_way: list[tuple[_Rows, asyncio.Future[None]]] = []

    @property
    def state(self) -> LedgerState:
        """The tables."""
        return self._ledger.state

    async def open(self, state: LedgerState) -> None:
        """See Store.open."""
        fill(state, self.disk.tables())
        self._ledger = Ledger(state)

    def stage(self, tx: Transaction) -> Outcome:
        """See Store.stage."""
        if self._broken:
            raise OutcomeUnknownError(UNKNOWN)
        before = self.state.revision
        outcome = self._ledger.apply(tx)
        if isinstance(outcome, Committed) and outcome.revision > before:
            self._collect(tx)
        return outcome

    def commit(self) -> Awaitable[None]:
        """See Store.commit."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        rows, self._rows = self._rows, _Rows()
        self._broken = self._broken or (self.fail and rows.revision > 0)
        if self._broken:
            done.set_exception(OutcomeUnknownError(UNKNOWN))
            return done
        self._under_way.append((rows, done))
        if not self.hold:
            self.let_go()
        return done

    def let_go(self) -> None:
        """Finish the commits under way, in their order, and hold no more."""
        self.hold = False
        while self._under_way:
            self.finish_one()

    def finish_one(self) -> None:
        """Finish the oldest commit under way."""
        rows, done = self._under_way.pop(0)
        self._write(rows)
        if not done.done():
            done.set_result(None)

    async def close(self) -> None:
        """See Store.close."""
        self.let_go()

    def _collect(self, tx: Transaction) -> None:
        rows, state = self._rows, self.state
        rows.revision = state.revision
        rows.forgotten_through = state.forgotten_through
        for put in tx.puts:
            record = put.record
            rows.allocations[put.id] = codec.Encoder().allocation(record) if record else None
        for agent in tx.agents:
            rows.agents[agent.name] = agent.record and codec.encode_agent(agent.record)
        for center in tx.centers:
            rows.centers[center.name] = (center.cordoned, center.message)
        for name in (*(n.name for n in tx.nodes), *(b.node for b in tx.blockers)):
            book = state.nodes.get(name)
            rows.nodes[name] = (
                None
                if book is None
                else (
                    codec.encode_node(book.record),
                    bool(book.blockers & Blocker.CORDONED),
                    book.message,
                )
            )
        if tx.new_epoch is not None:
            rows.epoch = (state.epoch, dict(state.epochs))

    def _write(self, rows: _Rows) -> None:
        if not rows.revision:
            return
        disk = self.disk
        disk.revision = rows.revision
        disk.forgotten_through = rows.forgotten_through
        if rows.epoch is not None:
            disk.epoch, disk.epochs = rows.epoch
        _merge(disk.agents, rows.agents)
        _merge(disk.centers, rows.centers)
        _merge(disk.nodes, rows.nodes)
        _merge(disk.allocations, rows.allocations)


V = TypeVar("V")


def _merge(table: dict[str, V], rows: dict[str, V | None]) -> None:
    for key, row in rows.items():
        if row is None:
            table.pop(key, None)
        else:
            table[key] = row
