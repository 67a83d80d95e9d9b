"""Where a store keeps its data, for tests that hold of every store: open, look, spoil."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Protocol

from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.state import LedgerState
from computepool_broker.store import redis_keys
from computepool_broker.store.embedded import AGENT, ALLOCATION, FILE, META, NODE, EmbeddedStore
from computepool_broker.store.redis import RedisStore
from support.state_text import lasting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from computepool_broker.store.base import Store
    from support.redis_server import RedisServer
    from support.state_text import Shown


class StorePlace(Protocol):
    """One store's data, which outlives the stores opened on it."""

    def store(self) -> Store:
        """A new store on the same data, not yet open."""

    def content(self) -> object:
        """Everything that is kept, byte for byte."""

    def overwrite(self, table: str, key: str, record: str) -> None:
        """Replace one record by hand: of an allocation, a node, or an agent."""

    def make_newer(self) -> None:
        """Mark the data as written by a newer version."""

    def drop_meta(self, name: str) -> None:
        """Lose one of the values that say what store it is."""


class EmbeddedPlace:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / FILE

    def store(self) -> Store:
        return EmbeddedStore(self.folder)

    def content(self) -> object:
        return self.file.read_bytes()

    def overwrite(self, table: str, key: str, record: str) -> None:
        prefix = {"allocations": ALLOCATION, "nodes": NODE, "agents": AGENT}[table]
        text = f'[{record},false,""]' if table == "nodes" else record
        self._execute("UPDATE records SET value=? WHERE key=?", text, prefix + key)

    def make_newer(self) -> None:
        self._execute("PRAGMA user_version=99")

    def drop_meta(self, name: str) -> None:
        self._execute("DELETE FROM records WHERE key=?", META + name)

    def _execute(self, statement: str, *values: str) -> None:
        with closing(sqlite3.connect(self.file)) as db, db:
            changed = db.execute(statement, values).rowcount
            assert changed or not values, "nothing was there to be spoilt"


class RedisPlace:
    """A database of a running server."""

    def __init__(self, server: RedisServer, database: int = 0) -> None:
        self.server = server
        self.database = database

    def store(self) -> Store:
        return RedisStore(self.server.url(self.database))

    def content(self) -> object:
        with self.server.client(self.database) as client:
            return {key: client.dump(key) for key in sorted(client.keys())}

    def overwrite(self, table: str, key: str, record: str) -> None:
        with self.server.client(self.database) as client:
            if table == "nodes":
                client.hset(redis_keys.node_key(key), "record", record)
                return
            table_key = f"{redis_keys.PREFIX}:{table}"
            old = client.hget(table_key, key)
            assert isinstance(old, bytes), "nothing was there to be spoilt"
            before = old.decode().partition(" ")[0] + " " if table == "allocations" else ""
            client.hset(table_key, key, before + record)

    def make_newer(self) -> None:
        with self.server.client(self.database) as client:
            client.hset(redis_keys.META, "schema", "99")

    def drop_meta(self, name: str) -> None:
        with self.server.client(self.database) as client:
            client.hdel(redis_keys.META, name)


@asynccontextmanager
async def opened(place: StorePlace) -> AsyncIterator[Store]:
    """A store on that data for the length of a block, closed in good order."""
    store = place.store()
    try:
        await store.open(LedgerState())
        yield store
    finally:
        await store.close()


async def kept(place: StorePlace) -> Shown:
    """What a store opened on that data finds; it holds together."""
    async with opened(place) as store:
        assert check_invariants(store.state) == []
        return lasting(store.state)
