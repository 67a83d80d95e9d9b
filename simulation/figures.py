"""What a simulated pool is judged by. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulation.run import World

MOST_LATE_S = 0.1
"""A pool keeps up when no job that waits at the end, and at most one grant in a hundred, has waited
longer."""


@dataclass(slots=True)
class Counts:
    """Collected while it runs.

    Attributes:
        grant_s: From a request to its grant, as its broker can answer it.
        gang_s: The same of gangs over two shards.
        refused: Parts for which there was no room.
        before: What had been counted when counting began.
    """

    grant_s: list[float] = field(default_factory=list)
    gang_s: list[float] = field(default_factory=list)
    refused: int = 0
    before: dict[str, list[float]] = field(default_factory=dict)

    def begin(self, world: World) -> None:
        """The warm-up is over."""
        self.grant_s.clear()
        self.gang_s.clear()
        self.refused = 0
        for seat in world.seats:
            seat.stale_s.clear()
        self.before = totals(world)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one setup.

    Attributes:
        keeps_up: Requests are answered as fast as they come.
        granted_per_s: Parts granted.
        commits_per_s: Transactions of all kinds.
        broker_busy: Share of the busiest broker's core.
        brokers_busy: The mean over all brokers.
        redis_busy: Share of the busiest primary's core.
        redis_commit: Changes in a commit, the mean.
        stale_p50_ms, stale_p99_ms: Age of a change when another broker's view has it.
        grant_p50_ms, grant_p99_ms: From request to answer in the broker.
        gang_p50_ms: The same for gangs over two shards; 0 without any.
        conflicts: Transactions rejected per 1,000 grants.
        conflicts_of_commits: The same per 1,000 transactions of all kinds.
        refused: Per 1,000 grants.
    """

    keeps_up: bool
    granted_per_s: float
    commits_per_s: float
    broker_busy: float
    brokers_busy: float
    redis_busy: float
    redis_commit: float
    stale_p50_ms: float
    stale_p99_ms: float
    grant_p50_ms: float
    grant_p99_ms: float
    gang_p50_ms: float
    conflicts: float
    conflicts_of_commits: float
    refused: float


def totals(world: World) -> dict[str, list[float]]:
    """What brokers and shards count from the start on."""
    return {
        "broker_s": [broker.busy_s for broker in world.brokers],
        "redis_s": [shard.busy_s for shard in world.shards],
        "granted": [float(shard.granted) for shard in world.shards],
        "rejected": [float(shard.rejected) for shard in world.shards],
        "changes": [float(shard.commits) for shard in world.shards],
        "commits": [float(seat.commits) for seat in world.seats],
    }


def figures(world: World) -> Figures:
    """What came out, of the time after the warm-up."""
    counts, setup, now = world.counts, world.setup, totals(world)
    made = {
        name: [after - before for after, before in zip(now[name], counts.before[name], strict=True)]
        for name in now
    }
    granted, changes = sum(made["granted"]), sum(made["changes"])
    stale = [age for seat in world.seats for age in seat.stale_s]
    late_s = max(world.end_s - seat.next_due_s for seat in world.seats)
    slow_ms = percentile_ms(counts.grant_s, 99)
    return Figures(
        keeps_up=late_s < MOST_LATE_S and slow_ms < MOST_LATE_S * 1_000,
        granted_per_s=granted / setup.seconds,
        commits_per_s=changes / setup.seconds,
        broker_busy=max(made["broker_s"]) / setup.seconds,
        brokers_busy=sum(made["broker_s"]) / setup.seconds / setup.brokers,
        redis_busy=max(made["redis_s"]) / setup.seconds,
        redis_commit=changes / max(1.0, sum(made["commits"])),
        stale_p50_ms=percentile_ms(stale, 50),
        stale_p99_ms=percentile_ms(stale, 99),
        grant_p50_ms=percentile_ms(counts.grant_s, 50),
        grant_p99_ms=slow_ms,
        gang_p50_ms=percentile_ms(counts.gang_s, 50),
        conflicts=sum(made["rejected"]) / max(1.0, granted) * 1_000,
        conflicts_of_commits=sum(made["rejected"]) / max(1.0, changes) * 1_000,
        refused=counts.refused / max(1.0, granted) * 1_000,
    )


def percentile_ms(seconds: Sequence[float], percent: int) -> float:
    """A percentile in milliseconds, 0 of nothing."""
    return float(np.percentile(seconds, percent)) * 1_000 if seconds else 0.0
