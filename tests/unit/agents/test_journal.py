"""The journal remembers what was committed and refuses what it cannot trust."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from computepool_agents.journal import FILE_NAME, Journal, JournalError, JournalFullError, Saved
from computepool_agents.model import STARTED, STOPPED, Change, Contact, Mark
from fakes.agent_builders import make_held

if TYPE_CHECKING:
    from pathlib import Path


async def reopened(folder: Path) -> Saved:
    journal = Journal.open(folder, "agent-1")
    await journal.close()
    return journal.saved


async def filled(folder: Path) -> Journal:
    journal = Journal.open(folder, "agent-1")
    await journal.next_session()
    await journal.commit(
        Change(puts=(make_held("a.0.0"), make_held("b.0.0")), mark=Mark("s", 1, 2))
    )
    return journal


async def test_new_journal_is_empty_and_has_a_name(tmp_path: Path) -> None:
    first, second = await reopened(tmp_path), await reopened(tmp_path)
    assert first == second
    assert (first.session, first.held, first.seen, first.contact) == (0, (), None, None)
    assert len(first.journal_id) == 32


async def test_everything_committed_is_there_again(tmp_path: Path) -> None:
    journal = await filled(tmp_path)
    stopped = make_held("a.0.0", STOPPED, "CONTACT_LOST", "silent")
    contact = Contact("boot-1", 12.5)
    await journal.commit(Change(puts=(stopped,), drops=("b.0.0",), contact=contact))
    assert await journal.next_session() == 2
    await journal.close()
    saved = await reopened(tmp_path)
    assert saved.held == (stopped,)
    assert (saved.session, saved.seen, saved.contact) == (2, Mark("s", 1, 2), contact)


async def test_committed_is_on_disk_without_a_close(tmp_path: Path) -> None:
    journal = await filled(tmp_path)
    assert {held.lease_id for held in (await reopened(tmp_path)).held} == {"a.0.0", "b.0.0"}
    await journal.close()


async def test_leases_are_fsynced_and_the_contact_alone_is_not(tmp_path: Path) -> None:
    journal = await filled(tmp_path)

    def synchronous() -> int:
        (level,) = journal._connection.execute("PRAGMA synchronous").fetchone()
        return int(level)

    assert journal._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    full, normal = 2, 1
    assert synchronous() == full
    await journal.commit(Change(contact=Contact("boot-1", 1.0), mark=Mark("s", 1, 3)))
    assert synchronous() == normal
    await journal.commit(Change(mark=Mark("s", 2, 3)))
    assert synchronous() == full
    await journal.commit(Change(contact=Contact("boot-1", 1.0)))
    await journal.commit(Change(puts=(make_held("a.0.0", STARTED),)))
    assert synchronous() == full
    await journal.commit(Change(contact=Contact("boot-1", 1.0)))
    await journal.next_session()
    assert synchronous() == full
    await journal.close()


async def test_failed_commit_changes_nothing(tmp_path: Path) -> None:
    journal = await filled(tmp_path)
    too_large = Mark("s", 1 << 63, 1)
    with pytest.raises(OverflowError):
        await journal.commit(Change(drops=("a.0.0",), mark=too_large))
    await journal.close()
    assert {held.lease_id for held in (await reopened(tmp_path)).held} == {"a.0.0", "b.0.0"}


async def test_full_disk_changes_nothing_and_is_no_reason_to_end(tmp_path: Path) -> None:
    journal = await filled(tmp_path)
    journal._connection.execute("PRAGMA max_page_count = 1")
    big = tuple(make_held(f"c{i}.0.0", message="x" * 2_000) for i in range(20))
    assert journal.lack() == ""
    with pytest.raises(JournalFullError, match=r"cannot write the journal .*full"):
        await journal.commit(Change(puts=big))
    assert "found no room" in journal.lack()
    await journal.commit(Change(mark=Mark("s", 2, 3)))
    assert journal.lack() == ""
    await journal.close()
    saved = await reopened(tmp_path)
    assert {held.lease_id for held in saved.held} == {"a.0.0", "b.0.0"}
    assert saved.seen == Mark("s", 2, 3)


async def test_what_need_not_be_on_disk_needs_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_change: Change) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    journal = await filled(tmp_path)
    monkeypatch.setattr(journal, "_write", no_room)
    await journal.commit(Change(contact=Contact("boot-1", 1.0), mark=Mark("s", 1, 3)))
    for must_last in (Change(mark=Mark("s", 2, 3)), Change(drops=("a.0.0",))):
        with pytest.raises(JournalFullError):
            await journal.commit(must_last)
    await journal.close()
    assert {held.lease_id for held in (await reopened(tmp_path)).held} == {"a.0.0", "b.0.0"}


async def test_journal_of_another_agent_is_refused(tmp_path: Path) -> None:
    await (await filled(tmp_path)).close()
    with pytest.raises(JournalError, match="belongs to agent 'agent-1', not 'agent-2'"):
        Journal.open(tmp_path, "agent-2")


@pytest.mark.parametrize(
    ("statement", "want"),
    [
        ("PRAGMA user_version = 2", "has version 2, this agent reads 1"),
        ("PRAGMA application_id = 5", "is no agent's journal"),
        ("UPDATE lease SET record = x'ff'", "is damaged at lease 'a.0.0'"),
        ("UPDATE lease SET state = 3 WHERE lease_id = 'a.0.0'", "is damaged at lease 'a.0.0'"),
        ("DELETE FROM about", "does not say whose it is"),
    ],
)
async def test_foreign_newer_or_damaged_file_is_refused_and_left_alone(
    tmp_path: Path, statement: str, want: str
) -> None:
    await (await filled(tmp_path)).close()
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(JournalError, match=want):
        Journal.open(tmp_path, "agent-1")
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"not a database, whatever its name says" * 50])
def test_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    with pytest.raises(JournalError):
        Journal.open(tmp_path, "agent-1")
    assert path.read_bytes() == content


async def test_torn_pages_are_refused(tmp_path: Path) -> None:
    journal = await filled(tmp_path)
    many = tuple(make_held(f"c{i}.0.0") for i in range(300))
    await journal.commit(Change(puts=many))
    await journal.close()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[8192:20480] = bytes(12288)
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"damaged|malformed"):
        Journal.open(tmp_path, "agent-1")


async def test_half_made_journal_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / f"{FILE_NAME}.new").write_bytes(b"died here")
    assert (await reopened(tmp_path)).held == ()
