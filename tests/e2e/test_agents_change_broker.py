"""Agents of real processes whose broker is killed or hangs, with another one there."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import inventory_pb2
from fakes.scripted_broker import ScriptedBroker
from support.local_pool import CENTERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.caller import Caller
    from support.local_pool import LocalPool
    from support.processes import Daemon

ACTIVE = inventory_pb2.AGENT_STATE_ACTIVE


@pytest.fixture
async def spare() -> AsyncIterator[ScriptedBroker]:
    """Another broker, of a store whose epoch is above that of any real one here."""
    async with ScriptedBroker() as broker:
        broker.mark.epoch = 100
        yield broker


@asynccontextmanager
async def served_by_a_real_one(
    pool: LocalPool, caller: Caller, spare: ScriptedBroker
) -> AsyncIterator[Daemon]:
    """A real broker that all agents are at; the spare one begins to listen after that."""
    await spare.hang_up()
    broker = pool.broker(report_interval_s="10", disconnected_after_s="60", lost_after_s="60")
    region = pool.region(broker=f"{pool.target},{spare.target}")
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    await caller.agents_are(ACTIVE, *CENTERS)
    await spare.listen(spare.target)
    yield broker
    assert await region.stop() == 0


def reported(broker: ScriptedBroker) -> set[str]:
    return {report.head.agent for report in broker.reports}


async def test_agents_of_a_killed_broker_are_back_at_the_other_in_about_a_second(
    pool: LocalPool, caller: Caller, spare: ScriptedBroker
) -> None:
    async with served_by_a_real_one(pool, caller, spare) as broker:
        broker.kill()
        killed_s = time.monotonic()
        await spare.until(lambda: reported(spare) == set(CENTERS), 10.0)
        # Within a second by its jitter; the rest is for a machine that is busy.
        assert time.monotonic() - killed_s < 4.0


async def test_agents_leave_a_broker_that_hangs(
    pool: LocalPool, caller: Caller, spare: ScriptedBroker
) -> None:
    async with served_by_a_real_one(pool, caller, spare) as broker:
        await asyncio.to_thread(broker.pause)
        await spare.until(lambda: reported(spare) == set(CENTERS), 30.0)
        broker.kill()
