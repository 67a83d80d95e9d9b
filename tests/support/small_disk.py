"""A disk of a few MiB that a test fills and empties: a real one, whose writes fail with ENOSPC.

It is a tmpfs, mounted by root in the test's own folder. Where mounting is not allowed (a container
without CAP_SYS_ADMIN, a user who is not root) the test is skipped, loudly: there the tests of
`support.no_space` show the same failure of single processes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BALLAST = "ballast"
_CHUNK = 64 * 1024


class SmallDisk:
    """The disk; what should run out of room keeps its files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def free_kib(self) -> int:
        """Room that is left for programs."""
        room = os.statvfs(self.folder)
        return room.f_bavail * room.f_frsize // 1024

    def fill(self, leave_kib: int = 0) -> None:
        """Let others take all room, but for so much."""
        with (self.folder / _BALLAST).open("ab", buffering=0) as file:
            try:
                while (left := (self.free_kib - leave_kib) * 1024) > 0:
                    file.write(bytes(min(left, _CHUNK)))
            except OSError:
                assert not leave_kib, "somebody else writes here as well"

    def make_room(self) -> None:
        """Let others give back what they took."""
        (self.folder / _BALLAST).unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[SmallDisk]:
    """A disk for the length of a block; skips the test where none can be made."""
    folder.mkdir()
    if not _mounted(folder, size_mib):
        pytest.skip("NOT TESTED ON A FULL DISK: no right to mount a tmpfs (be root)")
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: what a test that failed has left running does not keep it.
        subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S607 - found above


def _mounted(folder: Path, size_mib: int) -> bool:
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        return False
    options = f"size={size_mib}m,mode=700"
    command = [mount, "-t", "tmpfs", "-o", options, "small-disk", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
