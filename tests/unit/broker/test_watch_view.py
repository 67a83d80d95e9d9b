"""Watches of the view on a whole broker: the whole first, then what changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from computepool.v1 import inventory_pb2 as wire
from computepool_broker.errors import InvalidArgumentError, OverloadedError, StoppingError
from computepool_broker.rpc import watch_view
from computepool_broker.rpc.inventory import InventoryServicer
from computepool_broker.services import view_feed
from support.broker_kit import THREE, BrokerKit, running_broker
from support.builders import make_agent, make_spec
from support.memory_store import MemoryStore
from support.watching import ViewFollower

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NO_CALL: Any = None
MANY = 1_000


@pytest.fixture
async def kit(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BrokerKit]:
    """A broker with three centers of one node each, that looks often."""
    monkeypatch.setattr(view_feed, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(view_feed, "LONGEST_S", 0.05)
    async with running_broker(*THREE) as kit:
        yield kit


async def view_of(kit: BrokerKit) -> wire.GetViewResponse:
    servicer = InventoryServicer(
        kit.inventory, kit.agents, kit.auditor, kit.pool, kit.lists, kit.watches
    )
    return await servicer.GetView(wire.GetViewRequest(), NO_CALL)


def granted(follower: ViewFollower, center: str) -> int:
    return follower.centers[center].models[0].devices.granted


async def test_the_whole_view_comes_first_and_is_what_is_shown(kit: BrokerKit) -> None:
    await kit.create(make_spec(gpus=1, centers=("c2",)))
    follower = ViewFollower(kit)
    assert await follower.read() == ["c1", "c2", "c3"]
    assert follower.message.whole
    assert follower.message.view == await view_of(kit)


async def test_then_only_centers_that_changed_are_told(kit: BrokerKit) -> None:
    follower = ViewFollower(kit)
    await follower.read()
    await kit.create(make_spec(gpus=1, centers=("c2",)))
    assert await follower.read() == ["c2"]
    assert not follower.message.whole
    assert granted(follower, "c2") == 1000
    assert follower.message.view.grants_total == 1
    assert follower.message.view.mark.revision == kit.pool.state.revision
    await kit.inventory.cordon_center("c3", "broken", on=True)
    assert await follower.read() == ["c3"]
    assert follower.centers["c3"].cordon_message == "broken"


async def test_a_refusal_is_told_although_no_center_changed(kit: BrokerKit) -> None:
    follower = ViewFollower(kit)
    await follower.read()
    kit.pool.refusals += 1
    assert await follower.read() == []
    assert follower.message.view.refusals_total == 1


async def test_numbers_that_were_looked_at_anew_are_told_with_their_age(kit: BrokerKit) -> None:
    await kit.tick(ms=15_000)
    follower = ViewFollower(kit)
    await follower.read()
    assert {c.age_ms for c in follower.centers.values()} == {15_000}
    await kit.report(agent="a2")
    assert await follower.read() == ["c2"]
    assert follower.centers["c2"].age_ms == 0


async def test_centers_that_leave_are_named(kit: BrokerKit) -> None:
    follower = ViewFollower(kit)
    await follower.read()
    await kit.agents.close_session("a1", 1)
    await follower.read()
    await kit.inventory.forget("a1")
    while not follower.message.centers_gone:
        await follower.read()
    assert follower.message.centers_gone == ["c1"]
    assert follower.centers.keys() == {"c2", "c3"}


async def test_a_watcher_is_told_once_of_what_follows_within_its_interval(kit: BrokerKit) -> None:
    follower = ViewFollower(kit, least_interval_ms=300)
    await follower.read()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(3):
        await kit.create(make_spec(gpus=1, centers=("c2",)))
        await asyncio.sleep(0)
    while granted(follower, "c2") < 3000:
        assert await follower.read() == ["c2"]
        assert loop.time() - began >= 0.3
        began = loop.time()


async def test_two_precisions_side_by_side(kit: BrokerKit) -> None:
    first, other = ViewFollower(kit), ViewFollower(kit, precision="fp64")
    await first.read()
    await other.read()
    await kit.create(make_spec(gpus=1, centers=("c2",)))
    await first.read()
    await other.read()
    peaks = [f.centers["c2"].models[0].granted_gflops for f in (first, other)]
    assert peaks[0] > peaks[1] > 0
    assert [f.message.view.precision for f in (first, other)] == ["fp16", "fp64"]


async def test_nothing_is_told_before_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_feed, "LOOK_EVERY_S", 0.01)
    store = MemoryStore()
    async with running_broker(*THREE, store=store) as kit:
        follower = ViewFollower(kit)
        await follower.read()
        store.hold = True
        grant = asyncio.ensure_future(kit.create(make_spec(gpus=1, centers=("c2",))))
        news = asyncio.ensure_future(follower.read())
        await asyncio.wait((news,), timeout=0.4)
        assert not news.done()
        store.let_go()
        await grant
        assert await news == ["c2"]


async def test_a_view_too_large_for_a_message_goes_in_several(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_view, "MESSAGE_BYTES", 10)
    follower = ViewFollower(kit)
    whole, tokens = [], []
    for want in ("c1", "c2", "c3"):
        assert await follower.read() == [want]
        whole.append(follower.message.whole)
        tokens.append(bool(follower.message.resume_token))
    assert whole == [True, False, False]
    assert tokens == [False, False, True]
    assert follower.centers.keys() == {"c1", "c2", "c3"}


# -- going on ----------------------------------------------------------------------------------


async def test_a_token_goes_on_with_what_has_changed_since(kit: BrokerKit) -> None:
    follower = ViewFollower(kit)
    await follower.read()
    token = follower.message.resume_token
    await follower.stop()
    assert kit.watches.open.open == 0
    await kit.create(make_spec(gpus=1, centers=("c2",)))
    later = ViewFollower(kit, token)
    assert await later.read() == ["c2"]
    assert not later.message.whole


async def test_a_token_of_another_life_of_the_broker_begins_anew(kit: BrokerKit) -> None:
    async with running_broker(*THREE) as other:
        follower = ViewFollower(other)
        await follower.read()
    later = ViewFollower(kit, follower.message.resume_token)
    assert await later.read() == ["c1", "c2", "c3"]
    assert later.message.whole


async def test_a_token_from_before_centers_that_are_forgotten_begins_anew(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_feed, "MOST_GONE", 0)
    follower = ViewFollower(kit)
    await follower.read()
    token = follower.message.resume_token
    await kit.agents.close_session("a1", 1)
    await kit.inventory.forget("a1")
    while "c1" in follower.centers:
        await follower.read()
    assert follower.message.whole
    later = ViewFollower(kit, token)
    assert await later.read() == ["c2", "c3"]
    assert later.message.whole


@pytest.mark.parametrize("token", ["x", "AAAA", "é", "a" * 129])
async def test_what_is_no_token_is_refused(kit: BrokerKit, token: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await ViewFollower(kit, token).read()
    assert caught.value.field == "resume_token"


async def test_a_token_of_another_precision_is_refused(kit: BrokerKit) -> None:
    follower = ViewFollower(kit)
    await follower.read()
    with pytest.raises(InvalidArgumentError, match="another precision"):
        await ViewFollower(kit, follower.message.resume_token, precision="fp64").read()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"least_interval_ms": 199}, "least_interval_ms"),
        ({"least_interval_ms": -1}, "least_interval_ms"),
        ({"least_interval_ms": 60_001}, "least_interval_ms"),
        ({"precision": "fp17"}, "precision"),
    ],
)
async def test_what_is_asked_for_is_checked(
    kit: BrokerKit, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await ViewFollower(kit, **fields).read()
    assert caught.value.field == field


# -- many, and the end -------------------------------------------------------------------------


async def test_a_thousand_watchers_all_see_a_change(kit: BrokerKit) -> None:
    followers = [ViewFollower(kit) for _ in range(MANY)]
    await asyncio.gather(*(f.read() for f in followers))
    assert kit.watches.open.open == MANY
    await kit.create(make_spec(gpus=1, centers=("c2",)))
    told = await asyncio.gather(*(f.read() for f in followers))
    assert all("c2" in names for names in told)
    for follower in followers:
        await follower.stop()
    assert kit.watches.open.open == 0


async def test_nobody_looks_while_nobody_watches(kit: BrokerKit) -> None:
    follower = ViewFollower(kit)
    await follower.read()
    await follower.stop()
    task = kit.watches._view._feed._task
    assert task is not None
    async with asyncio.timeout(5):
        await task
    again = ViewFollower(kit)
    assert await again.read() == ["c1", "c2", "c3"]


async def test_watches_are_bounded_together(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit.watches.open, "_most", 1)
    follower = ViewFollower(kit)
    await follower.read()
    with pytest.raises(OverloadedError):
        await ViewFollower(kit).read()
    await follower.stop()
    assert kit.watches.open.open == 0


async def test_watches_end_at_once_when_the_broker_stops(kit: BrokerKit) -> None:
    followers = [ViewFollower(kit, least_interval_ms=60_000) for _ in range(3)]
    for follower in followers:
        await follower.read()
    waiting = [asyncio.ensure_future(f.read()) for f in followers]
    await asyncio.sleep(0)
    kit.watches.hang_up()
    for task in waiting:
        with pytest.raises(StoppingError):
            await task


async def test_an_agent_without_nodes_is_a_center_too(kit: BrokerKit) -> None:
    await kit.open(make_agent("a4", center="c4"))
    follower = ViewFollower(kit)
    await follower.read()
    assert follower.centers["c4"].agents == 1
    assert follower.centers["c4"].age_ms == -1
