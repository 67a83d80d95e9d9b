"""A broker's place at one shard: its view, the jobs that wait for it, and what they cost. Pure.

A broker is one processor core. It has a seat at the shard that is its own, or one at every shard;
each seat has at most one commit under way.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulation.choice import Policy, Request, best_row, slots
from simulation.costs import FEW_BEHIND, MOST_BEHIND, US, Costs
from simulation.pool import LOWEST, Held, Nodes
from simulation.shard import Change, Commit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulation.shard import Entry

MAX_BATCH = 512
"""As services/committer.py."""
EARLY = 0.5
"""Share of a job's cost (reading the call, checking it) that is spent when it comes, while the
broker would otherwise wait for Redis."""


class Kind(IntEnum):
    """Jobs: the steps of a life; those of a gang over two shards."""

    CREATE = 0
    ADMIT = 1
    START = 2
    END = 3
    GONE = 4
    PREPARE = 5
    DECIDE = 6
    CONFIRM = 7
    ABORT = 8


TAKES = frozenset({Kind.CREATE, Kind.PREPARE})
GIVES = frozenset({Kind.GONE, Kind.ABORT})


@dataclass(slots=True, eq=False)
class Life:
    """One part of an allocation.

    Attributes:
        asked_s: When the request came.
        seat: Whose agent's reports it follows: its number.
        other: The part in the other shard, of a gang.
    """

    request: Request
    asked_s: float
    held: Held | None = None
    seat: int = -1
    other: Life | None = None


class Job(NamedTuple):
    """In the order of `due_s`; `turn` makes equals ordered."""

    due_s: float
    turn: int
    kind: Kind
    life: Life


@dataclass(slots=True)
class Broker:
    """One core.

    Attributes:
        free_at_s: When it has done what it has begun.
        busy_s: Time spent working.
    """

    free_at_s: float = 0.0
    busy_s: float = 0.0

    def work(self, now_s: float, us: float, early_us: float = 0.0) -> float:
        """Do something; when it is done.

        Args:
            now_s: Not before.
            us: What it costs.
            early_us: What of it can have been done before `now_s`, while the core had nothing to
                do.
        """
        idle_us = max(0.0, now_s - self.free_at_s) / US
        self.busy_s += us * US
        self.free_at_s = max(now_s, self.free_at_s) + (us - min(early_us, idle_us)) * US
        return self.free_at_s


class Seating(NamedTuple):
    """Where a seat is.

    Attributes:
        number: Of the seat, over all.
        shard: Of the shard.
        place, among: Which of how many seats of that shard.
    """

    number: int
    shard: int
    place: int
    among: int


class Seat:
    """See the module.

    Attributes:
        under_way: The commit that has not come back, and its jobs.
        folded: Entries of the stream that the view has.
        stale_s: Ages of changes of others when the view had them.
        refused: Requests for which there was no room.
        began_s: When the last commit was planned.
    """

    def __init__(
        self, where: Seating, broker: Broker, nodes: Nodes, policy: Policy, costs: Costs, seed: int
    ) -> None:
        self.where = where
        self.broker = broker
        self.view = nodes.copy()
        self.under_way: list[Job] | None = None
        self.folded = 0
        self.stale_s: list[float] = []
        self.refused: list[Job] = []
        self.commits = 0
        self.following = False
        self.began_s = float("-inf")
        self._policy, self._costs = policy, costs
        self._rng = np.random.default_rng((seed, where.number))
        self._mine = slots(len(nodes.free), where.among) == where.place
        self._waiting: list[Job] = []
        self._changed = 0
        self._looked: dict[Request, int] = {}

    def add(self, job: Job) -> None:
        """A job to be done when it is due."""
        heapq.heappush(self._waiting, job)

    @property
    def next_due_s(self) -> float:
        """When the next job is due; infinity when there is none."""
        return self._waiting[0].due_s if self._waiting else float("inf")

    def batch(self, now_s: float) -> tuple[float, Commit] | None:
        """Plan what is due, at most MAX_BATCH; when it leaves, and what."""
        self.began_s = now_s
        jobs: list[Job] = []
        changes: list[Change] = []
        us, early_us = self._costs.commit_us, 0.0
        while self._waiting and self._waiting[0].due_s <= now_s and len(jobs) < MAX_BATCH:
            job = heapq.heappop(self._waiting)
            us += self._costs.job_us
            early_us += self._costs.job_us * EARLY
            if job.kind in TAKES:
                us += self._plan_us(job.life.request)
            change = self._change(job)
            if change is None:
                self.refused.append(job)
                continue
            jobs.append(job)
            changes.append(change)
        leaves_s = self.broker.work(now_s, us, early_us)
        if not jobs:
            return None
        self.commits += 1
        self.under_way = jobs
        return leaves_s, Commit(self.where.number, self.folded, changes)

    def fold(self, entries: Sequence[Entry], now_s: float) -> float:
        """Bring the view up to date; when that is done.

        An entry says what its rows are after it, so that a grant of our own that was refused is
        undone by the entry that made it fail.
        """
        foreign = [entry for entry in entries if entry.seat != self.where.number]
        changes = sum(entry.changes for entry in foreign)
        done_s = self.broker.work(now_s, changes * self._costs.fold_us)
        self.stale_s += [done_s - entry.at_s for entry in foreign]
        self.folded += len(entries)
        view = self.view
        for entry in entries:
            if len(entry.rows):
                view.free[entry.rows] = entry.free
                view.count[entry.rows] = np.bitwise_count(entry.free)
                view.cpu[entry.rows] = entry.cpu
                self._changed += len(entry.rows)
        return done_s

    def _change(self, job: Job) -> Change | None:
        life = job.life
        if job.kind in TAKES:
            row = best_row(self.view, life.request, self._policy, self._rng, self._mine)
            if row < 0:
                return None
            life.held = Held(row, LOWEST[self.view.free.item(row)][life.request.devices])
            self.view.take(life.held)
            return Change(take=life.held)
        if job.kind in GIVES and life.held is not None:
            self.view.give(life.held)
            return Change(give=life.held)
        return Change()

    def _plan_us(self, request: Request) -> float:
        """The index of a shape catches up with what has changed since, or is made anew."""
        costs, nodes = self._costs, len(self.view.free)
        behind = self._changed - self._looked.get(request, -nodes)
        self._looked[request] = self._changed
        if behind <= FEW_BEHIND:
            return costs.plan_us
        if behind > nodes // 2:
            return costs.plan_us + nodes * costs.build_row_us
        return costs.catch_up_us + min(behind, MOST_BEHIND) * costs.catch_up_row_us
