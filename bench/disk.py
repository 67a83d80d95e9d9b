"""How long the disk itself takes to make a small write durable.

Run as a program: `python -m bench.disk FOLDER` prints both medians as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.output import file_system
from bench.process import SERVER_CORE, BenchError, pinned

BLOCK = b"\x5a" * 4096
ROUNDS = 300
IN_MEMORY = {"tmpfs", "ramfs"}


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


def fdatasync_us(folder: Path, *, append: bool) -> float:
    """Median microseconds of: write 4 KiB to a file, fdatasync.

    Args:
        folder: Where the file is made and deleted again.
        append: Whether each write makes the file longer, which the file system
            has to journal, or goes over blocks that are there already.
    """
    took = []
    with tempfile.NamedTemporaryFile(dir=folder, buffering=0) as file:
        handle = file.fileno()
        if not append:
            os.write(handle, BLOCK * ROUNDS)
            os.fsync(handle)
            os.lseek(handle, 0, os.SEEK_SET)
        for _ in range(ROUNDS):
            start = time.perf_counter()
            os.write(handle, BLOCK)
            os.fdatasync(handle)
            took.append((time.perf_counter() - start) * 1e6)
    return statistics.median(took)


def measure_us(folder: Path) -> dict[str, float]:
    """Both medians, measured on the server's core as the server would be, in microseconds."""
    command = pinned(SERVER_CORE, [sys.executable, "-m", "bench.disk", str(folder)])
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    here = Path(sys.argv[1])
    print(
        json.dumps(
            {
                "append": fdatasync_us(here, append=True),
                "overwrite": fdatasync_us(here, append=False),
            }
        )
    )
