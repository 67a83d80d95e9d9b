"""How much room is left for the journal: new leases stop before its disk is full.

May import the standard library only. Asks the disk.

Ending a lease has to be written down as well. So what is left last is kept for that: an agent
whose disk is nearly full admits nothing more, and goes on with what it holds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

RESERVE_MIB = 8
"""Room that new leases leave free: twice what SQLite lets a write-ahead log grow to."""
RESERVE_SHARE = 4
"""Of a small disk, a quarter at most."""
_MIB = 1 << 20


def shortage(folder: Path) -> str:
    """Say that a folder's disk is short of room, and by how much; empty while it is not.

    A disk that tells no size counts as large enough.
    """
    found = os.statvfs(folder)
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    reserve = min(RESERVE_MIB * _MIB, size // RESERVE_SHARE)
    if free >= reserve:
        return ""
    return (
        f"{free / _MIB:,.1f} MiB are free in {folder}, new leases leave "
        f"{reserve / _MIB:,.1f} for those that end"
    )
