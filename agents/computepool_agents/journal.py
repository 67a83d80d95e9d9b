"""The journal: what the agent must remember through crashes, on disk before it is said.

May import model, room, state_dir and the generated protos. Touches the disk, from one thread of
its own.

One SQLite file, WAL with synchronous=FULL: a commit is one fsync. Commits that change nothing
but the time of the last contact or the mark's revision skip it: losing them to a power cut
makes the agent remember an earlier contact, which is the careful side; on a disk without room
they are lost as well. A commit that fails is never retried: the process ends and the next one
reads what is really there. Want of room is the exception: SQLite then says no before anything
was synced, and takes the commit back whole.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Self, TypeVar, cast

from google.protobuf.message import DecodeError

from computepool.v1 import types_pb2 as types
from computepool_agents.model import JOURNALLED, Change, Contact, Held, Mark
from computepool_agents.room import shortage
from computepool_agents.state_dir import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILE_NAME = "journal.sqlite3"
APPLICATION_ID = 0x43504A4C  # "CPJL"
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE about (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    agent TEXT NOT NULL,
    journal_id TEXT NOT NULL,
    session INTEGER NOT NULL,
    seen_identity TEXT, seen_epoch INTEGER, seen_revision INTEGER,
    contact_boot_id TEXT, contact_at_s REAL
) STRICT;
CREATE TABLE lease (
    lease_id TEXT PRIMARY KEY,
    state INTEGER NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    record BLOB NOT NULL,
    crc32 INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
_T = TypeVar("_T")


class JournalError(Exception):
    """The journal cannot be used or written; the text says why and names the file."""


class JournalFullError(JournalError):
    """No room is left: nothing was written, and the same can be tried again later."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a journal remembered when it was opened.

    Attributes:
        journal_id: Random name of the journal, made once with it.
        session: The last session that was begun; 0 before the first.
        held: All leases.
        seen: The highest mark ever applied.
        contact: When the last answered Sync was sent.
    """

    journal_id: str
    session: int
    held: tuple[Held, ...]
    seen: Mark | None
    contact: Contact | None


def _ignore(_: float) -> None:
    pass


class Journal:
    """One agent's journal; open it inside its locked StateDir.

    Attributes:
        on_commit: Told how long each commit took, in seconds.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, saved: Saved) -> None:
        self.path = path
        self.saved = saved
        self._connection = connection
        self._session = saved.session
        self._seen = saved.seen
        self._fsync = True
        self._full = False
        self.on_commit: Callable[[float], None] = _ignore
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    @classmethod
    def open(cls, folder: Path, agent: str) -> Self:
        """Open the journal in a folder, or make it.

        Raises:
            JournalError: Not a journal, damaged, of a newer version, another agent's, or the
                disk fails. The file is left as it is.
        """
        path = folder / FILE_NAME
        try:
            if not path.exists():
                _make(path, agent)
            connection = _connect(path)
            try:
                saved = _load(connection, path, agent)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            # Without room SQLite says any of several things.
            why = "; ".join(filter(None, (str(error), shortage(folder))))
            raise JournalError(f"cannot use the journal {path}: {why}") from error
        return cls(path, connection, saved)

    async def next_session(self) -> int:
        """Raise the session counter, durably, and give it.

        Raises:
            JournalFullError: Not now.
            JournalError: The disk failed; end the process.
        """
        session = self._session + 1
        await self._run(lambda: self._write_session(session))
        self._session = session
        return session

    def lack(self) -> str:
        """Say why nothing more should be held now: no room; empty while there is some."""
        lack = shortage(self.path.parent)
        return lack or (f"the last write to {self.path} found no room" if self._full else "")

    async def commit(self, change: Change) -> None:
        """Make a change durable, all or nothing.

        Raises:
            JournalFullError: Nothing was changed; a smaller change, or a later one, may be.
            JournalError: The disk failed; end the process.
        """
        began = perf_counter()
        try:
            await self._run(lambda: self._write(change))
        except JournalFullError:
            if self._must_last(change):
                raise
        self.on_commit(perf_counter() - began)

    async def close(self) -> None:
        """Finish what is being written and close the file."""
        await self._run(self._connection.close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[], _T]) -> _T:
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            self._full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            kind = JournalFullError if self._full else JournalError
            raise kind(f"cannot write the journal {self.path}: {error}") from error
        self._full = False
        return result

    def _write_session(self, session: int) -> None:
        self._set_fsync(on=True)
        with self._connection as transaction:
            transaction.execute("UPDATE about SET session = ?", (session,))

    def _write(self, change: Change) -> None:
        self._set_fsync(on=self._must_last(change))
        with self._connection as transaction:
            transaction.execute("BEGIN IMMEDIATE")
            transaction.executemany(
                "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?)",
                [_row(lease) for lease in change.puts],
            )
            transaction.executemany(
                "DELETE FROM lease WHERE lease_id = ?", [(i,) for i in change.drops]
            )
            if change.mark is not None:
                transaction.execute(
                    "UPDATE about SET seen_identity = ?, seen_epoch = ?, seen_revision = ?",
                    (change.mark.identity, change.mark.epoch, change.mark.revision),
                )
            if change.contact is not None:
                transaction.execute(
                    "UPDATE about SET contact_boot_id = ?, contact_at_s = ?",
                    (change.contact.boot_id, change.contact.at_s),
                )
        self._seen = change.mark or self._seen

    def _must_last(self, change: Change) -> bool:
        mark, seen = change.mark, self._seen
        new_life = mark is not None and (
            seen is None or (mark.identity, mark.epoch) != (seen.identity, seen.epoch)
        )
        return bool(change.puts or change.drops or new_life)

    def _set_fsync(self, *, on: bool) -> None:
        if on != self._fsync:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if on else 'NORMAL'}")
            self._fsync = on


def _make(path: Path, agent: str) -> None:
    """Make a journal whole under another name first: a file with the right name is complete."""
    beside = path.with_name(f"{FILE_NAME}.new")
    beside.unlink(missing_ok=True)
    connection = sqlite3.connect(beside)
    try:
        connection.executescript(_SCHEMA)
        connection.execute(
            "INSERT INTO about (one, agent, journal_id, session) VALUES (1, ?, ?, 0)",
            (agent, secrets.token_hex(16)),
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.commit()
    finally:
        connection.close()
    beside.chmod(0o600)
    beside.rename(path)
    sync_folder(path.parent)


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: never make a file here. One thread at a time uses the connection.
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=rw", uri=True, check_same_thread=False
    )
    connection.isolation_level = None
    return connection


def _load(connection: sqlite3.Connection, path: Path, agent: str) -> Saved:
    _check_file(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    about = connection.execute("SELECT * FROM about").fetchone()
    if about is None:
        raise JournalError(f"the journal {path} is damaged: it does not say whose it is")
    _, owner, journal_id, session, identity, epoch, revision, boot_id, at_s = about
    if owner != agent:
        raise JournalError(
            f"the journal {path} belongs to agent {owner!r}, not {agent!r}: "
            f"use that name, or another state folder"
        )
    held = tuple(_lease(row, path) for row in connection.execute("SELECT * FROM lease"))
    seen = Mark(identity, epoch, revision) if identity is not None else None
    contact = Contact(boot_id, at_s) if boot_id is not None else None
    return Saved(journal_id, session, held, seen, contact)


def _check_file(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise JournalError(f"{path} is no agent's journal")
    if version != SCHEMA_VERSION:
        raise JournalError(
            f"the journal {path} has version {version}, this agent reads {SCHEMA_VERSION}"
        )
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise JournalError(f"the journal {path} is damaged: {verdict}")


def _row(lease: Held) -> tuple[str, int, str, str, bytes, int]:
    blob = lease.record.SerializeToString(deterministic=True)
    plain = (lease.lease_id, int(lease.state), lease.reason, lease.message)
    return (*plain, blob, _crc32(*plain, blob))


def _crc32(lease_id: str, state: int, reason: str, message: str, blob: bytes) -> int:
    head = "\0".join((lease_id, str(state), reason, message)).encode()
    return zlib.crc32(blob, zlib.crc32(head))


def _lease(row: tuple[str, int, str, str, bytes, int], path: Path) -> Held:
    lease_id, state, reason, message, blob, crc32 = row
    damaged = JournalError(f"the journal {path} is damaged at lease {lease_id!r}")
    if crc32 != _crc32(lease_id, state, reason, message, blob):
        raise damaged
    try:
        record = types.LeaseRecord.FromString(blob)
    except DecodeError:
        raise damaged from None
    if record.lease_id != lease_id or state not in JOURNALLED:
        raise damaged
    return Held(record, cast("types.LeaseState", state), reason, message)
