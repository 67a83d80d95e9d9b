"""The events between brokers and shards, in virtual time, for a seed. Pure.

    request ──> seat: wait, plan ──commit──> shard: turn ──answer, entries of others──> seat: fold
                   ^                                                                      │
                   └── next step of the life, after its agent has reported <──────────────┘

A seat starts its next commit as soon as the last has come back and something is due. A seat with
nothing to do follows the stream.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from simulation.choice import POLICIES, Policy, Request
from simulation.costs import UNARY, US, Costs
from simulation.figures import Counts, Figures, figures
from simulation.pool import (
    DEVICES,
    MEAN_DEVICES,
    ONE_CENTER,
    centers_of,
    some_requests,
    tiled,
    used_for_long,
)
from simulation.seat import Broker, Job, Kind, Life, Seat, Seating
from simulation.shard import Commit, Shard

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.pool import Held

AGENT_S = 0.02
"""From a commit to the report in which the agent has done what it says."""
BLOCK = 8
"""The pool is this many times a pool of an eighth of its nodes, so that 1 to 8 shards hold the
same nodes in the same state."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is simulated.

    Attributes:
        nodes: Over all shards; eight devices each.
        rate: Creates a second, over all brokers.
        everywhere: Every broker has a seat at every shard; else at one.
        gangs: Share of requests with a second part in another shard.
        one_center: Share of requests that name a center.
        use: Share of all devices granted.
        pace_ms: Between two commits of a seat, at least: calls gather meanwhile.
        warm_s, seconds: Not counted, counted.
    """

    brokers: int
    shards: int
    policy: Policy = POLICIES[-1]
    costs: Costs = UNARY
    nodes: int = 100_000
    rate: float = 10_000.0
    everywhere: bool = False
    gangs: float = 0.0
    one_center: float = ONE_CENTER
    use: float = 0.9
    pace_ms: float = 5.0
    warm_s: float = 1.0
    seconds: float = 2.0
    seed: int = 1


def simulate(setup: Setup) -> Figures:
    """Run it; equal setups give equal figures.

    Raises:
        ValueError: There are fewer brokers than shards with a seat at one each, gangs and one
            shard, or shards that do not divide BLOCK.
    """
    return World(setup).run()


class World:
    """All shards and seats, and the events to come."""

    def __init__(self, setup: Setup) -> None:
        if BLOCK % setup.shards:
            raise ValueError(f"{setup.shards} shards do not divide {BLOCK}")
        if setup.brokers < setup.shards and not setup.everywhere:
            raise ValueError(f"{setup.brokers} brokers cannot sit at {setup.shards} shards")
        if setup.gangs and setup.shards == 1:
            raise ValueError("a gang over shards needs two of them")
        self.setup = setup
        self.counts = Counts()
        self._rng = np.random.default_rng(setup.seed)
        self._turn = 0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._hop_s = setup.costs.hop_us * US / 2
        block = used_for_long(setup.nodes // BLOCK, setup.use, setup.seed)
        self._pool, lives = tiled(*block, BLOCK // setup.shards)
        self._centers = BLOCK // setup.shards * centers_of(setup.nodes // BLOCK)
        self.shards = [Shard(self._pool, setup.costs) for _ in range(setup.shards)]
        self.brokers = [Broker() for _ in range(setup.brokers)]
        self.seats = self._seated()
        self._at = [
            [s for s in self.seats if s.where.shard == shard] for shard in range(setup.shards)
        ]
        parts_per_s = setup.rate * (1 + setup.gangs)
        self._mean_life_s = setup.nodes * DEVICES * setup.use / MEAN_DEVICES / parts_per_s
        self._steps = [float("inf")] * len(self.seats)
        for shard in range(setup.shards):
            self._end_in_time(shard, lives)
        for seat in self.seats:
            self._expect(seat)

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.setup.warm_s + self.setup.seconds

    def run(self) -> Figures:
        """All events up to the end."""
        counting = False
        while self._events and self._events[0][0] < self.end_s:
            now_s, _, happen = heapq.heappop(self._events)
            if not counting and now_s >= self.setup.warm_s:
                counting = True
                self.counts.begin(self)
            happen(now_s)
        return figures(self)

    # -- setting up ------------------------------------------------------------------------

    def _seated(self) -> list[Seat]:
        setup, seats = self.setup, list[Seat]()
        for shard in range(setup.shards):
            numbers = range(setup.brokers)
            here = [b for b in numbers if setup.everywhere or b % setup.shards == shard]
            for place, broker in enumerate(here):
                where = Seating(len(seats), shard, place, len(here))
                core = self.brokers[broker]
                seats.append(Seat(where, core, self._pool, setup.policy, setup.costs, setup.seed))
        return seats

    def _end_in_time(self, shard: int, lives: list[Held]) -> None:
        """Lives that are there from the start end by chance, as all do."""
        left_s = self._rng.exponential(self._mean_life_s, len(lives))
        for at in np.flatnonzero(left_s < self.end_s).tolist():
            held = lives[at]
            agent = self._agent_of(shard, held)
            life = Life(Request(held.mask.bit_count()), 0.0, held, agent.where.number)
            self._add(self._any_seat(shard), left_s.item(at), Kind.END, life)

    def _expect(self, seat: Seat) -> None:
        """The requests that come to a seat."""
        setup, rng = self.setup, self._rng
        rate = setup.rate / setup.shards / seat.where.among
        most = int(rate * self.end_s + 10 * (rate * self.end_s) ** 0.5) + 10
        asked_s = rng.exponential(1 / rate, most).cumsum()
        asked_s = asked_s[asked_s < self.end_s]
        gangs = rng.random(len(asked_s)) < setup.gangs
        requests = some_requests(rng, len(asked_s), self._centers, setup.one_center)
        for at_s, gang, request in zip(asked_s.tolist(), gangs.tolist(), requests, strict=True):
            life = Life(request, at_s)
            if gang:
                life.other = Life(request, at_s, other=life)
            self._add(seat, at_s, Kind.CREATE, life)

    # -- events ----------------------------------------------------------------------------

    def _at_time(self, at_s: float, happen: Callable[[float], None]) -> None:
        self._turn += 1
        heapq.heappush(self._events, (at_s, self._turn, happen))

    def _add(self, seat: Seat, due_s: float, kind: Kind, life: Life) -> None:
        self._turn += 1
        seat.add(Job(due_s, self._turn, kind, life))
        self._wake(seat, due_s)

    def _wake(self, seat: Seat, at_s: float) -> None:
        number = seat.where.number
        if seat.under_way is None and at_s < self._steps[number]:
            self._steps[number] = at_s
            self._at_time(at_s, partial(self._step, seat))

    def _step(self, seat: Seat, now_s: float) -> None:
        """A seat has something due, and no commit under way."""
        if self._steps[seat.where.number] != now_s:
            return  # another step came before
        self._steps[seat.where.number] = float("inf")
        if seat.under_way is not None or seat.next_due_s > now_s:
            self._wake(seat, max(now_s, seat.next_due_s))
            return
        ready_s = max(seat.broker.free_at_s, seat.began_s + self.setup.pace_ms / 1_000)
        if ready_s > now_s:
            self._wake(seat, ready_s)
            return
        made = seat.batch(now_s)
        self._refuse(seat, now_s)
        if made is None:
            self._wake(seat, seat.next_due_s)
            return
        leaves_s, commit = made
        half_s = self.setup.costs.round_trip_us * US / 2
        shard = self.shards[seat.where.shard]
        self._at_time(leaves_s + half_s, partial(self._arrive, shard, commit))

    def _arrive(self, shard: Shard, commit: Commit, now_s: float) -> None:
        shard.queue.append(commit)
        if not shard.turning:
            self._serve(shard, now_s)

    def _serve(self, shard: Shard, now_s: float) -> None:
        shard.turning = True
        done_s, commits = shard.turn(now_s)
        self._at_time(done_s, partial(self._served, shard, commits))

    def _served(self, shard: Shard, commits: list[Commit], now_s: float) -> None:
        shard.turning = False
        half_s = self.setup.costs.round_trip_us * US / 2
        for commit in commits:
            self._at_time(now_s + half_s, partial(self._answered, commit))
        for seat in self._at[self.shards.index(shard)]:
            idle = seat.under_way is None and not seat.following
            if idle and seat.folded < len(shard.stream):
                seat.following = True
                self._at_time(now_s + half_s, partial(self._follow, seat))
        if shard.queue:
            self._serve(shard, now_s)

    def _follow(self, seat: Seat, now_s: float) -> None:
        """A seat without a commit under way reads the stream."""
        seat.following = False
        shard = self.shards[seat.where.shard]
        if seat.under_way is None:
            entries = shard.stream[seat.folded :]
            shard.reads += len(entries)
            seat.fold(entries, now_s)

    def _answered(self, commit: Commit, now_s: float) -> None:
        seat = self.seats[commit.seat]
        stream = self.shards[seat.where.shard].stream
        done_s = seat.fold(stream[commit.place : commit.upto], now_s)
        jobs, seat.under_way = seat.under_way or [], None
        for job, accepted in zip(jobs, commit.accepted, strict=True):
            if accepted:
                self._next(seat, job, done_s)
            else:
                job.life.held = None
                self._add(seat, now_s, job.kind, job.life)
        self._wake(seat, max(done_s, seat.next_due_s))

    # -- lives -----------------------------------------------------------------------------

    def _refuse(self, seat: Seat, now_s: float) -> None:
        """What found no room: refused, or the end of a gang whose first part has a place."""
        for job in seat.refused:
            self.counts.refused += 1
            if job.kind is Kind.PREPARE and job.life.other is not None:
                first = job.life.other
                self._add(self.seats[first.seat], now_s + self._hop_s, Kind.ABORT, first)
        seat.refused.clear()

    def _next(self, seat: Seat, job: Job, now_s: float) -> None:
        """A job is done: what follows from it."""
        life, counts = job.life, self.counts
        match job.kind:
            case Kind.CREATE if life.other is not None:
                life.seat = seat.where.number  # the coordinator, until it is decided
                shard = (seat.where.shard + 1) % self.setup.shards
                self._add(self._any_seat(shard), now_s + self._hop_s, Kind.PREPARE, life.other)
            case Kind.CREATE:
                counts.grant_s.append(now_s - life.asked_s)
                self._begin(seat, life, now_s)
            case Kind.PREPARE if life.other is not None:
                life.seat = seat.where.number
                home = self.seats[life.other.seat]
                self._add(home, now_s + self._hop_s, Kind.DECIDE, life.other)
            case Kind.DECIDE if life.other is not None:
                counts.gang_s.append(now_s - life.asked_s)
                there = self.seats[life.other.seat]
                self._add(there, now_s + self._hop_s, Kind.CONFIRM, life.other)
                self._begin(seat, life, now_s)
            case Kind.CONFIRM:
                self._begin(seat, life, now_s)
            case Kind.ADMIT:
                self._add(seat, now_s + AGENT_S, Kind.START, life)
            case Kind.END:
                agent = self.seats[life.seat]
                self._add(agent, now_s + AGENT_S, Kind.GONE, life)
            case _:
                pass

    def _begin(self, seat: Seat, life: Life, now_s: float) -> None:
        """Granted: its agent reports, and one day it ends."""
        if life.held is None:
            raise AssertionError("granted, and holds nothing")
        agent = self._agent_of(seat.where.shard, life.held)
        life.seat = agent.where.number
        self._add(agent, now_s + AGENT_S, Kind.ADMIT, life)
        ends_s = now_s + self._rng.exponential(self._mean_life_s)
        if ends_s < self.end_s:
            self._add(self._any_seat(seat.where.shard), ends_s, Kind.END, life)

    def _agent_of(self, shard: int, held: Held) -> Seat:
        """Whom the agent of a node reports to: each center has one."""
        seats = self._at[shard]
        return seats[self._pool.center.item(held.row) % len(seats)]

    def _any_seat(self, shard: int) -> Seat:
        seats = self._at[shard]
        return seats[int(self._rng.integers(len(seats)))]
