"""Many agents come back at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chaos.fault import Terms
from computepool.v1 import inventory_pb2
from support.caller import Caller

if TYPE_CHECKING:
    import random

    from chaos.world import World
    from support.processes import Daemon

AGENTS = 100
"""Of one process; each has a session and a node, too small for anybody to ask for."""
_SCENARIO = """format = 1
name = "crowd"
seed = 1

[node_types.tiny]
cpu_milli = 1
memory_mib = 1
disk_mib = 1
devices = 0
labels = {}
"""
_CENTER = """
[[centers]]
name = "crowd-%03d"
region = "crowd"
role = "receiver"
foreign_share = 0.0
latency_ms = 1.0
labels = {}
nodes = { tiny = 1 }
"""


class Crowd:
    """A crowd of agents joins, all lose their connections at once, and all come back."""

    name = f"{AGENTS} agents reconnect"
    terms = Terms()

    def __init__(self) -> None:
        self._crowd: Daemon | None = None

    async def strike(self, world: World, _rng: random.Random) -> None:
        """See Fault."""
        path = world.folder / "crowd.toml"
        names = [f"crowd-{n:03d}" for n in range(AGENTS)]
        path.write_text(_SCENARIO + "".join(_CENTER % n for n in range(AGENTS)))
        self._crowd = world.agent("crowd", *names, scenario=path)
        self._crowd.start()
        await self._crowd.ready()
        for broker in world.brokers:
            await asyncio.to_thread(broker.for_agents.cut)
        async with Caller(world.targets[0]) as caller:
            await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *names)

    async def heal(self, world: World) -> None:
        """The crowd leaves in good order; its nodes stay, and take nothing."""
        assert self._crowd is not None
        await self._crowd.stop()
        world.pool.daemons.remove(self._crowd)
        self._crowd = None


def faults() -> list[Crowd]:
    """All of this family."""
    return [Crowd()]
