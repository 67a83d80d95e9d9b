"""Drains on a whole broker: the cordon, who is still there, and the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import inventory_pb2 as wire
from computepool_broker.errors import (
    InvalidArgumentError,
    NoRoomError,
    NotFoundError,
    OverloadedError,
    StoppingError,
    UncordonedError,
)
from computepool_broker.services import drain
from support.broker_kit import BrokerKit, activate, running_broker
from support.builders import make_node, make_spec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WITHIN_S = 20.0


@pytest.fixture
async def kit(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BrokerKit]:
    """A broker with two nodes of one agent, and one of another center; drains look often."""
    monkeypatch.setattr(drain, "LOOK_EVERY_S", 0.01)
    nodes = (make_node("n1"), make_node("n2"), make_node("m1", agent="a2", center="c2"))
    async with running_broker(*nodes) as kit:
        yield kit


class Draining:
    """One call."""

    def __init__(self, kit: BrokerKit, **target: str) -> None:
        self._stream = kit.watches.drain(wire.DrainRequest(**target))

    async def read(self) -> wire.DrainResponse:
        async with asyncio.timeout(WITHIN_S):
            return await anext(self._stream)

    async def over(self) -> None:
        """It ends without another message."""
        async with asyncio.timeout(WITHIN_S):
            with pytest.raises(StopAsyncIteration):
                await anext(self._stream)


async def test_a_node_is_cordoned_and_followed_until_nobody_is_there(kit: BrokerKit) -> None:
    key = await activate(kit, gpus=8, labels={}, centers=("c1",))
    node = kit.pool.state.allocations[key].parts[0].node
    draining = Draining(kit, node=node, message="new disks")
    first = await draining.read()
    assert (first.leases, first.leases_at_start, first.holders_omitted) == (1, 1, 0)
    holder = first.holders[0]
    assert (holder.allocation_id, holder.tenant, holder.node) == (key, "default", node)
    assert (holder.remaining_ttl_ms, holder.releasing) == (3_600_000, False)
    assert kit.pool.state.nodes[node].message == "new disks"
    assert (await kit.create(make_spec(gpus=8, centers=("c1",)))).parts[0].node != node
    await kit.allocations.release(key, "", "")
    second = await draining.read()
    assert [(h.releasing, h.remaining_ttl_ms) for h in second.holders] == [(True, 0)]
    await kit.report()
    last = await draining.read()
    assert (last.leases, last.leases_at_start, len(last.holders)) == (0, 1, 0)
    await draining.over()
    assert kit.watches.draining.open == 0


async def test_a_center_without_leases_is_drained_at_once(kit: BrokerKit) -> None:
    draining = Draining(kit, center="c1")
    assert (await draining.read()).leases == 0
    await draining.over()
    with pytest.raises(NoRoomError):
        await kit.create(make_spec(gpus=1, centers=("c1",)))


async def test_a_center_names_its_holders_those_that_last_longest_first(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "MOST_HOLDERS", 3)
    monkeypatch.setattr(drain, "SLICE_LEASES", 2)
    for ttl_s in (60, 600, 300, 900, 30):
        await kit.create(make_spec(cpu=1, centers=("c1",), ttl_s=ttl_s))
    await kit.create(make_spec(cpu=1, centers=("c2",)))
    first = await Draining(kit, center="c1").read()
    assert (first.leases, first.holders_omitted) == (5, 2)
    assert [h.remaining_ttl_ms for h in first.holders] == [900_000, 600_000, 300_000]


async def test_a_drain_ends_when_somebody_takes_the_cordon_back(kit: BrokerKit) -> None:
    await kit.create(make_spec(cpu=1, centers=("c2",)))
    for target, undo in (
        ({"node": "m1"}, kit.inventory.cordon_node("m1", "", on=False)),
        ({"center": "c2"}, kit.inventory.cordon_center("c2", "", on=False)),
    ):
        draining = Draining(kit, **target)
        await draining.read()
        await undo
        with pytest.raises(UncordonedError) as caught:
            await draining.read()
        assert caught.value.metadata == target


async def test_ending_the_call_leaves_the_cordon(kit: BrokerKit) -> None:
    await kit.create(make_spec(cpu=1, centers=("c2",)))
    draining = Draining(kit, node="m1")
    await draining.read()
    await draining._stream.aclose()  # type: ignore[attr-defined]
    assert kit.watches.draining.open == 0
    assert kit.pool.state.nodes["m1"].blockers


async def test_a_node_whose_agent_is_forgotten_is_drained(kit: BrokerKit) -> None:
    await kit.create(make_spec(cpu=1, centers=("c2",)))
    draining = Draining(kit, node="m1")
    await draining.read()
    await kit.agents.close_session("a2", 1)
    await kit.inventory.forget("a2")
    assert (await draining.read()).leases == 0
    await draining.over()


@pytest.mark.parametrize(
    ("target", "field"),
    [({}, "target"), ({"node": "a b"}, "node"), ({"node": "n1", "message": "a\x07"}, "message")],
)
async def test_what_is_asked_for_is_checked(
    kit: BrokerKit, target: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await Draining(kit, **target).read()
    assert caught.value.field == field


@pytest.mark.parametrize("target", [{"node": "n9"}, {"center": "c9"}])
async def test_what_is_not_there_is_not_drained(kit: BrokerKit, target: dict[str, str]) -> None:
    with pytest.raises(NotFoundError):
        await Draining(kit, **target).read()
    assert kit.watches.draining.open == 0


async def test_drains_are_bounded_and_end_with_the_broker(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit.watches.draining, "_most", 1)
    await kit.create(make_spec(cpu=1, centers=("c2",)))
    draining = Draining(kit, node="m1")
    await draining.read()
    with pytest.raises(OverloadedError):
        await Draining(kit, node="n1").read()
    assert not kit.pool.state.nodes["n1"].blockers, "a drain that is refused cordons nothing"
    waiting = asyncio.ensure_future(draining.read())
    await asyncio.sleep(0)
    kit.watches.hang_up()
    with pytest.raises(StoppingError):
        await waiting
