"""`make chaos`: rounds of random faults under load, until something is wrong or all are done."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from chaos.rounds import Rounds, drawn
from chaos.world import Shape, World


def main() -> int:
    """Run; 0 when all was well, 1 when something was wrong: the logs and the history are kept."""
    asked = _asked()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {asked.seed}, in {folder}", flush=True)  # noqa: T201 - a command's output
    wrong = asyncio.run(_run(asked, folder))
    if not wrong:
        shutil.rmtree(folder)
        return 0
    for each in wrong:
        print(each)  # noqa: T201 - a command's output
    print(f"seed {asked.seed}: the history and all logs are in {folder}")  # noqa: T201
    return 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="so long, at most; 0: no limit")
    parser.add_argument("--rounds", type=int, default=0, help="so many; 0: until the time is over")
    parser.add_argument("--seed", default="", help="repeats the same faults; else drawn")
    parser.add_argument("--brokers", type=int, default=1, help="brokers over one Redis")
    parser.add_argument("--ha", action="store_true", help="three Redis servers and sentinels")
    parser.add_argument("--only", default="", help="only faults with this in their name")
    asked = parser.parse_args()
    asked.seed = asked.seed or f"{random.SystemRandom().getrandbits(32):08x}"
    if not asked.minutes and not asked.rounds:
        asked.minutes = 2.0
    return asked


async def _run(asked: argparse.Namespace, folder: Path) -> list[str]:
    shape = Shape(brokers=asked.brokers, ha=asked.ha)
    over_s = time.monotonic() + asked.minutes * 60 if asked.minutes else float("inf")
    seen: Counter[str] = Counter()
    async with World(folder, shape) as world, Rounds(world, asked.seed) as rounds:
        for fault in drawn(asked.seed, shape, asked.only):
            print(await rounds.round(fault), flush=True)  # noqa: T201 - a command's output
            seen[fault.name] += 1
            done = asked.rounds and seen.total() >= asked.rounds
            if rounds.wrong or done or time.monotonic() > over_s:
                break
        await rounds.finish()
        served = [r.served_s for r in world.checker.recoveries if r.served_s is not None]
        print(  # noqa: T201 - a command's output
            f"{seen.total()} rounds of {len(seen)} faults; served again after at most "
            f"{max(served, default=0):.2f} s; restarted: {len(world.restarts)}"
        )
        return rounds.wrong


if __name__ == "__main__":
    sys.exit(main())
