"""Switches: read from text, or refused with the field's name; and what they do to a link."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING

import pytest

from computepool_agents.backends.bad_link import BadLink
from computepool_agents.misbehave import Kind, Switch, SwitchError, parse
from fakes.agent_builders import make_record
from fakes.agent_runner import running_agent
from fakes.scripted_broker import ScriptedBroker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from computepool_agents.link import Link


def test_switch_is_read_whole() -> None:
    want = Switch(Kind.SLOW, "c1", after_s=1.0, for_s=2.5, p=0.5, delay_s=3.0)
    assert parse("slow:center=c1:after_s=1:for_s=2.5:p=0.5:delay_s=3") == want


def test_defaults() -> None:
    assert parse("silence") == Switch(Kind.SILENCE, for_s=math.inf, p=1.0)
    assert parse("lose-capacity").p == 0.5


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", "unknown kind ''"),
        ("sulk", "unknown kind 'sulk'"),
        ("slow:p", "'p' is not of the form"),
        ("slow:p=", "'p=' is not of the form"),
        ("slow:p=2", "p must be a number from 0 to 1"),
        ("slow:delay_s=nan", "delay_s must be a number"),
        ("slow:after_s=-1", "after_s must be a number"),
        ("slow:p=0.1:p=0.2", "gives a field twice"),
        ("silence:p=0.1", "silence has no field 'p'"),
        ("refuse:delay_s=1", "refuse has no field 'delay_s'"),
    ],
)
def test_malformed_switch_is_refused(text: str, want: str) -> None:
    with pytest.raises(SwitchError, match=want):
        parse(text)


def test_window() -> None:
    switch = parse("silence:after_s=5:for_s=2")
    assert [switch.is_on(now_s) for now_s in (4.9, 5.0, 6.9, 7.0)] == [False, True, True, False]


def bad(*switches: str, elapsed_s: Callable[[], float] = lambda: 0.0) -> Callable[[Link], Link]:
    parsed = [parse(switch) for switch in switches]
    return lambda link: BadLink(link, parsed, elapsed_s, random.Random(1))


@pytest.mark.parametrize("switch", ["double", "late:p=0.5", "late", "slow:delay_s=0.05"])
async def test_bad_manners_change_nothing_in_the_end(tmp_path: Path, switch: str) -> None:
    async with (
        ScriptedBroker() as broker,
        running_agent(broker.target, tmp_path, wrap=bad(switch)) as running,
    ):
        await running.ready.wait()
        for number in range(4):
            broker.grant(make_record(f"a{number}.0.0"))
        await broker.until_states({f"a{number}.0.0": "STARTED" for number in range(4)})
        for number in range(4):
            broker.release(f"a{number}.0.0")
        await broker.until_states({})
        assert running.engine.real == set()
        assert {report.head.session for report in broker.reports} == {1}


async def test_double_sends_each_report_twice(tmp_path: Path) -> None:
    async with ScriptedBroker() as broker:
        async with running_agent(broker.target, tmp_path, wrap=bad("double")) as running:
            await asyncio.wait_for(running.ready.wait(), 10)
        assert [report.head.sequence for report in broker.reports[:2]] == [1, 1]


async def test_silence_begins_and_ends(tmp_path: Path) -> None:
    now = [0.0]
    wrap = bad("silence:after_s=1:for_s=1", elapsed_s=lambda: now[0])
    async with (
        ScriptedBroker() as broker,
        running_agent(broker.target, tmp_path, wrap=wrap) as running,
    ):
        await running.ready.wait()
        await broker.until(lambda: bool(broker._bells))
        now[0] = 1.0
        broker.grant(make_record())
        with pytest.raises(TimeoutError):
            await broker.until(lambda: len(broker.reports) > 1, deadline_s=0.5)
        now[0] = 2.0
        broker.ring()
        await broker.until_states({"a1.0.0": "STARTED"})
