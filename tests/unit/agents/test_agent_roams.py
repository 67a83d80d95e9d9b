"""An agent with several brokers: one of them fails, another one serves it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import grpc

from computepool_agents.brokers import rank
from fakes.agent_builders import make_record
from fakes.agent_runner import HandClock, running_agent
from fakes.scripted_broker import ScriptedBroker
from fakes.scripted_services import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import pytest

STOPPING = Failure(grpc.StatusCode.UNAVAILABLE, "STOPPING")
UNKNOWN = Failure(grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN")
STALE = Failure(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_STALE")


@asynccontextmanager
async def two_brokers(name: str = "agent-1") -> AsyncIterator[tuple[ScriptedBroker, ...]]:
    """Two, the one first that an agent asks first."""
    async with ScriptedBroker() as one, ScriptedBroker() as two:
        yield tuple(sorted((one, two), key=lambda each: rank(name, each.target)))


def targets(*brokers: ScriptedBroker) -> str:
    return ",".join(each.target for each in brokers)


def reported(broker: ScriptedBroker) -> Callable[[], bool]:
    return lambda: bool(broker.reports)


async def test_the_other_broker_is_found_with_all_leases(tmp_path: Path) -> None:
    async with (
        two_brokers() as (first, other),
        running_agent(targets(other, first), tmp_path) as running,
    ):
        first.next_sync_ms = 1_000
        first.grant(make_record())
        await first.until_states({"a1.0.0": "STARTED"})
        other.want, other.mark = first.want, first.mark
        await first.hang_up()
        await other.until(reported(other), 5.0)
        assert not first.closed
        assert other.opened[-1].session > first.opened[-1].session
        assert other.opened[-1].seen.revision == first.mark.revision
        report = await other.until_states({"a1.0.0": "STARTED"})
        assert report.leases["a1.0.0"].HasField("record") or len(other.reports) > 1
        assert running.engine.real == {"a1.0.0"}
        assert running.engine.stopped == []


async def test_a_broker_that_is_not_there_is_passed_over(tmp_path: Path) -> None:
    async with two_brokers() as (first, other):
        await first.hang_up()
        async with running_agent(targets(first, other), tmp_path) as running:
            await asyncio.wait_for(running.ready.wait(), 5)
        assert [close.session for close in other.closed] == [other.opened[-1].session]


async def test_a_broker_that_stops_is_left_at_once(tmp_path: Path) -> None:
    async with two_brokers() as (first, other), running_agent(targets(first, other), tmp_path):
        await first.until(reported(first))
        first.sync_script.append(STOPPING)
        first.ring()
        await other.until(reported(other), 5.0)
        assert len(first.opened) == 1


async def test_a_store_that_fails_for_a_moment_costs_no_session(tmp_path: Path) -> None:
    async with two_brokers() as (first, other), running_agent(targets(first, other), tmp_path):
        await first.until(reported(first))
        first.sync_script.extend([UNKNOWN, UNKNOWN, UNKNOWN])
        first.ring()
        await first.until(lambda: len(first.reports) > 1)
        assert first.reports[-1].head.session == 1
        assert not other.opened


async def test_a_broker_that_cannot_serve_for_long_is_left(tmp_path: Path) -> None:
    clock = HandClock()
    async with (
        two_brokers() as (first, other),
        running_agent(targets(first, other), tmp_path, clock=clock),
    ):
        await first.until(reported(first))
        first.sync_script.extend([UNKNOWN] * 1_000)
        first.ring()
        await first.until(lambda: len(first.sync_script) < 999)
        clock.at_s += 2.0
        await other.until(reported(other), 5.0)


async def test_a_stale_session_is_followed_by_one_at_the_same_broker(tmp_path: Path) -> None:
    async with two_brokers() as (first, other), running_agent(targets(first, other), tmp_path):
        await first.until(reported(first))
        first.sync_script.append(STALE)
        first.ring()
        await first.until(lambda: len(first.opened) > 1)
        await first.until(lambda: first.reports[-1].head.session == 2)
        assert not other.opened


async def test_a_broker_that_keeps_no_session_is_left(tmp_path: Path) -> None:
    async with two_brokers() as (first, other):
        first.sync_script.extend([STALE] * 1_000)
        async with running_agent(targets(first, other), tmp_path):
            await other.until(reported(other), 5.0)
        assert len(first.opened) == 1


async def test_a_name_that_gets_another_address_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("computepool_agents.brokers.FRESH_S", 0.0)
    async with ScriptedBroker() as old, ScriptedBroker() as new:
        port = old.target.rpartition(":")[2]
        names = {"b": "127.0.0.1"}

        async def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
            return [(0, 0, 0, "", (names[host], 0))]

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        async with running_agent(f"b:{port}", tmp_path):
            await old.until(reported(old))
            await old.hang_up()
            await new.hang_up()
            await new.listen(f"127.0.0.2:{port}")
            names["b"] = "127.0.0.2"
            await new.until(reported(new), 5.0)


async def test_many_that_lose_their_broker_do_not_come_back_at_once(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    names = [f"agent-{i}" for i in range(60)]
    opened_s: list[float] = []
    async with two_brokers() as (first, other), AsyncExitStack() as stack:
        both = targets(first, other)
        for name in names:
            await stack.enter_async_context(running_agent(both, tmp_path / name, name=name))
        there = {n for n in names if rank(n, first.target) < rank(n, other.target)}
        await first.until(lambda: {each.head.agent for each in first.reports} == there)
        here = set(names) - there
        await other.until(lambda: {each.head.agent for each in other.reports} == here)
        assert min(len(there), len(here)) > 15
        other.on_open = lambda _: opened_s.append(loop.time())
        await first.hang_up()
        lost_s = loop.time()
        await other.until(lambda: {each.head.agent for each in other.reports} == set(names), 10.0)
    # Ten seconds between two reports: they are to come back within one.
    came = sorted(at_s - lost_s for at_s in opened_s)
    assert came[-1] < 3.0
    assert came[-1] - came[0] > 0.4
    assert max(later - sooner for sooner, later in pairwise(came)) < 0.5
