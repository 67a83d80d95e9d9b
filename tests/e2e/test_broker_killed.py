"""kill -9 of the broker, again and again, at random points of a running load."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import inventory_pb2
from support.load import Load, all_comes_back, check_book, same_again, settled
from support.local_pool import CENTERS, DEVICES

if TYPE_CHECKING:
    from support.caller import Caller
    from support.local_pool import LocalPool

KILLS = 30


@pytest.mark.timeout(180)
async def test_nothing_acknowledged_is_lost_when_the_broker_is_killed_again_and_again(
    pool: LocalPool, caller: Caller, seed: str
) -> None:
    rng = random.Random(f"{seed}:kills")
    broker, region = pool.broker(), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    async with Load(pool.target, seed) as load:
        for _ in range(KILLS):
            await load.progress(grants=rng.randint(1, 10), answers=rng.randint(1, 40))
            # Any point of the work in flight: the wait is chance, not synchronisation.
            await asyncio.sleep(rng.uniform(0.0, 0.02))
            broker.kill()
            broker.start()
        await broker.ready()
        await load.progress()
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    assert load.book.repeated, "no kill met a request in flight"
    await settled(caller)
    await check_book(caller, load.book)
    await same_again(caller, load.book)
    assert await caller.findings() == []
    await all_comes_back(caller, DEVICES)
    assert await caller.findings() == []
