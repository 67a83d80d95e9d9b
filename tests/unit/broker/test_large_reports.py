"""Reports of very many nodes: taken in slices; refused early beyond the limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from computepool.v1 import agent_pb2 as wire
from computepool_broker.errors import (
    InvalidArgumentError,
    NodeOwnedError,
    ReportOutOfOrderError,
    SessionStaleError,
)
from computepool_broker.model.book import NodeBook
from computepool_broker.model.records import AgentState
from computepool_broker.rpc.from_agents import NodeReader
from computepool_broker.services import intake as intake_module
from computepool_broker.services import slices as slices_module
from computepool_broker.services.reports import MAX_NODES
from support.agent_wire import read_whole
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_agent, make_node, make_spec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


NO_CALL: Any = None
MANY = [make_node(f"n{number:02}") for number in range(10)]


@pytest.fixture
async def kit(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BrokerKit]:
    """A broker with slices of two new nodes; a1 has only said hello."""
    for module in (intake_module, slices_module):
        monkeypatch.setattr(module, "SLICE", 2 * slices_module.NEW_NODE)
    async with running_broker(make_node("m1", agent="a2")) as kit:
        await kit.open(make_agent("a1"))
        yield kit


async def until(kit: BrokerKit, nodes: int) -> None:
    """Let things go on until so many nodes of a1 are there."""
    for _ in range(1_000):
        if len(kit.pool.state.agents["a1"].nodes) >= nodes:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{nodes} nodes never come")


async def test_others_are_served_between_slices_and_the_agent_is_active_after_the_last(
    kit: BrokerKit,
) -> None:
    work = asyncio.create_task(kit.report(MANY))
    for nodes in (2, 4, 6, 8):
        await until(kit, nodes)
        assert len(kit.pool.state.agents["a1"].nodes) == nodes
        assert kit.pool.state.agents["a1"].state is AgentState.RECONCILING
        assert (await kit.create(make_spec(gpus=1))).parts[0].node == "m1"
    assert not (await work).want_full
    assert kit.pool.state.agents["a1"].state is AgentState.ACTIVE


async def test_nothing_counts_as_gone_before_all_nodes_have_come(kit: BrokerKit) -> None:
    await kit.report(MANY)
    others = [make_node(f"o{number:02}") for number in range(10)]
    work = asyncio.create_task(kit.report(others))
    await until(kit, len(MANY) + len(others))
    await work
    assert kit.pool.state.agents["a1"].nodes == {n.name for n in others}


@pytest.mark.parametrize("how", ["session", "report", "forgotten"])
async def test_what_comes_between_ends_the_rest_and_the_next_must_be_whole(
    kit: BrokerKit, how: str
) -> None:
    work = asyncio.create_task(kit.report(MANY))
    await until(kit, 4)
    session = 1
    want: type[Exception] = SessionStaleError
    if how == "session":
        session = await kit.open(make_agent("a1", session=2))
    elif how == "forgotten":
        kit.pool.lives.pop("a1")
        session = await kit.open(make_agent("a1"))
        want = ReportOutOfOrderError
    else:
        want = ReportOutOfOrderError
        await kit.report(MANY[:3])
    with pytest.raises(want):
        await work
    assert len(kit.pool.state.agents["a1"].nodes) < len(MANY)
    assert (await kit.report(base=1, session=session)).want_full
    assert not (await kit.report(MANY, session=session)).want_full
    assert kit.pool.state.agents["a1"].nodes == {n.name for n in MANY}


async def test_a_node_of_another_agent_in_the_last_slice_refuses_all(kit: BrokerKit) -> None:
    with pytest.raises(NodeOwnedError):
        await kit.report([*MANY, make_node("m1")])
    assert kit.pool.state.agents["a1"].nodes == set()


async def test_kinds_of_devices_are_counted_over_all_slices_before_any_is_taken(
    kit: BrokerKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("computepool_broker.services.variety.MAX_DEVICE_CLASSES", 8)
    kinds = [make_node(f"n{number:02}", model=f"X{number}") for number in range(8)]
    with pytest.raises(InvalidArgumentError, match="kinds of devices"):
        await kit.report(kinds)
    assert kit.pool.state.agents["a1"].nodes == set()
    assert not (await kit.report(kinds[:7])).want_full


async def test_a_large_difference_is_taken_in_slices_too(kit: BrokerKit) -> None:
    await kit.report(MANY)
    gone = [node.name for node in MANY[4:]]
    changed = [node._replace(unschedulable=True) for node in MANY[:4]]
    assert not (await kit.report(changed, base=1, nodes_gone=gone)).want_full
    books = kit.pool.state.nodes
    assert {n: books[n].record for n in kit.pool.state.agents["a1"].nodes} == {
        node.name: node for node in changed
    }


# -- limits ----------------------------------------------------------------------------------


def test_a_message_of_too_many_nodes_is_refused_before_any_is_read() -> None:
    message = wire.SyncRequest(agent="a1", session=1, sequence=1)
    message.nodes.extend(wire.NodeReport(node="bad name") for _ in range(MAX_NODES + 1))
    with pytest.raises(InvalidArgumentError) as refused:
        read_whole(message)
    assert refused.value.field == "nodes"


def part_of_100(part: int) -> wire.SyncRequest:
    """A part of a report of 200,000 nodes."""
    nodes = [wire.NodeReport(node=f"n{part}-{number}") for number in range(2_000)]
    return wire.SyncRequest(agent="a1", session=1, sequence=1, part=part, parts=100, nodes=nodes)


async def test_a_report_of_200_000_nodes_is_refused_at_the_part_that_is_too_much() -> None:
    async with running_broker(make_node("m1", agent="a2")) as kit:
        await kit.open(make_agent("a1"))
        for part in range(MAX_NODES // 2_000):
            assert (await kit.wire.Sync(part_of_100(part), NO_CALL)).part_accepted
        with pytest.raises(InvalidArgumentError, match=f"nodes: more than {MAX_NODES}"):
            await kit.wire.Sync(part_of_100(MAX_NODES // 2_000), NO_CALL)
        assert set(kit.pool.state.nodes) == {"m1"}
        assert (await kit.create(make_spec(gpus=1))).parts[0].node == "m1"
        assert not kit.agents._intake._reports._open, "what had come is dropped"


async def test_two_nodes_of_one_name_in_different_parts_are_refused() -> None:
    async with running_broker(make_node("m1", agent="a2")) as kit:
        await kit.open(make_agent("a1"))
        for part in range(2):
            message = wire.SyncRequest(agent="a1", session=1, sequence=1, part=part, parts=3)
            message.nodes.add(node="n1" if part else "n0")
            await kit.wire.Sync(message, NO_CALL)
        message = wire.SyncRequest(agent="a1", session=1, sequence=1, part=2, parts=3)
        message.nodes.add(node="n0")
        with pytest.raises(InvalidArgumentError, match="'n0' is listed twice"):
            await kit.wire.Sync(message, NO_CALL)
        assert set(kit.pool.state.nodes) == {"m1"}


# -- nodes that repeat -----------------------------------------------------------------------


def test_a_node_that_says_the_same_is_the_same_object() -> None:
    reader = NodeReader({})
    agent = make_agent()

    def read(**fields: Any) -> object:
        return reader.read(0, wire.NodeReport(node="n1", **fields), agent)

    first = read(labels={"a": "1", "b": "2"})
    assert read(labels={"b": "2", "a": "1"}, age_ms=7) is first
    assert read(labels={"a": "1"}) is not first
    assert read(unschedulable=True) != first
    moved = reader.read(0, wire.NodeReport(node="n1"), agent._replace(center="c9"))
    assert moved.center == "c9"


def test_what_is_remembered_of_nodes_is_bounded() -> None:
    known = {f"n{number}": NodeBook(make_node(f"n{number}"), {}) for number in range(10)}
    reader = NodeReader(known)
    for number in range(5_000):
        reader.read(0, wire.NodeReport(node=f"n{number}"), make_agent())
    assert len(reader._known) <= 2 * len(known) + 1_024 + 1
    assert known.keys() & reader._known.keys()
