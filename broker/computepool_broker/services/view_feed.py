"""The view for those who watch it: looked at once for all, and what has changed since when.

    one job, at most every 250 ms while somebody watches ──> facts of every center
        a center whose facts differ from the last ones has changed at this tick
    each watcher, at its own least interval ──> the centers that changed after its last tick

A watcher has only a tick. The looks get rarer when they cost much, so that they take a small
part of the processor however large the pool is.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from typing import TYPE_CHECKING, NamedTuple

import structlog

from computepool_broker.errors import OverloadedError, StoppingError
from computepool_broker.services.centers import facts_of
from computepool_broker.services.messages import Mark
from computepool_broker.services.moving import MovingSums
from computepool_broker.services.view import sums_by_center

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.services.centers import CenterFacts
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.watches import Watches

    Stage = Callable[[Transaction], Outcome]

LOOK_EVERY_S = 0.25
LOOKS_AN_INTERVAL = 2
"""When the least interval of all who watch is long, looks are further apart."""
MESSAGES_A_SECOND = 700
"""To all watchers together: with more watchers, or shorter intervals, each is told less often."""
ANEW_EVERY_S = 30.0
LOOK_WEIGHT = 128
"""A few milliseconds for 10,000 nodes."""
SHARE = 25
"""A look is followed by at least so many times its own duration without one."""
LONGEST_S = 1.0
"""Between two looks while anything happens; numbers that were looked at anew show as late."""
APART_S = 0.001
"""Between two watchers, on average, when all could be told at once."""
MOST_GONE = 1_000
"""Centers that have left, remembered; who saw the view before begins anew."""

log = structlog.get_logger()


class ViewHead(NamedTuple):
    """What the view says of the pool as a whole; see GetViewResponse."""

    mark: Mark
    warming_up: bool
    mass_silence: bool
    audit_findings: int
    allocations: int
    grants: int
    refusals: int


class Seen(NamedTuple):
    """A center, and the tick at which it was first seen so."""

    facts: CenterFacts
    tick: int


class Step(NamedTuple):
    """What a watcher is to be told: the view at one tick, less what it saw at another.

    Attributes:
        after: The tick that it has seen; 0 for the whole view.
        tick: The present one.
    """

    after: int
    tick: int


class ViewFeed:
    """See the module."""

    def __init__(
        self,
        pool: Pool,
        watches: Watches,
        clock_s: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        """Wire it.

        Args:
            pool: What is looked at.
            watches: Counts the streams.
            clock_s: A clock that never goes back, in seconds, to time the looks.
            chance: From 0 to 1; spreads watchers over their interval.
        """
        self._pool = pool
        self._watches = watches
        self._clock_s = clock_s
        self._chance = chance
        self._bell = watches.bell()
        self._intervals: list[float] = []  # sorted; one of each watcher
        self._task: asyncio.Task[None] | None = None
        self._fresh: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._looked_s = self._began_s = 0.0
        self._moving = MovingSums(pool.state)
        self._took_s = 0.0
        self._last: tuple[ViewHead, int] | None = None
        self.tick = 0
        self.head: ViewHead | None = None
        self.centers: dict[str, Seen] = {}
        self.gone: dict[str, int] = {}
        self._gone_before = 0

    def knows(self, tick: int) -> bool:
        """Whether a watcher can go on after this tick."""
        return self._gone_before <= tick <= self.tick and tick > 0

    async def follow(self, least_interval_s: float, after: int) -> AsyncGenerator[Step]:
        """Steps until the watcher goes.

        Args:
            least_interval_s: Between two steps, at least.
            after: The tick to go on after; 0 begins with the whole view.

        Raises:
            OverloadedError: Too many watch.
            StoppingError: The broker is going down.
        """
        with self._watches.one():
            insort(self._intervals, least_interval_s)
            try:
                await self._look_now()
                told = after if self.knows(after) else 0
                extra_s = self._spread_s()
                while True:
                    if self.tick > told:
                        step = Step(told if self.knows(told) else 0, self.tick)
                        yield step
                        told = step.tick
                        fair_s = len(self._intervals) / MESSAGES_A_SECOND
                        await self._watches.nap(max(least_interval_s, fair_s) + extra_s)
                        extra_s = 0.0
                    else:
                        await self._watches.wait(self._bell)
                        self._check()
                        await self._watches.nap(self._spread_s())
            finally:
                self._intervals.remove(least_interval_s)

    def _spread_s(self) -> float:
        """A while by which a watcher steps aside: those who came together are not told together."""
        return self._chance() * len(self._intervals) * APART_S

    # -- looking ---------------------------------------------------------------------------

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    async def _look_now(self) -> None:
        """See that the view is of now, and is looked at from now on."""
        if self._task is not None and not self._task.done():
            if self._fresh is not None:
                await asyncio.shield(self._fresh)
            self._check()
            return
        self._error = None
        self._fresh = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(self._fresh), name="view-feed")
        await asyncio.shield(self._fresh)
        self._check()

    async def _run(self, fresh: asyncio.Future[None]) -> None:
        """Look until nobody watches."""
        self._last = None
        try:
            while self._intervals:
                await self._look()
                if not fresh.done():
                    fresh.set_result(None)
                often_s = self._intervals[0] / LOOKS_AN_INTERVAL if self._intervals else 0.0
                apart_s = min(LONGEST_S, max(often_s, SHARE * self._took_s))
                await self._watches.nap(max(LOOK_EVERY_S, apart_s))
        except Exception as error:  # noqa: BLE001 - handed to those who watch
            if not isinstance(error, StoppingError):
                log.warning("view_feed_ended", error=repr(error))
            self._error = error
        finally:
            self._moving.end()
            if not fresh.done():
                fresh.set_result(None)
            self._bell.ring()

    async def _look(self) -> None:
        try:
            looked = await self._pool.committer.submit(self._job, LOOK_WEIGHT)
        except OverloadedError:
            if self.head is None:
                raise
            return  # calls come first; the next look shows it
        if looked is not None and self._fold(*looked):
            self._bell.ring()

    def _job(self, _: Stage) -> tuple[ViewHead, list[CenterFacts]] | None:
        """The view as it now is; None when nothing can have changed since the last look.

        Reports that repeat what was known leave no trace but in the ages of numbers: those are
        looked at once a second.
        """
        pool, state = self._pool, self._pool.state
        head = ViewHead(
            Mark(state.identity, state.epoch, state.revision),
            pool.warming_up,
            pool.mass_silence,
            pool.audit_findings,
            state.live,
            pool.grants,
            pool.refusals,
        )
        began_s = self._clock_s()
        now = (head, pool.columns.version)
        if now == self._last and began_s - self._looked_s < LONGEST_S:
            return None
        self._last, self._looked_s = now, began_s
        if began_s - self._began_s > ANEW_EVERY_S:
            # Nodes hardly ever move to another center; when one does, its leases move with it.
            self._began_s = began_s
            self._moving.begin()
        facts = facts_of(pool, sums_by_center(pool.columns, state, self._moving.look()))
        self._took_s = self._clock_s() - began_s
        return head, facts

    def _fold(self, head: ViewHead, facts: list[CenterFacts]) -> bool:
        """Note what has changed; gives whether anything has."""
        tick = self.tick + 1
        old = self.centers
        changed = [f for f in facts if (seen := old.get(f.name)) is None or seen.facts != f]
        left = old.keys() - {f.name for f in facts}
        if not (changed or left or head != self.head):
            return False
        self.tick, self.head = tick, head
        for f in changed:
            old[f.name] = Seen(f, tick)
            self.gone.pop(f.name, None)
        for name in left:
            del old[name]
            self.gone[name] = tick
        while len(self.gone) > MOST_GONE:
            first = next(iter(self.gone))
            self._gone_before = max(self._gone_before, self.gone.pop(first))
        return True
