"""When a disk is short of room, by what it says of itself."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from computepool_broker.errors import StoreFullError
from computepool_broker.store import room
from computepool_broker.store.room import Room

MIB = 1 << 20
FOLDER = Path("/nowhere")
LARGE, SMALL = 1_000 * 1024, 24
"""MiB."""


class Disk:
    """What the disk says, and the time; both as the test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size_mib: int) -> None:
        self.size_mib = self.free_mib = float(size_mib)
        self.now_s = 0.0
        self.looks = 0
        monkeypatch.setattr(os, "statvfs", self._statvfs)
        monkeypatch.setattr(room, "monotonic", lambda: self.now_s)

    def _statvfs(self, folder: Path) -> SimpleNamespace:
        assert folder == FOLDER
        self.looks += 1
        free, size = (int(mib * MIB / 512) for mib in (self.free_mib, self.size_mib))
        return SimpleNamespace(f_bavail=free, f_frsize=512, f_blocks=size)

    def refuses(self, watch: Room) -> bool:
        self.now_s += 1
        try:
            watch.check_grants()
        except StoreFullError as error:
            return bool(error.retry_after_ms) and str(FOLDER) in str(error)
        return False


@pytest.mark.parametrize(("size_mib", "reserve_mib"), [(LARGE, 64), (SMALL, 6)])
def test_grants_leave_a_reserve_and_go_on_when_a_little_more_is_free(
    monkeypatch: pytest.MonkeyPatch, size_mib: int, reserve_mib: int
) -> None:
    disk, watch = Disk(monkeypatch, size_mib), Room(FOLDER)
    for times, want in ((1.0, False), (0.99, True), (1.1, True), (1.13, False), (1.0, False)):
        disk.free_mib = reserve_mib * times
        assert disk.refuses(watch) == want


def test_the_disk_is_asked_a_few_times_a_second_and_not_at_each_grant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk, watch = Disk(monkeypatch, LARGE), Room(FOLDER)
    for _ in range(1_000):
        disk.now_s += 0.001
        watch.check_grants()
    assert 4 <= disk.looks <= 6


def test_a_disk_that_tells_no_size_is_never_full(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, watch = Disk(monkeypatch, 0), Room(FOLDER)
    assert not disk.refuses(watch)
    watch.check_start()


def test_a_store_is_not_opened_without_room_for_its_first_commits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk, watch = Disk(monkeypatch, LARGE), Room(FOLDER)
    disk.free_mib = 1
    watch.check_start()
    disk.free_mib = 0.9
    with pytest.raises(StoreFullError, match="no space left on"):
        watch.check_start()


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("SQLITE_FULL", StoreFullError),
        ("SQLITE_IOERR_SHMSIZE", OSError),
        ("SQLITE_CANTOPEN", OSError),
        ("SQLITE_IOERR_SHORT_READ", None),
        ("SQLITE_CORRUPT", None),
    ],
)
def test_a_disk_that_fails_is_told_from_a_file_that_is_damaged(
    monkeypatch: pytest.MonkeyPatch, name: str, want: type[Exception] | None
) -> None:
    disk, watch = Disk(monkeypatch, LARGE), Room(FOLDER)
    error = sqlite3.DatabaseError(name)
    error.sqlite_errorname = name
    error.sqlite_errorcode = getattr(sqlite3, name)
    if want is None:
        watch.check_open(FOLDER / "f", error)
        return
    with pytest.raises(want):
        watch.check_open(FOLDER / "f", error)
    disk.free_mib = 0
    with pytest.raises(StoreFullError):
        watch.check_open(FOLDER / "f", error)
