"""Chaos that finds nothing is worth something only if it finds what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.clients import TENANT, TTL_S, grant_of
from chaos.fault import Terms
from chaos.faults_redis import Empty
from chaos.rounds import Rounds
from chaos.world import Shape, World
from computepool.v1 import allocation_pb2 as wire
from support.caller import Caller, spec

if TYPE_CHECKING:
    import random
    from pathlib import Path


class UntoldLoss:
    """The store is emptied while agents sleep, and nobody says so: a reserved grant is gone."""

    name = "untold loss"
    terms = Terms()

    async def strike(self, world: World, rng: random.Random) -> None:
        for agent in world.agents:
            agent.pause()
        asked = {"request_id": "r", "tenant": TENANT, "ttl_s": TTL_S}
        world.history.note("call", call="r", op="create", level=0, **asked)
        async with Caller(world.targets[0]) as caller:
            answer = await caller.create(spec(ttl_s=TTL_S), "r", wire.WAIT_FOR_RESERVED)
        world.history.note("answer", call="r", outcome="ok", **grant_of(answer))
        await Empty().strike(world, rng)

    async def heal(self, world: World) -> None:
        for agent in world.agents:
            agent.resume()


@pytest.mark.timeout(120)
async def test_a_loss_that_nothing_explains_is_found(tmp_path: Path, seed: str) -> None:
    async with World(tmp_path, Shape()) as world, Rounds(world, seed) as rounds:
        await rounds.round(UntoldLoss())
        assert any("(b)" in wrong and "missing" in wrong for wrong in rounds.wrong), rounds.wrong
