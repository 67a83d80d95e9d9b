"""Starting the daemons under test, each on its core, and stopping them by pid.

Imports the standard library and psutil.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SERVER_CORE = 0
LOAD_CORE = 1


class BenchError(Exception):
    """A bench that cannot run or whose figures would be wrong; its text says why."""


def need_cores() -> None:
    """Refuse to measure where server and load would share a core.

    Raises:
        BenchError: Fewer than two cores may be used.
    """
    allowed = os.sched_getaffinity(0)
    if not {SERVER_CORE, LOAD_CORE} <= allowed:
        raise BenchError(f"needs cores {SERVER_CORE} and {LOAD_CORE}; may use {sorted(allowed)}")


def program(name: str) -> str:
    """Path of a console script that stands beside this interpreter.

    Raises:
        BenchError: It is not installed.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise BenchError(f"{name} is not installed beside {sys.executable}: run `make setup`")
    return found


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command, bound to one core from its first instruction on, real-time if allowed.

    Raises:
        BenchError: taskset is missing.
    """
    taskset = shutil.which("taskset")
    if taskset is None:
        raise BenchError("taskset is missing: install the package util-linux")
    return [*realtime(), taskset, "--cpu-list", str(core), *command]


@functools.cache
def realtime() -> tuple[str, ...]:
    """A prefix that keeps other programs of the machine out of the way, where that is allowed."""
    chrt = shutil.which("chrt")
    if chrt is None:
        return ()
    prefix = (chrt, "--rr", "5")
    allowed = subprocess.run([*prefix, "true"], check=False, stderr=subprocess.DEVNULL)
    return () if allowed.returncode else prefix


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    stdin: int | IO[str] | None = None,
    stdout: int | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Run a daemon for the time of the block; standard error goes to the file `log`."""
    with log.open("w", encoding="utf-8") as err:
        process = subprocess.Popen(
            command,
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=stdout if stdout is not None else err,
            stderr=err,
            text=True,
            bufsize=1,
        )
        try:
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[str], patience_s: float = 15.0) -> None:
    """Ask the process to end; kill it when it has not after `patience_s`."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_file(path: Path, process: subprocess.Popen[str], log: Path, limit_s: float) -> str:
    """The stripped text of `path` as soon as it exists and is not empty.

    Raises:
        BenchError: The process ended first, or `limit_s` passed.
    """
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text(encoding="utf-8").strip()):
            return text
        if process.poll() is not None:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise BenchError(f"ended with {process.returncode}: {process.args!r}\n{tail}")
        time.sleep(0.02)
    raise BenchError(f"not ready after {limit_s:g} s, see {log}: {process.args!r}")


def machine_busy_s() -> float:
    """Processor time that the whole machine has spent working so far, in seconds."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def own_busy_s() -> float:
    """Processor time of this process and of everything that it started, in seconds."""
    now = os.times()
    running_now = psutil.Process().children(recursive=True)
    ended = now.user + now.system + now.children_user + now.children_system
    return ended + sum(cpu_s(child.pid) for child in running_now)


def cpu_s(pid: int) -> float:
    """Processor time that a process has used so far, user and system, in seconds."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
