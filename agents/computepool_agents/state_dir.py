"""The folder that an agent keeps its state in, locked for the life of its process.

May import the standard library only. Touches the disk.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

LOCK_NAME = "lock"


class StateDirError(Exception):
    """The state folder cannot be used; the text says why and names it."""


class StateDir:
    """A folder, made where missing, that no other process uses meanwhile.

    The lock is the kernel's (flock): it ends with the process, however that ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    def __enter__(self) -> Self:
        """Make and lock the folder.

        Raises:
            StateDirError: It cannot be made or written, or another process has it.
        """
        lock_path = self.path / LOCK_NAME
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateDirError(f"cannot use the state folder {self.path}: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            self._close()
            raise StateDirError(
                f"the state folder {self.path} is in use by another agent (pid {owner})"
            ) from error
        os.ftruncate(self._lock, 0)
        with suppress(OSError):  # a full disk: the lock counts, not whom it names
            os.pwrite(self._lock, f"{os.getpid()}\n".encode("ascii"), 0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Unlock the folder; it stays, with all that is in it."""
        self._close()

    def _close(self) -> None:
        os.close(self._lock)
        self._lock = -1


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a small file so that a reader finds the old text, the new one, never a part.

    Not durable: for what the next start makes anew. Raises OSError where the disk does.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise


def sync_folder(path: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
