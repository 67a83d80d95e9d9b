"""The default store: the pure ledger in this process, written through to SQLite.

The tables in memory decide; SQLite keeps the records (WAL, synchronous=FULL), one transaction
and one fsync per commit, in a thread of its own. Each commit upserts the records that changed,
so the file is its own snapshot: opening reads rows, nothing is replayed, and what an hour-old
allocation leaves behind is deleted, not compacted later.

Files in the folder: `ledger.sqlite3` (with -wal and -shm beside it) and `lock`, held by the
broker that has it open.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from computepool_broker.errors import OutcomeUnknownError, StoreRefusedError
from computepool_broker.ledger.ledger import Ledger
from computepool_broker.ledger.transaction import Blocker, Committed, Outcome, Transaction
from computepool_broker.model import codec
from computepool_broker.store.loading import Tables, fill

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from computepool_broker.ledger.state import LedgerState, NodeBook
    from computepool_broker.model.records import AgentRecord, Allocation

FILE = "ledger.sqlite3"
APPLICATION_ID = 0x43504F4C
"""Marks the file as ours ("CPOL") in SQLite's header."""
SCHEMA = 1
SCHEMA_SQL = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE allocations (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE nodes (
    name TEXT PRIMARY KEY, record TEXT NOT NULL, cordoned INTEGER NOT NULL, message TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE agents (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE centers (
    name TEXT PRIMARY KEY, cordoned INTEGER NOT NULL, message TEXT NOT NULL
) WITHOUT ROWID;
"""


@dataclass(slots=True)
class _Batch:
    """What the next commit writes; the last change of a record wins."""

    allocations: dict[str, Allocation | None] = field(default_factory=dict)
    nodes: dict[str, tuple[str, int, str] | None] = field(default_factory=dict)
    agents: dict[str, AgentRecord | None] = field(default_factory=dict)
    centers: dict[str, tuple[int, str]] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)


class EmbeddedStore:
    """See the module. One event loop, one broker per folder."""

    durable = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-writer")
        self._batch = _Batch()
        self._last: asyncio.Future[None] | None = None
        self._broken: BaseException | None = None
        self._lock_fd: int | None = None
        self._db: sqlite3.Connection | None = None

    @property
    def state(self) -> LedgerState:
        """The tables."""
        return self._ledger.state

    async def open(self, state: LedgerState) -> None:
        """See Store.open."""
        self._ledger = Ledger(state)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open, state)

    def stage(self, tx: Transaction) -> Outcome:
        """See Store.stage: here it is final at once, only not yet durable."""
        if self._broken is not None:
            raise OutcomeUnknownError("the store has failed; retry with the same request_id")
        before = self.state.revision
        outcome = self._ledger.apply(tx)
        if isinstance(outcome, Committed) and outcome.revision > before:
            self._collect(tx)
        return outcome

    def commit(self) -> Awaitable[None]:
        """See Store.commit."""
        loop = asyncio.get_running_loop()
        batch, revision = self._batch, self.state.revision
        if "revision" not in batch.meta:
            if self._last is not None and not self._last.done():
                return asyncio.shield(self._last)
            done: asyncio.Future[None] = loop.create_future()
            done.set_result(None)
            return done
        self._batch = _Batch()
        batch.meta["revision"] = str(revision)
        self._last = loop.run_in_executor(self._thread, self._write, batch)
        return self._last

    async def close(self) -> None:
        """See Store.close."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    # -- on the event loop -----------------------------------------------------------------

    def _collect(self, tx: Transaction) -> None:
        batch, state = self._batch, self.state
        batch.meta["revision"] = ""
        for put in tx.puts:
            batch.allocations[put.id] = put.record
        for put_agent in tx.agents:
            batch.agents[put_agent.name] = put_agent.record
        for put_center in tx.centers:
            batch.centers[put_center.name] = (int(put_center.cordoned), put_center.message)
        for name in (*(n.name for n in tx.nodes), *(b.node for b in tx.blockers)):
            book = state.nodes.get(name)
            batch.nodes[name] = None if book is None else _node_row(book)
        if tx.new_epoch is not None:
            batch.meta["epoch"] = str(state.epoch)
            batch.meta["epochs"] = json.dumps(state.epochs)

    # -- in the writer's thread ------------------------------------------------------------

    def _write(self, batch: _Batch) -> None:
        if self._broken is not None:
            raise OutcomeUnknownError("the store has failed; retry with the same request_id")
        try:
            self._write_rows(self._connection(), batch)
        except (sqlite3.Error, OSError) as error:
            # A failed fsync is never retried: the pages may be gone from the cache already.
            self._broken = error
            raise OutcomeUnknownError(
                f"writing to {self._folder} failed ({error}); retry with the same request_id"
            ) from error

    def _write_rows(self, db: sqlite3.Connection, batch: _Batch) -> None:
        encode = codec.encode_allocation
        db.execute("BEGIN IMMEDIATE")
        _put(db, "allocations", 2, [(k, encode(r)) for k, r in batch.allocations.items() if r])
        _delete(db, "allocations", "id", [k for k, r in batch.allocations.items() if r is None])
        _put(db, "nodes", 4, [(k, *row) for k, row in batch.nodes.items() if row])
        _delete(db, "nodes", "name", [k for k, row in batch.nodes.items() if row is None])
        _put(db, "agents", 2, [(k, codec.encode_agent(r)) for k, r in batch.agents.items() if r])
        _delete(db, "agents", "name", [k for k, r in batch.agents.items() if r is None])
        _put(db, "centers", 3, [(k, *row) for k, row in batch.centers.items()])
        _put(db, "meta", 2, list(batch.meta.items()))
        db.execute("COMMIT")

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("the store is closed")
        return self._db

    def _open(self, state: LedgerState) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock()
        path = self._folder / FILE
        try:
            self._db = self._connect(path)
            fill(state, self._read(self._db))
        except sqlite3.DatabaseError as error:
            raise StoreRefusedError(
                f"{path} is damaged or no store of ours ({error}). Move it away, or restore a "
                "backup: leases come back from the agents' journals."
            ) from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise StoreRefusedError(
                f"{path} holds a record that cannot be read: {error}"
            ) from error

    def _lock(self) -> None:
        fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(fd, 32).decode(errors="replace").strip() or "another process"
            os.close(fd)
            raise StoreRefusedError(f"{self._folder} is in use by process {holder}") from None
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        self._lock_fd = fd

    def _connect(self, path: Path) -> sqlite3.Connection:
        fresh = not path.exists() or path.stat().st_size == 0
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        if fresh:
            db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        elif db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreRefusedError(f"{path} is an SQLite file of another program")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise StoreRefusedError(
                f"{path} was written by a newer computepool (schema {version}, this one knows "
                f"{SCHEMA}); run that one"
            )
        if not fresh:
            problems = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problems != "ok":
                raise sqlite3.DatabaseError(problems)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA cache_size=-65536")
        if version == 0:
            self._create(db)
        return db

    def _create(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA_SQL.split(";"):
            db.execute(statement)
        meta = {"identity": secrets.token_hex(8), "epoch": "1", "revision": "0", "epochs": "{}"}
        _put(db, "meta", 2, list(meta.items()))
        db.execute(f"PRAGMA user_version={SCHEMA}")
        db.execute("COMMIT")

    def _read(self, db: sqlite3.Connection) -> Tables:
        meta = dict(db.execute("SELECT key, value FROM meta"))
        decoder = codec.Decoder()
        return Tables(
            identity=meta["identity"],
            epoch=int(meta["epoch"]),
            revision=int(meta["revision"]),
            epochs={int(k): v for k, v in json.loads(meta["epochs"]).items()},
            agents=[codec.decode_agent(r) for (r,) in db.execute("SELECT record FROM agents")],
            centers=[
                (name, bool(cordoned), message)
                for name, cordoned, message in db.execute("SELECT * FROM centers")
            ],
            nodes=[
                (codec.decode_node(record), bool(cordoned), message)
                for record, cordoned, message in db.execute(
                    "SELECT record, cordoned, message FROM nodes"
                )
            ],
            allocations=[
                decoder.allocation(r)
                for (r,) in db.execute("SELECT record FROM allocations ORDER BY id")
            ],
        )

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def _node_row(book: NodeBook) -> tuple[str, int, str]:
    return codec.encode_node(book.record), book.blockers & Blocker.CORDONED, book.message


def _put(db: sqlite3.Connection, table: str, width: int, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        marks = ",".join("?" * width)
        db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our own names


def _delete(db: sqlite3.Connection, table: str, column: str, keys: list[str]) -> None:
    if keys:
        db.executemany(f"DELETE FROM {table} WHERE {column}=?", [(k,) for k in keys])  # noqa: S608 - our own names
