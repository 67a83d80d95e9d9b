"""Watches over random histories: whatever happens, who follows ends with what the ledger says.

Allocations are made, admitted, released, forgotten; the broker is restarted, now and then on an
older copy of its store; watchers come, read or do not, leave and go on with their tokens. The feed
is tiny, so that slow watchers fall behind it.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool_broker.errors import ResumeTokenExpiredError
from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.model.records import LIVE_STATES, PartState
from computepool_broker.services import allocation_watch, feed
from computepool_broker.services.ids import AllocationIds
from support.broker_kit import BrokerKit
from support.builders import make_agent, make_held, make_node, make_spec
from support.memory_store import MemoryDisk, MemoryStore
from support.watching import AllocationFollower, last_change, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

WATCHERS = 3
STEPS = (
    "create", "create", "gang", "report", "report", "release", "expire", "forget",
    "restart", "backup", "restore",
    "watch", "watch", "read", "read", "read", "leave",
)  # fmt: skip
steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), min_size=5, max_size=40)


@pytest.fixture(autouse=True)
def _tiny_feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(feed, "BEAT_S", 0.001)
    monkeypatch.setattr(feed, "MOST_WEIGHT", 40)
    monkeypatch.setattr(feed, "MOST_MERGED", 3)
    monkeypatch.setattr(feed, "MESSAGE_BYTES", 700)
    monkeypatch.setattr(allocation_watch, "SLICE_ROWS", 3)
    monkeypatch.setattr(allocation_watch, "SLICE_LOOKS", 4)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.reset_defaults()


class History:
    """One broker after the other on one disk, and who watches."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.copy: MemoryDisk | None = None
        self.lives = 0
        self.session = 0
        self.followers = [AllocationFollower() for _ in range(WATCHERS)]
        self.watching: set[int] = set()

    async def begin(self) -> None:
        """A life of the broker, with the agent back."""
        self.lives += 1
        ids = AllocationIds(Random(self.lives).getrandbits)
        self.kit = BrokerKit(MemoryStore(self.disk), ids=ids)
        await self.kit.start()
        await self.agent_reports(again=True)

    async def end(self) -> None:
        """The broker stops; watchers keep their tokens."""
        for at in list(self.watching):
            await self.leave(at)
        await self.kit.stop()

    async def agent_reports(self, *, again: bool = False) -> None:
        """The agent does all that it should and reports it."""
        if again:
            self.session += 1
            await self.kit.open(make_agent(session=self.session))
        held = [
            make_held(p.lease_id(a.id), HeldState.STARTED)
            for a in self.kit.pool.state.allocations.values()
            for p in a.parts
            if a.state in LIVE_STATES and p.state is not PartState.GONE
        ]
        nodes = [make_node()] if again else None
        await self.kit.report(nodes, [] if again else held, session=self.session)

    # -- what happens ----------------------------------------------------------------------

    async def create(self, n: int) -> None:
        await self.kit.create(make_spec(cpu=1, ttl_s=60 if n % 2 else 36_000))

    async def gang(self, n: int) -> None:
        await self.kit.create(make_spec(cpu=1, count=2 + n % 3, ttl_s=36_000))

    async def report(self, _: int) -> None:
        await self.agent_reports()

    async def release(self, n: int) -> None:
        keys = sorted(
            k for k, a in self.kit.pool.state.allocations.items() if a.state in LIVE_STATES
        )
        if keys:
            await self.kit.allocations.release(keys[n % len(keys)], "", "")

    async def expire(self, _: int) -> None:
        for _ in range(4):
            await self.kit.tick()
            await self.agent_reports()

    async def forget(self, _: int) -> None:
        """What has ended long ago is dropped."""
        for _ in range(200):
            await self.kit.tick()
            self.kit.pool.life("a1").heard_ms = self.kit.pool.clock.now_ms
        await self.agent_reports()

    async def restart(self, _: int) -> None:
        await self.end()
        await self.begin()

    async def backup(self, _: int) -> None:
        self.copy = self.disk.backup()

    async def restore(self, _: int) -> None:
        """Watchers know by themselves that their token no longer leads anywhere."""
        if self.copy is not None:
            await self.end()
            self.disk = self.copy.backup()
            await self.begin()
            for follower in self.followers:
                await self.resume(follower)
                await follower.stop()

    # -- watchers --------------------------------------------------------------------------

    async def resume(self, follower: AllocationFollower) -> None:
        """Go on, or begin anew when the broker says so."""
        try:
            await follower.watch(self.kit).read()
        except ResumeTokenExpiredError:
            await follower.stop()
            follower.token = ""
            await follower.watch(self.kit).read()

    async def watch(self, n: int) -> None:
        at = n % WATCHERS
        if at not in self.watching:
            await self.resume(self.followers[at])
            self.watching.add(at)

    async def read(self, n: int) -> None:
        at = n % WATCHERS
        follower = self.followers[at]
        if at in self.watching and follower.revision < last_change(self.kit):
            await self.try_reading(at, 1)

    async def try_reading(self, at: int, revision: int) -> None:
        follower = self.followers[at]
        try:
            if revision == 1:
                await follower.read()
            else:
                await follower.read_to(revision)
        except ResumeTokenExpiredError:
            await follower.stop()
            follower.token = ""
            await follower.watch(self.kit).read_to(revision)

    async def leave(self, n: int) -> None:
        at = n % WATCHERS
        if at in self.watching:
            self.watching.discard(at)
            await self.followers[at].stop()

    async def come_to_rest(self) -> None:
        """Everybody reads to the end: all know what the ledger says."""
        for at, follower in enumerate(self.followers):
            await self.watch(at)
            await self.try_reading(at, last_change(self.kit) or 2)
            assert missing(follower, self.kit) == []
        await self.end()
        assert self.kit.watches.open.open == 0


async def live_through(history: list[tuple[str, int]]) -> None:
    told = History()
    await told.begin()
    for what, n in history:
        step: Any = getattr(told, what)
        await step(n)
    await told.come_to_rest()


@settings(deadline=None, max_examples=60)
@given(history=steps)
def test_who_follows_ends_with_what_the_ledger_says(history: list[tuple[str, int]]) -> None:
    asyncio.run(live_through(history))
