"""kill -9 of agents while load runs: what they held, they hold again."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import inventory_pb2
from support.caller import ACTIVE, spec
from support.load import Load, all_comes_back, check_book, settled
from support.local_pool import CENTERS, DEVICES

if TYPE_CHECKING:
    from support.caller import Caller
    from support.local_pool import LocalPool

KILLS = 12
ALIVE = inventory_pb2.AGENT_STATE_ACTIVE


@pytest.mark.timeout(120)
async def test_agents_hold_what_they_held_when_they_are_killed_under_load(
    pool: LocalPool, caller: Caller, seed: str
) -> None:
    rng = random.Random(f"{seed}:kills")
    broker = pool.broker(admit_timeout_s="60")
    broker.start()
    await broker.ready()
    agents = [pool.region(center, name=f"agent-{center}") for center in CENTERS]
    for agent in agents:
        agent.start()
    for agent in agents:
        await agent.ready()
    held = [await caller.active(spec(2, centers=[center])) for center in CENTERS]
    async with Load(pool.target, seed) as load:
        for _ in range(KILLS):
            await load.progress(grants=rng.randint(1, 5), answers=rng.randint(1, 40))
            # Any point of the work in flight: the wait is chance, not synchronisation.
            await asyncio.sleep(rng.uniform(0.0, 0.05))
            victim = rng.choice(agents)
            victim.kill()
            await load.progress(grants=0, answers=5)
            victim.start()
        for agent in agents:
            await agent.ready()
        await load.progress()
    await caller.agents_are(ALIVE, *CENTERS)
    await settled(caller)
    await check_book(caller, load.book)
    for before in held:
        now = await caller.get(before.id)
        assert (now.state, now.leases[0].devices) == (ACTIVE, before.leases[0].devices)
    assert await caller.findings() == []
    await all_comes_back(caller, DEVICES)
    assert await caller.findings() == []
