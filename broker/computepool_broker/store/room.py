"""How much room is left on a store's disk: new grants stop before it is full, the rest goes on.

A store whose disk is full cannot write down that something was released either, and its broker
ends. So new grants leave a reserve to what gives room back and keeps the pool true: releases,
expiries, reports, adoptions.

May import errors. Asks the disk.
"""

from __future__ import annotations

import os
import sqlite3
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from computepool_broker.errors import StoreFullError

if TYPE_CHECKING:
    from pathlib import Path

RESERVE_MIB = 64
"""Room that new grants leave free."""
RESERVE_SHARE = 4
"""Of a small disk, a quarter at most."""
MARGIN_SHARE = 8
"""By an eighth more than the reserve must be free again: who asks at its edge gets one answer."""
LEAST_MIB = 1
"""With less than that a store is not opened: its first commits would fail."""
LOOK_EVERY_S = 0.2
RETRY_MS = 5_000
_MIB = 1 << 20
_OF_DISK = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")
_DAMAGED = frozenset({"SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS"})
"""Of SQLite's errors of input and output those that a file cut short leads to."""

log = structlog.get_logger()


class Room:
    """Watches the disk of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked_s = float("-inf")
        self._short = ""

    def check_grants(self) -> None:
        """Refuse new grants while the reserve is touched; looks five times a second at most.

        Raises:
            StoreFullError: Nothing was changed.
        """
        now_s = monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            self._look()
        if self._short:
            raise StoreFullError(self._short, retry_after_ms=RETRY_MS)

    def check_start(self) -> None:
        """Refuse to open a store that could not even begin.

        Raises:
            StoreFullError: Nothing was changed.
        """
        free, size = _measure(self._folder)
        least = min(LEAST_MIB * _MIB, size // RESERVE_SHARE)
        if free < least:
            raise StoreFullError(
                f"no space left on {self._folder}: {_mib(free)} MiB are free, at least "
                f"{_mib(least)} are needed. Make room; nothing that was acknowledged is lost"
            )

    def check_open(self, path: Path, error: sqlite3.DatabaseError) -> None:
        """Tell a disk that fails from a file that is wrong, of which the caller knows more.

        Raises:
            StoreFullError: It failed for want of room.
            OSError: The disk failed otherwise.
        """
        name = getattr(error, "sqlite_errorname", "")  # absent from what we raise ourselves
        if not name.startswith(_OF_DISK) or name in _DAMAGED:
            return
        if full(error):
            raise StoreFullError(f"no space left on {path} ({error})") from error
        self.check_start()
        raise OSError(f"{path} cannot be read and written ({error})") from error

    def _look(self) -> None:
        free, size = _measure(self._folder)
        reserve = min(RESERVE_MIB * _MIB, size // RESERVE_SHARE)
        if free >= reserve + (reserve // MARGIN_SHARE if self._short else 0):
            if self._short:
                log.info("store_has_room_again", folder=str(self._folder), free_mib=free // _MIB)
            self._short = ""
            return
        if not self._short:
            log.warning("store_short_of_room", folder=str(self._folder), free_mib=free // _MIB)
        self._short = (
            f"little space left on {self._folder}: {_mib(free)} MiB are free, new grants leave "
            f"{_mib(reserve)} to releases and reports"
        )


def full(error: BaseException) -> bool:
    """Whether a write of SQLite failed for want of room."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _measure(folder: Path) -> tuple[int, int]:
    """Free bytes for programs like us, and all; what tells no size counts as never full."""
    found = os.statvfs(folder)
    if not found.f_blocks:
        return 1, 0
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _mib(size: int) -> str:
    return f"{size / _MIB:,.1f}"
