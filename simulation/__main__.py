"""`python -m simulation [WHAT ...]`: the tables of docs/design-notes/sharding.md and their grounds.

Without WHAT all but `measure`, which starts a Redis, a broker and agents and takes a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import grpc
from bench.output import remark
from bench.process import BenchError

from simulation import gang, lockstep
from simulation.choice import POLICIES
from simulation.costs import UNARY, table
from simulation.grid import TABLES, Grid
from simulation.lockstep import Lockstep
from simulation.measure import measure
from simulation.run import Setup

BASE = Setup(brokers=1, shards=1)
OTHERS = ("costs", "lockstep", "gang")


def main() -> int:
    """Return 0, or 1 when a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("what", nargs="*", choices=[*OTHERS, *TABLES, "measure"], metavar="WHAT")
    parser.add_argument("--seed", type=int, default=BASE.seed)
    parser.add_argument("--seconds", type=float, default=BASE.seconds, help="simulated and counted")
    parser.add_argument("--rate", type=float, default=BASE.rate, help="creates a second")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("bench/results/state/simulation"),
        help="on a disk, for the daemons that `measure` starts (default: %(default)s)",
    )
    args = parser.parse_args()
    base = Setup(1, 1, rate=args.rate, seconds=args.seconds, seed=args.seed)
    grid = Grid(base, args.processes)
    try:
        for what in args.what or [*OTHERS, *TABLES]:
            start = time.monotonic()
            print(f"\n## {what}\n\n{text_of(what, grid, args.folder)}", flush=True)
            remark(f"== {what}: {time.monotonic() - start:.0f} s")
    except (BenchError, grpc.RpcError) as error:
        remark(f"measurement failed: {error}")
        return 1
    return 0


def text_of(what: str, grid: Grid, folder: Path) -> str:
    """One part of the output, Markdown or JSON."""
    match what:
        case "costs":
            return table(UNARY)
        case "lockstep":
            return agreement(grid.base.seed)
        case "gang":
            return gang.report()
        case "measure":
            return json.dumps(measure(folder), indent=1)
        case _:
            return TABLES[what](grid)


def agreement(seed: int) -> str:
    """Conflicts by the broker's own code and by the simplified one."""
    rows = [
        "| planners | batch | in use | choice | grants | conflicts per 1,000 | simplified |",
        "|---|---|---|---|---|---|---|",
    ]
    for planners, batch, use in ((2, 1, 0.9), (4, 1, 0.9), (4, 8, 0.9), (4, 8, 0.97)):
        for policy in POLICIES:
            setup = Lockstep(planners, batch, policy, use=use, seed=seed)
            real, ours = lockstep.real(setup), lockstep.simplified(setup)
            rows.append(
                f"| {planners} | {batch} | {use:.0%} | {policy.name} | {real.granted} "
                f"| {real.conflicts:.1f} | {ours.conflicts:.1f} |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
