"""A disk that is full, or broken, for one process alone: its calls for files of a folder fail.

strace puts the error in the place of the call, in a process that runs; let go of, the process has
a good disk again. No right to mount is needed, and no compiler: what `small_disk` shows where it
can, this shows everywhere.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LOOKS, _BETWEEN_S = 5, 0.01
"""A thread that strace holds at a call for a moment looks as if it stood still: look again."""
SYNCS = "fsync,fdatasync"
WRITES = "write,pwrite64,writev,pwritev,ftruncate,fallocate"


def strace() -> str:
    """Path of strace; a machine of CI must have it."""
    found = shutil.which("strace")
    if found is None:
        missing = "strace is not installed: what a failing disk does is NOT SHOWN"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


class _Tracer:
    """strace in one process, from when it has all threads until it is let go of."""

    def __init__(self, pid: int, folder: Path, calls: str, error: str) -> None:
        files = [str(path.resolve()) for path in folder.rglob("*") if path.is_file()]
        assert files, f"{folder} has no files"
        watched = [option for path in files for option in ("-P", path)]
        rules = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}"]
        command = [strace(), "-f", "-p", str(pid), *rules, "-o", os.devnull, *watched]
        self._pid = pid
        self._tasks = Path(f"/proc/{pid}/task")
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    async def has_all(self) -> bool:
        """Whether every thread is traced."""
        if self._process.poll() is not None:
            pytest.skip("NOT TESTED WITH FAILING WRITES: no right to trace a process")
        return self._tracers() == {str(self._process.pid)}

    def _tracers(self) -> set[str]:
        found: set[str] = set()
        try:
            tasks = list(self._tasks.iterdir())
        except FileNotFoundError:
            return found  # the process has ended: nothing of it is traced
        for task in tasks:
            with suppress(OSError):  # a thread that has ended
                status = (task / "status").read_text()
                found.add(status.partition("TracerPid:")[2].split()[0])
        return found

    async def let_go(self) -> None:
        """Detach; while the process stands still, so that no call of it is between two errors."""
        if self._process.poll() is None and self._tracers() == {str(self._process.pid)}:
            os.kill(self._pid, signal.SIGSTOP)
            try:
                await eventually(self._stands_still, f"all threads of {self._pid} stand still")
                self._end()
            finally:
                os.kill(self._pid, signal.SIGCONT)
        self._end()

    async def _stands_still(self) -> bool:
        for _ in range(_LOOKS):
            stats = [(task / "stat").read_text() for task in self._tasks.iterdir()]
            if not {stat.rpartition(")")[2].split()[0] for stat in stats} <= set("tT"):
                return False
            await asyncio.sleep(_BETWEEN_S)
        return True

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait()


def no_space(pid: int, folder: Path) -> AbstractAsyncContextManager[None]:
    """For the length of a block, `pid` can write nothing more to the files in `folder`."""
    return _failing(pid, folder, WRITES, "ENOSPC")


def no_sync(pid: int, folder: Path) -> AbstractAsyncContextManager[None]:
    """For the length of a block, what `pid` writes to the files in `folder` reaches no disk."""
    return _failing(pid, folder, SYNCS, "EIO")


@asynccontextmanager
async def _failing(pid: int, folder: Path, calls: str, error: str) -> AsyncIterator[None]:
    tracer = _Tracer(pid, folder, calls, error)
    try:
        await eventually(tracer.has_all, f"strace has all threads of {pid}")
        yield
    finally:
        await tracer.let_go()
