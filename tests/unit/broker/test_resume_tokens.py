"""Tokens of watches of allocations: where they lead on to, and when they no longer do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_broker.errors import (
    InvalidArgumentError,
    ResumeTokenExpiredError,
)
from computepool_broker.model.records import AllocationState
from computepool_broker.services import feed
from computepool_broker.services.messages import Mark
from computepool_broker.services.watch_tokens import WatchToken, query_hash, read, write
from support.broker_kit import BrokerKit, activate, running_broker
from support.builders import make_agent, make_node, make_spec
from support.memory_store import MemoryDisk, MemoryStore
from support.processes import eventually
from support.watching import CHANGED, AllocationFollower, last_change, missing

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


# -- going on ----------------------------------------------------------------------------------


async def test_a_token_goes_on_after_what_was_told(kit: BrokerKit) -> None:
    await kit.create(make_spec(gpus=1))
    two = await kit.create(make_spec(gpus=1))
    follower = await AllocationFollower().watch(kit).read_to(two.revision)
    await follower.stop()
    await kit.allocations.release(two.id, "", "")
    three = await kit.create(make_spec(gpus=1))
    await follower.watch(kit).read_to(three.revision)
    told = [(e.kind, e.allocation.id) for m in follower.messages for e in m.events]
    assert told == [(CHANGED, two.id), (CHANGED, three.id)]
    assert missing(follower, kit) == []


async def test_a_token_survives_a_restart_and_nothing_is_missed() -> None:
    disk = MemoryDisk()
    async with running_broker(make_node(), store=MemoryStore(disk)) as kit:
        one = await kit.create(make_spec(gpus=1))
        follower = await AllocationFollower().watch(kit).read_to(one.revision)
        await follower.stop()
        two = await kit.create(make_spec(gpus=1))
    async with running_broker(store=MemoryStore(disk)) as kit:
        await kit.open(make_agent(session=2))
        await kit.report([make_node()], session=2)
        await kit.allocations.release(one.id, "", "")
        await follower.watch(kit).read_to(last_change(kit))
        told = [e.allocation.id for m in follower.messages for e in m.events]
        assert sorted(told) == sorted([one.id, two.id])
        assert missing(follower, kit) == []


@pytest.mark.parametrize(
    "token",
    ["x", "AAAA", "é", "a" * 257, write(WatchToken(b"l" * 8, NO_FILTER, 1, 1, 1, "s"))[:-2]],
)
async def test_what_is_no_token_is_refused(kit: BrokerKit, token: str) -> None:
    follower = AllocationFollower()
    follower.token = token
    with pytest.raises(InvalidArgumentError) as caught:
        await follower.watch(kit).read()
    assert caught.value.field == "resume_token"


async def test_a_token_belongs_to_its_filter_however_that_is_written(kit: BrokerKit) -> None:
    first = await AllocationFollower(filter='tenant="a"').watch(kit).read_to(0)
    same = AllocationFollower(filter="tenant = a")
    same.token = first.token
    assert (await same.watch(kit).read()).synced
    other = AllocationFollower()
    other.token = first.token
    with pytest.raises(InvalidArgumentError, match="another filter"):
        await other.watch(kit).read()


# -- tokens that no longer lead anywhere -------------------------------------------------------


async def expires(kit: BrokerKit, follower: AllocationFollower) -> str:
    """Go on with the follower's token, which must be refused; gives the text."""
    with pytest.raises(ResumeTokenExpiredError) as caught:
        await follower.watch(kit).read()
    await eventually(lambda: nobody_watches(kit), "the watch is closed")
    return str(caught.value)


async def nobody_watches(kit: BrokerKit) -> bool:
    return kit.watches.open.open == 0


async def test_a_token_of_another_store_has_expired() -> None:
    async with running_broker(make_node()) as kit:
        follower = await AllocationFollower().watch(kit).read_to(0)
    async with running_broker(store=MemoryStore(MemoryDisk(identity="store-2"))) as kit:
        assert "another store" in await expires(kit, follower)


async def test_a_token_expires_when_what_has_ended_since_may_be_forgotten(kit: BrokerKit) -> None:
    key = await activate(kit, gpus=1)
    follower = await AllocationFollower().watch(kit).read_to(last_change(kit))
    await follower.stop()
    await release_wholly(kit, key)
    later = await AllocationFollower(changes_only=True).watch(kit).read_to(0)
    await later.stop()
    await kit.tick(times=200)
    assert key not in kit.pool.state.allocations
    assert "forgotten" in await expires(kit, follower)
    await later.watch(kit).read_to(later.revision)  # it has seen the end
    await later.stop()


async def test_a_token_expires_by_what_was_forgotten_before_a_restart() -> None:
    disk = MemoryDisk()
    async with running_broker(make_node(), store=MemoryStore(disk)) as kit:
        key = await activate(kit, gpus=1)
        follower = await AllocationFollower().watch(kit).read_to(last_change(kit))
        await release_wholly(kit, key)
        await kit.tick(times=200)
        assert not kit.pool.state.allocations
    async with running_broker(store=MemoryStore(disk)) as kit:
        assert "forgotten" in await expires(kit, follower)


async def test_a_watcher_who_stopped_reading_for_too_long_is_told_so(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_WEIGHT", 1)
    follower = await AllocationFollower().watch(kit).read_to(0)
    key = await activate(kit, gpus=1)
    await release_wholly(kit, key)
    await kit.tick(times=200)
    with pytest.raises(ResumeTokenExpiredError):
        await follower.read()


async def test_tokens_from_before_a_backup_was_restored_have_expired() -> None:
    disk = MemoryDisk()
    async with running_broker(make_node(), store=MemoryStore(disk)) as kit:
        await kit.create(make_spec(gpus=1))
        early = await AllocationFollower().watch(kit).read_to(last_change(kit))
        backup = disk.backup()
        await kit.create(make_spec(gpus=1))
        late = await AllocationFollower().watch(kit).read_to(last_change(kit))
    lost = AllocationFollower()
    lost.token = late.token
    async with running_broker(store=MemoryStore(backup)) as kit:
        assert "older copy" in await expires(kit, late)
        # Also when the restored store has caught up with the token's number, and when an agent has
        # told it of what it lost.
        await kit.open(make_agent(session=2))
        await kit.report([make_node()], session=2)
        for on in (True, False, True):
            await kit.inventory.cordon_node("n1", "", on=on)
        assert kit.pool.state.revision >= late.revision
        assert "older copy" in await expires(kit, late)
        await kit.open(make_agent(session=3), seen=Mark("store-1", 1, 99))
        assert kit.pool.state.epoch == 2
        assert "older copy" in await expires(kit, late)
        await kit.allocations.release(next(iter(early.known)), "", "")
        await early.watch(kit).read_to(last_change(kit))
        assert missing(early, kit) == []
        await early.stop()
    async with running_broker(store=MemoryStore(backup)) as kit:
        assert "older copy" in await expires(kit, lost)


async def test_a_new_epoch_does_not_end_the_tokens_of_this_very_process(kit: BrokerKit) -> None:
    await kit.create(make_spec(gpus=1))
    follower = await AllocationFollower().watch(kit).read_to(last_change(kit))
    await kit.open(make_agent(session=2), seen=Mark("store-0", 6, 3))
    assert kit.pool.state.epoch == 7
    await follower.stop()
    await follower.watch(kit).read_to(follower.revision)


def test_a_token_says_what_was_written_into_it() -> None:
    want = WatchToken(b"12345678", query_hash("x"), 3, 2**40, 2**41, "a" * 16)
    assert read(write(want), query_hash("x")) == want
    assert len(write(want)) <= 100


def test_a_token_that_has_told_more_than_it_has_seen_is_none_of_ours() -> None:
    forged = WatchToken(b"l" * 8, NO_FILTER, epoch=1, revision=2**63, seen=5, identity="store")
    assert read(write(forged._replace(revision=5)), NO_FILTER).revision == 5
    with pytest.raises(InvalidArgumentError, match="no token of a watch"):
        read(write(forged), NO_FILTER)
