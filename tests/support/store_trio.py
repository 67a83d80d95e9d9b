"""The same commands to three ledgers: pure in memory, on SQLite, and on a real Redis."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING

from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.state import LedgerState
from computepool_broker.ledger.transaction import Rejected, RejectReason
from computepool_broker.store.embedded import EmbeddedStore
from computepool_broker.store.loading import fill
from computepool_broker.store.redis import RedisStore
from computepool_broker.store.redis_batch import Batch, claims
from computepool_broker.store.redis_loading import parse
from support.memory_store import MemoryDisk, MemoryStore
from support.state_text import everything, lasting

if TYPE_CHECKING:
    from pathlib import Path

    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.store.base import Store

NOWHERE = {"identity": ""}
"""The stores have made their own."""


class StoreTrio:
    """Stores that must agree on everything but their names."""

    def __init__(self, folder: Path, url: str) -> None:
        self._runner = asyncio.Runner()
        self._folder = folder
        self._url = url
        self._disk = MemoryDisk()
        self._open()

    @property
    def state(self) -> LedgerState:
        """The tables of the pure one; for reading only."""
        return self.pure.state

    @property
    def stores(self) -> tuple[Store, ...]:
        """All three."""
        return (self.pure, self.embedded, self.redis)

    def stage(self, tx: Transaction) -> Outcome:
        """Stage a transaction everywhere; all outcomes and tables must be equal.

        Each store gets its own copy: a commit fills revisions into the records.
        """
        attempt = copy.deepcopy(tx)
        before = everything(self.state)
        outcomes = [store.stage(copy.deepcopy(tx)) for store in self.stores]
        assert outcomes[1:] == outcomes[:1] * 2, (tx, outcomes)
        self._compare_all()
        outcome = outcomes[0]
        if isinstance(outcome, Rejected):
            assert everything(self.state) == before
            self.commit()
            self._script_says(attempt, outcome)
        return outcome

    def commit(self) -> None:
        """Commit everywhere; Redis must then hold what its replica says."""
        self._runner.run(self._commit())
        self._compare_redis()

    async def _commit(self) -> None:
        for store in self.stores:
            await store.commit()

    def reopen(self) -> None:
        """Close and open all, without a commit: what was only staged is lost everywhere."""
        self._runner.run(self._close())
        self._open()
        assert check_invariants(self.state) == []
        shown = [lasting(store.state) | NOWHERE for store in self.stores]
        assert shown[1] == shown[0]
        assert shown[2] == shown[0]

    def close(self) -> None:
        """Close all."""
        self._runner.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        for store in self.stores:
            await store.close()

    def _open(self) -> None:
        self.pure = MemoryStore(self._disk)
        self.embedded = EmbeddedStore(self._folder)
        self.redis = RedisStore(self._url)
        self._runner.run(self._open_all())

    async def _open_all(self) -> None:
        for store in self.stores:
            await store.open(LedgerState())

    # -- comparing -------------------------------------------------------------------------

    def _compare_all(self) -> None:
        shown = [everything(store.state) | NOWHERE for store in self.stores]
        assert shown[1] == shown[0]
        assert shown[2] == shown[0]

    def _compare_redis(self) -> None:
        """Read Redis as an opening broker would, and compare with the replica."""
        client = self.redis._client
        assert client is not None
        raw = self._runner.run(client.read())
        assert not raw.foreign
        kept = parse(raw, "")
        state = LedgerState()
        fill(state, kept.tables)
        assert lasting(state) == lasting(self.redis.state)
        for name, book in self.redis.state.nodes.items():
            assert (name, kept.blockers[name]) == (name, book.blockers)
            assert state.nodes[name].record == book.record

    def _script_says(self, tx: Transaction, want: Rejected) -> None:
        """Send what the replica has rejected past it: the script must say the same."""
        client, store = self.redis._client, self.redis
        assert client is not None
        batch = Batch()
        batch.notes.append(claims(batch, tx, store.state.revision + 1, [False] * len(tx.puts)))
        argument = batch.argument(
            store._instance, store.state.identity, store._serial, store._revision
        )
        reply = self._runner.run(client.commit(batch.keys(), argument)).split(" ")
        assert reply[0] == want.reason.name, (tx, reply, want)
        if want.reason is not RejectReason.REQUEST_ID_TAKEN:
            assert reply[1].removeprefix("{computepool}:node:") == want.subject
        if want.reason is RejectReason.NO_FIT:
            assert reply[2:4] == [want.key, str(want.missing)]
        self._compare_redis()
