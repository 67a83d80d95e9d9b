"""How long the disk itself takes to make a small write durable."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from typing import TYPE_CHECKING

from bench.output import file_system
from bench.process import BenchError

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = b"\x5a" * 4096
IN_MEMORY = {"tmpfs", "ramfs", "overlay-tmpfs"}


def need_disk(folder: Path) -> str:
    """Make the folder; return the type of its file system.

    Raises:
        BenchError: It lies in memory, where durability costs nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind = file_system(folder)
    if kind in IN_MEMORY:
        raise BenchError(f"{folder} is on {kind}: name a folder on a disk with --state-dir")
    return kind


def fdatasync_us(folder: Path, rounds: int = 500) -> list[float]:
    """Sorted microseconds of `rounds` times: append 4 KiB to a file, fdatasync."""
    took = []
    with tempfile.NamedTemporaryFile(dir=folder, buffering=0) as file:
        handle = file.fileno()
        for _ in range(rounds):
            start = time.perf_counter()
            os.write(handle, BLOCK)
            os.fdatasync(handle)
            took.append((time.perf_counter() - start) * 1e6)
    return sorted(took)


def median_us(folder: Path) -> float:
    """Median of `fdatasync_us`."""
    return statistics.median(fdatasync_us(folder))
