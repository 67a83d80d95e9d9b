"""Redis servers and sentinels are killed, stopped and paused; the store is emptied, and filled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from chaos.fault import COMMITTED, DURABLE, Terms

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from chaos.faults_processes import How
    from chaos.world import World
    from support.redis_server import RedisServer

Role = Literal["primary", "replica", "sentinel", "redis"]
_FULL_BYTES = 1
"""More than this Redis uses always: whatever needs memory is refused."""


class StrikeRedis:
    """One server or sentinel."""

    def __init__(self, how: How, role: Role, terms: Terms) -> None:
        self.name = f"{how} {role}"
        self.terms = terms
        self._how = how
        self._role = role
        self._struck: RedisServer | None = None

    async def strike(self, world: World, rng: random.Random) -> None:
        """See Fault."""
        self._struck = await asyncio.to_thread(self._choose, world, rng)
        await asyncio.to_thread(getattr(self._struck, self._how))

    def _choose(self, world: World, rng: random.Random) -> RedisServer:
        if self._role == "sentinel":
            assert world.ha is not None
            return rng.choice(world.ha.sentinels)
        if self._role == "replica":
            assert world.ha is not None
            return rng.choice(world.ha.replicas())
        return world.primary()

    async def heal(self, _world: World) -> None:
        """See Fault."""
        assert self._struck is not None
        await asyncio.to_thread(self._struck.resume if self._how == "pause" else self._struck.start)


class Empty:
    """FLUSHALL: the whole store is gone, the server stays."""

    name = "flushall"
    terms = Terms(loses=DURABLE)

    async def strike(self, world: World, _rng: random.Random) -> None:
        """See Fault."""
        await asyncio.to_thread(self._flush, world)

    @staticmethod
    def _flush(world: World) -> None:
        with world.primary().client() as client:
            client.flushall()

    async def heal(self, _world: World) -> None:
        """Nothing to mend: what there was comes back from the journals of the agents."""


class Fill:
    """Redis has no memory left, and refuses what needs some."""

    name = "maxmemory"
    terms = Terms()

    async def strike(self, world: World, _rng: random.Random) -> None:
        """See Fault."""
        await asyncio.to_thread(self._limit, [world.primary()], _FULL_BYTES)

    async def heal(self, world: World) -> None:
        """See Fault."""
        await asyncio.to_thread(self._limit, world.nodes() or [world.primary()], 0)

    @staticmethod
    def _limit(servers: Sequence[RedisServer], most_bytes: int) -> None:
        for server in servers:
            with server.client() as client:
                client.config_set("maxmemory", most_bytes)


def faults() -> list[StrikeRedis | Empty | Fill]:
    """All of this family."""
    alone = Terms(ha=False)
    elected = Terms(ha=True, loses=COMMITTED, least_s=1.0, most_s=3.0)
    spare = Terms(ha=True)
    hows: tuple[How, ...] = ("kill", "stop", "pause")
    made: list[StrikeRedis | Empty | Fill] = [Empty(), Fill()]
    for how in hows:
        made.append(StrikeRedis(how, "redis", alone))
        made.append(StrikeRedis(how, "primary", elected))
        made.append(StrikeRedis(how, "replica", spare))
        made.append(StrikeRedis(how, "sentinel", spare))
    return made
