"""`python -m bench NAME [--state-dir DIR]`: run one bench, or `all` one after the other."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from bench import (
    agent,
    allocate,
    bulk,
    echo,
    engine,
    explain,
    flood,
    memory,
    restart,
    sync,
    watch,
)
from bench.output import RESULTS, Output, remark
from bench.process import BenchError, need_cores

if TYPE_CHECKING:
    from collections.abc import Callable

BENCHES: dict[str, Callable[[Output, Path], None]] = {
    "echo": echo.run,
    "allocate": allocate.run,
    "allocate-alone": allocate.run_alone,
    "stream": bulk.run_stream,
    "batch": bulk.run_batch,
    "renew": bulk.run_renew,
    "sync": sync.run,
    "engine": engine.run,
    "explain": explain.run,
    "agent": agent.run,
    "watch": watch.run,
    "flood": flood.run,
    "memory": memory.run,
    "memory-redis": memory.run_redis,
    "restart": restart.run,
}


def main() -> int:
    """Return 0, 1 when a bench failed or its figures would be wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=["all", *BENCHES])
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=RESULTS / "state",
        help="folder on a disk for the daemons' state (default: bench/results/state)",
    )
    args = parser.parse_args()
    names = list(BENCHES) if args.name == "all" else [args.name]
    try:
        need_cores()
        for name in names:
            run_one(name, args.state_dir / name)
    except (BenchError, grpc.RpcError) as error:
        remark(f"bench failed: {error}")
        return 1
    return 0


def run_one(name: str, folder: Path) -> None:
    """Run a bench in its own folder and say how long it took."""
    remark(f"== {name} (load average {os.getloadavg()[0]:.1f})")
    start = time.monotonic()
    BENCHES[name](Output(name), folder)
    remark(f"== {name}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
