"""Reads the broker's figures on its event loop, as values that another thread may work on.

What the tables say is read by jobs of the writer, as every answer is: it is durable. Several small
jobs rather than one, so that the loop breathes; when the store hangs, the figures before are
given again, with their age. May import services; no prometheus_client.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from computepool_broker.errors import PoolError
from computepool_broker.model.records import AgentState, AllocationState
from computepool_broker.services.view import CenterSums, sums_by_center

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from computepool_broker.services.pool import Pool
    from computepool_broker.services.tally import AuditTally, Bucketed, Calls, Tally, WriterTally

T = TypeVar("T")
WEIGHT = 128
"""Of a job that reads all nodes or agents, against a grant of one part."""
PATIENCE_S = 1.0
"""A scrape must come back also when the store does not."""


class View(NamedTuple):
    """What the tables said.

    Attributes:
        centers: Sums by center.
        regions: Where each center is.
        ages_ms: Age of each center's oldest numbers; -1 when some are missing.
        read_s: When it was read, on a clock that only rises.
    """

    centers: dict[str, CenterSums]
    regions: dict[str, str]
    ages_ms: dict[str, int]
    agents: dict[str, int]
    agents_expected: int
    allocations: dict[str, int]
    revision: int
    epoch: int
    read_s: float


class CallFigures(NamedTuple):
    """One method's calls; `seconds` is None for streams."""

    open: int
    ended: dict[str, int]
    seconds: Bucketed | None


class Snapshot(NamedTuple):
    """All figures at one moment; `view` is None before the first could be read."""

    view: View | None
    view_age_s: float
    calls: dict[str, CallFigures]
    phases: dict[str, Bucketed]
    counts: dict[str, Mapping[str, int]]
    numbers: dict[str, int]
    audit: AuditTally | None


class Figures:
    """Takes snapshots. One at a time: whoever asks waits for the one before."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._view: View | None = None

    async def take(self) -> Snapshot:
        """The figures now, those of the tables as old as they say."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                self._view = await self._read()
        except (TimeoutError, PoolError):
            pass  # told by their age
        view = self._view
        pool, tally = self._pool, self._pool.tally
        return Snapshot(
            view=view,
            view_age_s=0.0 if view is None else monotonic() - view.read_s,
            calls=_calls(tally.calls),
            phases=_phases(tally, pool.committer.tally),
            counts={
                "errors": dict(tally.errors.by_name),
                "ended": dict(tally.ended.by_name),
                "refusals": dict(tally.refusals.by_name),
                "reports": dict(tally.reports.by_name),
                "lease_refusals": dict(tally.lease_refusals.by_name),
            },
            numbers=_numbers(pool),
            audit=tally.audit,
        )

    async def _read(self) -> View:
        pool = self._pool
        state, columns = pool.state, pool.columns
        centers, regions = await self._job(lambda: (sums_by_center(columns, state), _regions(pool)))
        agents = await self._job(lambda: Counter(book.state for book in state.agents.values()))
        ages = await self._job(pool.center_ages_ms)
        allocations, mark = await self._job(
            lambda: (list(state.by_state), (state.revision, state.epoch))
        )
        return View(
            centers,
            regions,
            ages,
            {each.name: agents[each] for each in AgentState},
            len(pool.expected_agents),
            {each.name: allocations[each] for each in AllocationState},
            *mark,
            monotonic(),
        )

    async def _job(self, read: Callable[[], T]) -> T:
        return await self._pool.committer.submit(lambda _: read(), WEIGHT)


def _calls(calls: Mapping[str, Calls]) -> dict[str, CallFigures]:
    return {
        method: CallFigures(
            each.open, dict(each.ended), None if each.streams else each.seconds.bucketed()
        )
        for method, each in calls.items()
    }


def _phases(tally: Tally, writer: WriterTally) -> dict[str, Bucketed]:
    return {
        "queue": writer.queue_s.bucketed(),
        "run": writer.run_s.bucketed(),
        "plan": tally.plan_s.bucketed(),
        "commit": writer.commit_s.bucketed(),
        "admit": tally.admit_s.bucketed(),
        "jobs": writer.jobs.bucketed(),
        "watch_lag": tally.watch_lag_s.bucketed(),
    }


def _numbers(pool: Pool) -> dict[str, int]:
    tally = pool.tally
    return {
        "granted": tally.granted,
        "adopted": tally.adopted,
        "report_nodes": tally.report_nodes,
        "sessions": tally.sessions,
        "audits": tally.audits,
        "queued": pool.committer.queued,
        "commits_open": pool.committer.under_way,
        "warming_up": int(pool.warming_up),
        "mass_silence": int(pool.mass_silence),
    }


def _regions(pool: Pool) -> dict[str, str]:
    columns = pool.columns
    return {name: columns.center_regions[at] for name, at in columns.centers.items()}
