"""Watching allocations: what is there, then what changes, then on from where one was.

    no token: the ledger up to a revision R, as EXISTING ──┐
    a token: the ledger from the token to R, as CHANGED ───┴─> the feed from R on
                        ^                                             │
                        └──────── fell behind the feed ───────────────┘

Records that change while the ledger is read have a revision above R: the feed tells them, so that
nothing is told twice or goes back in time. The ledger is read in slices, a job each, for few
watchers at a time: many who begin at once hold up nobody's calls.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.errors import ResumeTokenExpiredError
from computepool_broker.services.feed import END, MESSAGE_BYTES, Place, Taken
from computepool_broker.services.watch_tokens import WatchToken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.model.records import Allocation
    from computepool_broker.services.feed import Feed
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.watches import Watches

    Stage = Callable[[Transaction], Outcome]
    Encode = Callable[[Allocation], bytes]

SLICE_LOOKS = 2_000
SLICE_ROWS = 64
SLICE_WEIGHT = 32
"""Of the ledger in one job: about a millisecond, to look or to encode."""
READERS = 4
"""Slices read at once; more watchers wait for their turn."""
NEWS_EVERY_S = 30.0
"""A watcher whose filter nothing passes gets a new token so often: its old one would expire."""
NOWHERE = Place(-1)


class Watch(NamedTuple):
    """What somebody wants to be told of.

    Attributes:
        key: The filter's text.
        query: Its hash, for tokens.
        matches: The filter, over fields that never change; None lets everything through.
        token: Where to go on; None to begin.
        changes_only: Without a token: leave out what is there.
    """

    key: str
    query: bytes
    matches: Callable[[Allocation], bool] | None
    token: WatchToken | None = None
    changes_only: bool = False


class Told(NamedTuple):
    """One message.

    Attributes:
        taken: Its events; shared with other watchers when it comes from the feed.
        token: Goes on after it; None in the midst of what is there.
        synced: All that was there, or had changed since the token, has been told.
    """

    taken: Taken
    token: WatchToken | None
    synced: bool


class _Slice(NamedTuple):
    rows: list[Allocation]
    after: str
    more: bool


class AllocationWatch:
    """Follows the ledger for those who watch."""

    def __init__(
        self,
        pool: Pool,
        feed: Feed,
        watches: Watches,
        life: bytes,
        existing: Encode,
        changed: Encode,
    ) -> None:
        """Wire it.

        Args:
            pool: The ledger.
            feed: What became durable lately.
            watches: Counts the streams.
            life: Random name of this life of the broker.
            existing: An event of an allocation that was there, as bytes.
            changed: An event of one that changed, as bytes.
        """
        self._pool = pool
        self._feed = feed
        self._watches = watches
        self._life = life
        self._existing = existing
        self._changed = changed
        self._turn = asyncio.Semaphore(READERS)

    async def follow(self, watch: Watch) -> AsyncGenerator[Told]:
        """Messages until the watcher goes.

        Raises:
            OverloadedError: Too many watch.
            StoppingError: The broker is going down.
            ResumeTokenExpiredError: What changed since the token, or since a watcher stopped
                reading, is no longer known.
        """
        with self._watches.one():
            self._feed.join()
            try:
                begin = await self._pool.committer.submit(lambda _: self._begin(watch))
                place = Place(begin if watch.token is None else watch.token.revision)
                if watch.token is None and not watch.changes_only:
                    async for taken in self._read(watch, NOWHERE, begin, self._existing):
                        yield Told(taken, None, synced=False)
                async for told in self._go_on(watch, place):
                    yield told
            finally:
                self._feed.leave()

    async def _go_on(self, watch: Watch, place: Place) -> AsyncIterator[Told]:
        synced, due = False, True
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        while True:
            if not self._feed.holds(place):
                high = await self._pool.committer.submit(lambda _: self._pool.state.revision)
                async for taken in self._read(watch, place, high, self._changed):
                    yield Told(taken, self._token(watch, taken), synced)
                place, due = Place(high), True
                continue
            taken = self._feed.take(place, watch.key, watch.matches)
            moved, place = taken.place != place, taken.place
            news = moved and loop.time() - last_s >= NEWS_EVERY_S
            if taken.chunks or news or (due and taken.complete):
                synced, due = synced or taken.complete, due and not taken.complete
                last_s = loop.time()
                yield Told(taken, self._token(watch, taken), synced)
                if taken.chunks:  # and written, by now
                    self._pool.tally.watch_lag_s.add(loop.time() - taken.since_s)
                self._watches.check()
            if not self._feed.ahead(place):  # asked anew: writing a message can take long
                await self._watches.wait(self._feed.bell)

    def _token(self, watch: Watch, taken: Taken) -> WatchToken:
        state = self._pool.state
        return WatchToken(
            self._life, watch.query, state.epoch, taken.revision, taken.seen, state.identity
        )

    # -- in jobs ---------------------------------------------------------------------------

    def _begin(self, watch: Watch) -> int:
        state = self._pool.state
        if watch.token is not None:
            self._check(watch.token)
        self._feed.open(state.revision)
        return state.revision

    def _check(self, token: WatchToken) -> None:
        """Whether this store knows all that has changed since the token.

        A token of an earlier life of the broker names only what was durable: when it is above
        what was there at the start, or above what is surely known of its epoch, the store was
        put back to an older copy since.
        """
        state = self._pool.state
        mine = token.life == self._life
        if token.identity != state.identity:
            raise _expired("it is of another store")
        if token.seen > state.revision or (
            not mine
            and (
                token.epoch > state.epoch
                or token.seen > min(state.opened_revision, state.known_through(token.epoch))
            )
        ):
            raise _expired("the store was put back to an older copy since")
        self._check_kept(token.revision)

    def _check_kept(self, revision: int) -> None:
        if revision < self._pool.state.forgotten_through:
            raise _expired("allocations that have ended since are forgotten already")

    def _slice(self, watch: Watch, low: Place, high: int, after: str, _: Stage) -> _Slice:
        """The next allocations by id that last changed after `low`, and not after `high`."""
        state = self._pool.state
        if low != NOWHERE:
            self._check_kept(low.revision - (low.id != END))
        rows: list[Allocation] = []
        key = after
        looks = 0
        for key in islice(state.allocation_ids.after(after), SLICE_LOOKS):
            looks += 1
            record = state.allocations.get(key)
            if record is None or record.revision > high or Place(record.revision, key) <= low:
                continue
            if watch.matches is None or watch.matches(record):
                rows.append(record)
                if len(rows) == SLICE_ROWS:
                    return _Slice(rows, key, more=True)
        return _Slice(rows, key, more=looks == SLICE_LOOKS)

    async def _read(
        self, watch: Watch, low: Place, high: int, encode: Encode
    ) -> AsyncIterator[Taken]:
        """The ledger's records between two places, by id, each message's by revision."""
        told = max(0, low.revision - (low.id != END))
        part = _Slice([], "", more=True)
        while part.more:
            async with self._turn:
                self._watches.check()
                job = partial(self._slice, watch, low, high, part.after)
                part = await self._pool.committer.submit(job, SLICE_WEIGHT)
                chunks = [encode(r) for r in sorted(part.rows, key=lambda r: (r.revision, r.id))]
            for piece in pieces(chunks):
                yield Taken(piece, low, told, high, complete=False)


def pieces(chunks: list[bytes]) -> list[list[bytes]]:
    """Chunks by message, each with at least one."""
    out: list[list[bytes]] = []
    size = MESSAGE_BYTES
    for chunk in chunks:
        if size + len(chunk) > MESSAGE_BYTES:
            out.append([])
            size = 0
        out[-1].append(chunk)
        size += len(chunk)
    return out


def _expired(why: str) -> ResumeTokenExpiredError:
    return ResumeTokenExpiredError(f"the resume token has expired: {why}; watch without it")
