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
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from computepool_broker.errors import OutcomeUnknownError, StoreRefusedError
from computepool_broker.ledger.ledger import Ledger
from computepool_broker.ledger.transaction import Blocker, Committed, Outcome, Transaction
from computepool_broker.model import codec
from computepool_broker.store import room
from computepool_broker.store.loading import Tables, fill

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from pathlib import Path

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.records import Allocation, NodeRecord

FILE = "ledger.sqlite3"
APPLICATION_ID = 0x43504F4C
"""Marks the file as ours ("CPOL") in SQLite's header."""
SCHEMA = 1
ALLOCATION, NODE, AGENT, CENTER, META = "a/", "n/", "g/", "c/", "m/"
"""Prefixes of record keys. Names are checked at the edge: none needs escaping in JSON."""
CREATE_RECORDS = "CREATE TABLE records (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
CREATE_INBOX = "CREATE VIEW inbox AS SELECT '' AS puts, '' AS drops"
CREATE_TAKE = """
CREATE TRIGGER take INSTEAD OF INSERT ON inbox BEGIN
    INSERT OR REPLACE INTO records SELECT key, value FROM json_each(NEW.puts);
    DELETE FROM records WHERE key IN (SELECT value FROM json_each(NEW.drops));
END
"""
READ_ONE = "SELECT value FROM records WHERE key = ?"
WRITE = "INSERT INTO inbox VALUES (?, ?)"
"""A whole commit in one statement. Each statement that sqlite3 runs gives up the interpreter's
lock and must win it back from the event loop; row by row that took most of a commit's time."""

FAILED = "the store has failed; retry with the same request_id"


class EmbeddedStore:
    """See the module. One event loop, one broker per folder."""

    durable = True
    always_durable = True
    shared = False
    ahead = 2
    staged = 0
    up = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._room = room.Room(folder)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-writer")
        # What the next commit writes, the last change of a record wins; None drops it.
        self._allocations: dict[str, Allocation | None] = {}
        self._others: dict[str, str | None] = {}
        self._encoder = codec.Encoder()
        self._last: asyncio.Future[None] | None = None
        self._broken: BaseException | None = None
        self._lock_fd: int | None = None
        self._db: sqlite3.Connection | None = None
        self._written = 0
        self._forgotten = 0

    @property
    def state(self) -> LedgerState:
        """The tables."""
        return self._ledger.state

    async def open(self, state: LedgerState) -> None:
        """See Store.open."""
        self._ledger = Ledger(state)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._open, state)
        except BaseException:
            await loop.run_in_executor(self._thread, self._close)
            raise

    def stage(self, tx: Transaction) -> Outcome:
        """See Store.stage: here it is final at once, only not yet durable.

        Raises:
            OutcomeUnknownError: The store has failed.
            StoreFullError: The disk is short of room, and the transaction grants something new.
        """
        if self._broken is not None:
            raise OutcomeUnknownError(FAILED)
        if _grants(tx):
            self._room.check_grants()
        before = self.state.revision
        try:
            outcome = self._ledger.apply(tx)
            if isinstance(outcome, Committed) and outcome.revision > before:
                self._collect(tx)
        except Exception as error:
            # A bug, and the tables may show half of it: nothing that rests on them may last.
            self._broken = error
            raise
        return outcome

    def commit(self, *, durable: bool = True) -> Awaitable[None]:  # noqa: ARG002 - it always is
        """See Store.commit."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if self._broken is not None:
            # Whoever has read the tables has seen what may never have become durable.
            done.set_exception(OutcomeUnknownError(FAILED))
            return done
        if self._written == self.state.revision:
            if self._last is not None and not self._last.done():
                return asyncio.shield(self._last)
            done.set_result(None)
            return done
        self._written = self.state.revision
        self._last = loop.run_in_executor(self._thread, self._write, *self._encoded())
        # Whoever stops waiting must not cancel a write that others are planned on.
        return asyncio.shield(self._last)

    async def close(self) -> None:
        """See Store.close."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    # -- on the event loop -----------------------------------------------------------------

    def _collect(self, tx: Transaction) -> None:
        for put in tx.puts:
            self._allocations[put.id] = put.record
        if not (tx.agents or tx.centers or tx.nodes or tx.blockers or tx.new_epoch):
            return
        state, others = self.state, self._others
        for put_agent in tx.agents:
            others[AGENT + put_agent.name] = put_agent.record and codec.encode_agent(
                put_agent.record
            )
        for put_center in tx.centers:
            others[CENTER + put_center.name] = json.dumps([*put_center])
        for name in (*(n.name for n in tx.nodes), *(b.node for b in tx.blockers)):
            book = state.nodes.get(name)
            others[NODE + name] = None if book is None else _node_row(book)
        others[META + "epoch"] = json.dumps([state.epoch])
        others[META + "epochs"] = json.dumps([state.epochs])

    def _encoded(self) -> tuple[str, str]:
        """The commit as two JSON texts: records by key, and keys to drop."""
        encode = self._encoder.allocation
        puts = [f'"{ALLOCATION}{k}":{encode(r)}' for k, r in self._allocations.items() if r]
        puts += [f'"{k}":{text}' for k, text in self._others.items() if text]
        puts.append(f'"{META}revision":[{self.state.revision}]')
        if self._forgotten != self.state.forgotten_through:
            # Not by what is dropped: an id can be dropped and come back within one commit.
            self._forgotten = self.state.forgotten_through
            puts.append(f'"{META}forgotten_through":[{self._forgotten}]')
        drops = [ALLOCATION + k for k, r in self._allocations.items() if r is None]
        drops += [k for k, text in self._others.items() if text is None]
        self._allocations, self._others = {}, {}
        return "{" + ",".join(puts) + "}", json.dumps(drops)

    # -- in the writer's thread ------------------------------------------------------------

    def _write(self, puts: str, drops: str) -> None:
        if self._broken is not None:
            raise OutcomeUnknownError(FAILED)
        try:
            self._connection().execute(WRITE, (puts, drops))
        except Exception as error:
            # Whatever it is, what was planned on this must not last. A failed fsync is never
            # retried: the pages may be gone from the cache already.
            self._broken = error
            why = "no space left on" if room.full(error) else "writing failed on"
            raise OutcomeUnknownError(
                f"{why} {self._folder} ({error}); retry with the same request_id"
            ) from error

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("the store is closed")
        return self._db

    def _open(self, state: LedgerState) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock()
        self._room.check_start()
        path = self._folder / FILE
        try:
            self._db = self._connect(path)
            fill(state, self._read(self._db))
            self._written, self._forgotten = state.revision, state.forgotten_through
        except sqlite3.DatabaseError as error:
            self._room.check_open(path, error)
            raise StoreRefusedError(
                f"{path} is damaged or no store of ours ({error}). Move it away, or restore a "
                "backup: leases come back from the agents' journals."
            ) from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StoreRefusedError(
                f"{path} is damaged: a record cannot be read ({error!r}). Move it away, or restore "
                "a backup: leases come back from the agents' journals."
            ) from error

    def _lock(self) -> None:
        fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(fd, 32).decode(errors="replace").strip() or "another process"
            os.close(fd)
            raise StoreRefusedError(f"{self._folder} is in use by process {holder}") from None
        self._lock_fd = fd
        os.ftruncate(fd, 0)
        with suppress(OSError):  # a full disk: the lock counts, not whom it names
            os.write(fd, str(os.getpid()).encode())

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
        for statement in (CREATE_RECORDS, CREATE_INBOX, CREATE_TAKE):
            db.execute(statement)
        meta = {"identity": secrets.token_hex(8), "epoch": 1, "revision": 0, "epochs": {}}
        puts = {META + key: [value] for key, value in meta.items()}
        db.execute(WRITE, (json.dumps(puts), "[]"))
        db.execute(f"PRAGMA user_version={SCHEMA}")
        db.execute("COMMIT")

    def _read(self, db: sqlite3.Connection) -> Tables:
        def rows(kind: str) -> Iterator[str]:
            # The prefixes end in "/", the next character is "0".
            found = db.execute(
                "SELECT value FROM records WHERE key > ? AND key < ? ORDER BY key",
                (kind, kind[:-1] + "0"),
            )
            return (text for (text,) in found)

        def mark(key: str, default: Any = None) -> Any:
            found = db.execute(READ_ONE, (META + key,)).fetchone()
            if found is None:
                if default is not None:
                    return default
                raise KeyError(META + key)
            return json.loads(found[0])[0]

        meta = {key: mark(key) for key in ("identity", "epoch", "revision", "epochs")}
        decoder = codec.Decoder()
        return Tables(
            identity=meta["identity"],
            epoch=meta["epoch"],
            revision=meta["revision"],
            epochs={int(k): v for k, v in meta["epochs"].items()},
            agents=[codec.decode_agent(text) for text in rows(AGENT)],
            centers=[tuple(json.loads(text)) for text in rows(CENTER)],
            nodes=[_node_of_row(text) for text in rows(NODE)],
            allocations=[decoder.allocation(text) for text in rows(ALLOCATION)],
            forgotten_through=mark("forgotten_through", 0),  # absent until the first is dropped
        )

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def _grants(tx: Transaction) -> bool:
    """Whether something new is given out: not re-placed, and not held by an agent already."""
    return bool(tx.reserve) and not tx.puts[0].expected and not tx.reserve[0].forced


def _node_row(book: NodeBook) -> str:
    cordoned = "true" if book.blockers & Blocker.CORDONED else "false"
    return f"[{codec.encode_node(book.record)},{cordoned},{json.dumps(book.message)}]"


def _node_of_row(text: str) -> tuple[NodeRecord, bool, str]:
    node, cordoned, message = json.loads(text)
    return codec.decode_node(json.dumps(node)), cordoned, message
