"""Watches of allocations on a whole broker: what is told, in which order, and for how long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.errors import (
    InvalidArgumentError,
    OverloadedError,
    StoppingError,
)
from computepool_broker.model.records import AllocationState
from computepool_broker.rpc import watch as rpc_watch
from computepool_broker.services import allocation_watch, feed
from computepool_broker.services.grants import Create
from computepool_broker.services.watch_tokens import query_hash
from support.broker_kit import BrokerKit, activate, running_broker
from support.builders import make_held, make_node, make_spec
from support.memory_store import MemoryStore
from support.watching import CHANGED, EXISTING, AllocationFollower, last_change, missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NO_FILTER = query_hash("")


@pytest.fixture
async def kit() -> AsyncIterator[BrokerKit]:
    """A broker with one node of 64 cores and 8 devices."""
    async with running_broker(make_node()) as kit:
        yield kit


async def release_wholly(kit: BrokerKit, key: str) -> None:
    """Release an allocation of agent a1 and let the agent confirm that all is gone."""
    await kit.allocations.release(key, "", "")
    await kit.report()
    assert kit.pool.state.allocations[key].state is AllocationState.ENDED


# -- what is told ------------------------------------------------------------------------------


async def test_what_is_there_comes_first_then_synced_then_changes(kit: BrokerKit) -> None:
    one, two = await kit.create(make_spec(gpus=1)), await kit.create(make_spec(gpus=2))
    follower = AllocationFollower().watch(kit)
    first = await follower.read()
    assert [(e.kind, e.allocation.id) for e in first.events] == [
        (EXISTING, one.id),
        (EXISTING, two.id),
    ]
    assert (first.synced, first.resume_token) == (False, "")
    then = await follower.read()
    assert (len(then.events), then.synced, then.revision) == (0, True, two.revision)
    three = await kit.create(make_spec(gpus=1))
    news = await follower.read()
    assert [(e.kind, e.allocation.id) for e in news.events] == [(CHANGED, three.id)]
    assert news.events[0].allocation.leases[0].center == "c1"
    assert news.revision == three.revision


async def test_changes_only_leaves_out_what_is_there(kit: BrokerKit) -> None:
    await kit.create(make_spec(gpus=1))
    follower = AllocationFollower(changes_only=True).watch(kit)
    first = await follower.read()
    assert (len(first.events), first.synced) == (0, True)
    two = await kit.create(make_spec(gpus=1))
    assert [e.allocation.id for e in (await follower.read()).events] == [two.id]


async def test_changes_that_follow_each_other_quickly_are_told_as_one(kit: BrokerKit) -> None:
    follower = await AllocationFollower().watch(kit).read_to(0)
    key = await activate(kit, gpus=1)
    await release_wholly(kit, key)
    await follower.read_to(last_change(kit))
    states = [e.allocation.state for m in follower.messages for e in m.events]
    assert states[-1] == wire.ALLOCATION_STATE_ENDED
    assert len(states) <= 2, "a first beat at once, and one with all the rest"
    assert missing(follower, kit) == []


async def test_only_what_the_filter_lets_through_is_told(kit: BrokerKit) -> None:
    def create(tenant: str, team: str) -> Create:
        return Create(tenant, "", make_spec(gpus=1), "", (("team", team),))

    await kit.allocations.create(create("a", "vision"), 0)
    follower = AllocationFollower(filter='tenant = "a" AND labels.team = "vision"').watch(kit)
    await follower.read_to(last_change(kit))
    await kit.allocations.create(create("b", "vision"), 0)
    await kit.allocations.create(create("a", "speech"), 0)
    made = (await kit.allocations.create(create("a", "vision"), 0)).allocation
    await follower.read_to(made.revision)
    assert len(follower.known) == 2
    assert {a.tenant for a in follower.known.values()} == {"a"}


@pytest.mark.parametrize("text", ["state = ACTIVE", "tenant = ", "x" * 1_025])
async def test_a_filter_that_is_none_is_refused_by_name(kit: BrokerKit, text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await AllocationFollower(filter=text).watch(kit).read()
    assert caught.value.field == "filter"


async def test_nothing_is_told_before_it_is_durable() -> None:
    store = MemoryStore()
    async with running_broker(make_node(), store=store) as kit:
        follower = await AllocationFollower().watch(kit).read_to(0)
        store.hold = True
        grant = asyncio.ensure_future(kit.create(make_spec(gpus=1)))
        news = asyncio.ensure_future(follower.read())
        await asyncio.wait((news,), timeout=4 * feed.BEAT_S)
        assert not news.done()
        store.let_go()
        made = await grant
        assert [e.allocation.id for e in (await news).events] == [made.id]


async def test_an_allocation_too_large_for_a_message_is_told_without_its_leases(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_watch, "PAGE_BYTES", 300)
    follower = await AllocationFollower().watch(kit).read_to(0)
    small, large = await kit.create(make_spec(cpu=1)), await kit.create(make_spec(cpu=1, count=9))
    await follower.read_to(large.revision)
    assert len(follower.known[small.id].leases) == 1
    assert len(follower.known[large.id].leases) == 0
    assert follower.known[large.id].flags == [rpc_watch.TOO_LARGE]


# -- a backlog ---------------------------------------------------------------------------------


async def test_a_large_ledger_comes_in_slices_and_changes_meanwhile_are_told_once(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation_watch, "SLICE_ROWS", 4)
    monkeypatch.setattr(allocation_watch, "SLICE_LOOKS", 5)
    keys = [(await kit.create(make_spec(cpu=1))).id for _ in range(40)]
    follower = AllocationFollower().watch(kit)
    await follower.read()
    await kit.allocations.release(keys[-1], "", "")
    await kit.allocations.release(keys[0], "", "")
    await follower.read_to(last_change(kit))
    assert missing(follower, kit) == []
    assert all(len(m.events) <= 4 for m in follower.messages)
    told = [e.allocation.id for m in follower.messages for e in m.events]
    assert told.count(keys[-1]) == 1, "it had changed before its slice was read"
    assert told.count(keys[0]) == 2
    assert not any(m.resume_token for m in follower.messages if m.events[:1] and not m.synced)


async def test_whoever_falls_behind_the_feed_reads_the_ledger(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_WEIGHT", 20)
    slow = await AllocationFollower().watch(kit).read_to(0)
    quick = await AllocationFollower().watch(kit).read_to(0)
    keys = []
    for _ in range(20):
        keys.append((await kit.create(make_spec(cpu=1))).id)
        await quick.read_to(last_change(kit))
    await kit.allocations.release(keys[3], "", "")
    await quick.read_to(last_change(kit))
    await slow.read_to(last_change(kit))
    assert missing(quick, kit) == missing(slow, kit) == []
    told = [e.allocation.id for m in slow.messages for e in m.events]
    assert sorted(told) == sorted(keys), "each once, as it is now"


async def test_many_changes_go_in_several_messages_and_each_token_is_a_place_to_go_on(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MESSAGE_BYTES", 500)
    follower = await AllocationFollower().watch(kit).read_to(0)
    spec = make_spec(cpu=1)
    await kit.create(spec)
    await kit.bulk.create_all([Create("default", "", spec) for _ in range(12)], 0)  # one revision
    await kit.create(spec)
    await follower.read_to(last_change(kit))
    assert missing(follower, kit) == []
    assert len(follower.messages) > 4
    at = 0
    seen: set[str] = set()
    for at, message in enumerate(list(follower.messages)):
        seen |= {e.allocation.id for e in message.events}
        late = AllocationFollower()
        late.token = message.resume_token
        await late.watch(kit).read_to(last_change(kit))
        assert seen | late.known.keys() == kit.pool.state.allocations.keys(), at
        await late.stop()


# -- how many, and how they end ----------------------------------------------------------------


async def test_watches_are_bounded_and_counted_until_they_end(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit.watches.open, "_most", 2)
    both = [await AllocationFollower().watch(kit).read_to(0) for _ in range(2)]
    with pytest.raises(OverloadedError):
        await AllocationFollower().watch(kit).read()
    for follower in both:
        await follower.stop()
    assert kit.watches.open.open == 0
    assert (await AllocationFollower().watch(kit).read()).synced


async def test_watches_end_at_once_when_the_broker_stops(kit: BrokerKit) -> None:
    idle = await AllocationFollower().watch(kit).read_to(0)
    waiting = asyncio.ensure_future(idle.read())
    await asyncio.sleep(0)
    kit.watches.hang_up()
    with pytest.raises(StoppingError):
        await waiting
    with pytest.raises(StoppingError):
        await AllocationFollower().watch(kit).read()


async def test_nothing_is_kept_while_nobody_watches(kit: BrokerKit) -> None:
    follower = await AllocationFollower().watch(kit).read_to(0)
    await kit.create(make_spec(gpus=1))
    await follower.stop()
    before = kit.watches._allocations._service._feed
    await kit.create(make_spec(gpus=1))
    assert not before._pending
    assert not before._blocks
    assert before._timer is None


async def test_reports_of_held_leases_are_told(kit: BrokerKit) -> None:
    follower = await AllocationFollower().watch(kit).read_to(0)
    made = await kit.create(make_spec(gpus=1))
    await follower.read_to(made.revision)
    await kit.report(held=[make_held(made.parts[0].lease_id(made.id))])
    await follower.read_to(last_change(kit))
    assert follower.known[made.id].state == wire.ALLOCATION_STATE_ACTIVE
