"""The tables: many setups, each simulated in a process of its own."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulation.choice import POLICIES
from simulation.costs import BATCHED, BROKER, LIFE_STEPS, REDIS, UNARY
from simulation.run import Setup, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from simulation.figures import Figures

SHARDS = (1, 2, 4, 8)
BROKERS = (1, 2, 4, 8, 16)
FORMS = {"unary": UNARY, "batches": BATCHED}
MOST_BROKERS = 48
"""More are not looked at."""
RATE_STEP = 1.05
"""How exactly the most that a pool carries is told."""
BUSY_PER_S = {1: 900.0, 2: 1_650.0, 4: 2_750.0, 8: 3_800.0, 16: 4_800.0}
"""By brokers of one shard: creates a second where conflicts are compared, three quarters of what
`limits` says."""
USES = (0.9, 0.97, 0.99)


@dataclass(frozen=True, slots=True)
class Grid:
    """How to run setups: all with this seed and length, so many at a time."""

    base: Setup
    processes: int

    def run(self, setups: Iterable[Setup]) -> Iterator[Figures]:
        """Their figures, in their order."""
        with ProcessPoolExecutor(self.processes) as pool:
            yield from pool.map(simulate, setups)

    def each(self, of: Callable[[Setup], float], setups: Sequence[Setup]) -> list[float]:
        """A figure that takes several runs, for each setup."""
        with ProcessPoolExecutor(self.processes) as pool:
            return list(pool.map(of, setups))


def pools(grid: Grid) -> str:
    """Table 1: brokers and shards."""
    setups = [
        replace(grid.base, brokers=brokers, shards=shards)
        for shards in SHARDS
        for brokers in BROKERS
        if brokers >= shards
    ]
    head = (
        "| shards | brokers | keeps up | busiest broker | busiest Redis | changes a commit "
        "| stale p50 / p99 ms | grant p50 / p99 ms | conflicts | refused |\n"
        "|---|---|---|---|---|---|---|---|---|---|"
    )
    rows = [
        f"| {s.shards} | {s.brokers} | {steady(f) if f.keeps_up else OVERLOADED}"
        for s, f in zip(setups, grid.run(setups), strict=True)
    ]
    return "\n".join([head, *rows])


def needed(grid: Grid) -> str:
    """Table 1, second part: the fewest brokers."""
    setups = [
        replace(grid.base, shards=shards, costs=costs)
        for shards in SHARDS
        for costs in FORMS.values()
    ]
    found = [brokers_told(few) for few in grid.each(brokers_needed, setups)]
    rows = ["| shards | " + " | ".join(FORMS) + " |", "|---|" + "---|" * len(FORMS)]
    for at, shards in enumerate(SHARDS):
        cells = found[at * len(FORMS) : (at + 1) * len(FORMS)]
        rows.append(f"| {shards} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def limits(grid: Grid) -> str:
    """Table 2: the most that one shard carries, by brokers."""
    rows = ["| callers | brokers of one shard | creates/s | changes/s |", "|---|---|---|---|"]
    for form, costs in FORMS.items():
        setups = [replace(grid.base, brokers=brokers, shards=1, costs=costs) for brokers in BROKERS]
        for setup, rate in zip(setups, grid.each(most_rate, setups), strict=True):
            rows.append(f"| {form} | {setup.brokers} | {rate:,.0f} | {rate * LIFE_STEPS:,.0f} |")
    return "\n".join(rows)


def conflicts(grid: Grid) -> str:
    """Table 3: ways to keep out of each other's way."""
    rows = [
        "| in use | brokers | " + " | ".join(policy.name for policy in POLICIES) + " |",
        "|---|---|" + "---|" * len(POLICIES),
    ]
    cases = [(use, brokers) for use in USES for brokers in BROKERS]
    setups = [
        replace(
            grid.base,
            brokers=brokers,
            shards=1,
            use=use,
            policy=policy,
            rate=BUSY_PER_S[brokers],
        )
        for use, brokers in cases
        for policy in POLICIES
    ]
    found = list(grid.run(setups))
    for at, (use, brokers) in enumerate(cases):
        mine = found[at * len(POLICIES) : (at + 1) * len(POLICIES)]
        cells = [f"{f.conflicts:.1f} ({f.conflicts_of_commits:.1f})" for f in mine]
        rows.append(f"| {use:.0%} | {brokers} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def seats(grid: Grid) -> str:
    """Table 4: a seat at one shard, or at all."""
    rows = [
        "| creates/s | brokers | seats | keeps up | brokers busy | stale p99 ms |",
        "|---|---|---|---|---|---|",
    ]
    setups = [
        replace(grid.base, brokers=brokers, shards=8, everywhere=everywhere, rate=rate)
        for rate in (grid.base.rate / 4, grid.base.rate)
        for brokers in (8, 16)
        for everywhere in (False, True)
    ]
    for s, f in zip(setups, grid.run(setups), strict=True):
        where = "at all 8 shards" if s.everywhere else "at one shard"
        rows.append(
            f"| {s.rate:,.0f} | {s.brokers} | {where} | {'yes' if f.keeps_up else 'no'} "
            f"| {f.brokers_busy:.2f} | {f.stale_p99_ms:.1f} |"
        )
    return "\n".join(rows)


def gangs(grid: Grid) -> str:
    """Table 5: gangs over two shards."""
    rows = [
        "| gangs over two shards | brokers busy | grant p50 ms | gang p50 ms | conflicts |",
        "|---|---|---|---|---|",
    ]
    shares = (0.0, 0.01, 0.05, 0.2)
    setups = [
        # A gang has two parts: so many requests that the parts stay the same.
        replace(grid.base, brokers=16, shards=4, gangs=share, rate=grid.base.rate / (1 + share))
        for share in shares
    ]
    for s, f in zip(setups, grid.run(setups), strict=True):
        gang = f"{f.gang_p50_ms:.1f}" if s.gangs else "-"
        rows.append(
            f"| {s.gangs:.0%} | {f.brokers_busy:.2f} | {f.grant_p50_ms:.1f} | {gang} "
            f"| {f.conflicts:.1f} |"
        )
    return "\n".join(rows)


def sensitivity(grid: Grid) -> str:
    """Table 6: what if a cost is another one."""
    rows = [
        "| what if | brokers needed, 4 shards | most creates/s, 1 shard with 8 brokers |",
        "|---|---|---|",
    ]
    cases = {
        "as measured": grid.base,
        **{
            f"{name} x {factor:g}": replace(grid.base, costs=UNARY.times(factor, *names))
            for name, names in (("broker", BROKER), ("fold", ("fold_us",)), ("Redis", REDIS))
            for factor in (0.5, 2.0)
        },
        "round trip 1 ms": replace(grid.base, costs=replace(UNARY, round_trip_us=1_000)),
        "round trip 5 ms": replace(grid.base, costs=replace(UNARY, round_trip_us=5_000)),
        "appendfsync always": replace(grid.base, costs=replace(UNARY, fsync_us=190)),
        "gathering 1 ms": replace(grid.base, pace_ms=1.0),
        "gathering 10 ms": replace(grid.base, pace_ms=10.0),
        "callers in batches": replace(grid.base, costs=BATCHED),
        "no request names a center": replace(grid.base, one_center=0.0),
        "a fifth of the requests names one": replace(grid.base, one_center=0.2),
    }
    few = grid.each(brokers_needed, [replace(s, shards=4) for s in cases.values()])
    most = grid.each(most_rate, [replace(s, shards=1, brokers=8) for s in cases.values()])
    for name, brokers, rate in zip(cases, few, most, strict=True):
        rows.append(f"| {name} | {brokers_told(brokers)} | {rate:,.0f} |")
    return "\n".join(rows)


def brokers_needed(setup: Setup) -> float:
    """The fewest that keep up, as many for each shard, by doubling and halving; 0 if none do.

    Not from MOST_BROKERS down: so many on one shard keep its Redis busy with reading.
    """

    def keep_up(brokers: int) -> bool:
        return simulate(replace(setup, brokers=brokers * setup.shards)).keeps_up

    high = 1
    while not keep_up(high):
        high *= 2
        if high * setup.shards > MOST_BROKERS:
            return 0
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if keep_up(middle):
            high = middle
        else:
            low = middle
    return high * setup.shards


def brokers_told(few: float) -> str:
    """A number of brokers for a table."""
    return f"{few:.0f}" if few else f"more than {MOST_BROKERS}"


def most_rate(setup: Setup) -> float:
    """Creates a second that the pool just keeps up with, by halving."""
    low, high = 100.0, 40_000.0
    while high / low > RATE_STEP:
        middle = (low * high) ** 0.5
        if simulate(replace(setup, rate=middle)).keeps_up:
            low = middle
        else:
            high = middle
    return low


OVERLOADED = "no | - | - | - | - | - | - | - |"
"""Its figures would be those of its queues, and of how long it was looked at."""


def steady(found: Figures) -> str:
    """The cells of a pool that keeps up; ages of changes if anybody else is there to see them."""
    stale = f"{found.stale_p50_ms:.1f} / {found.stale_p99_ms:.1f}"
    return (
        f"yes | {found.broker_busy:.2f} | {found.redis_busy:.2f} | {found.redis_commit:.0f} "
        f"| {stale if found.stale_p99_ms else '-'} "
        f"| {found.grant_p50_ms:.0f} / {found.grant_p99_ms:.0f} "
        f"| {found.conflicts:.1f} | {found.refused:.1f} |"
    )


TABLES = {
    "pools": pools,
    "needed": needed,
    "limits": limits,
    "conflicts": conflicts,
    "seats": seats,
    "gangs": gangs,
    "sensitivity": sensitivity,
}
