"""Brokers and agents are killed, stopped in good order, and paused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from chaos.fault import Terms

if TYPE_CHECKING:
    import random

    from chaos.world import World
    from support.processes import Daemon

How = Literal["kill", "stop", "pause"]
Whom = Literal["broker", "agent", "all brokers", "all agents"]


class StrikeProcess:
    """One process or all of a kind; it comes back by itself, or is let go on."""

    def __init__(self, how: How, whom: Whom, terms: Terms | None = None, note: str = "") -> None:
        self.name = f"{how} {whom}{note}"
        self.terms = terms or Terms()
        self._how = how
        self._whom = whom
        self._struck: list[Daemon] = []

    async def strike(self, world: World, rng: random.Random) -> None:
        """See Fault."""
        brokers = [broker.daemon for broker in world.brokers]
        there = world.agents if "agent" in self._whom else brokers
        self._struck = list(there) if "all" in self._whom else [rng.choice(there)]
        if self._how == "pause":
            for daemon in self._struck:
                daemon.pause()
            return
        world.down.update(self._struck)
        if self._how == "kill":
            for daemon in self._struck:
                daemon.kill()
        else:
            # A broker that waits for a Redis that is gone must end all the same.
            await asyncio.gather(*(daemon.stop() for daemon in self._struck))

    async def heal(self, world: World) -> None:
        """See Fault."""
        for daemon in self._struck:
            daemon.resume()
        world.down.difference_update(self._struck)  # whoever keeps things up starts them


def faults() -> list[StrikeProcess]:
    """All of this family."""
    whom: tuple[Whom, ...] = ("broker", "agent", "all brokers", "all agents")
    hows: tuple[How, ...] = ("kill", "stop", "pause")
    made = [StrikeProcess(how, who) for how in hows for who in whom]
    # Longer than agents may be silent, and than a broker may be elected for without a sign.
    long = Terms(least_s=3.0, most_s=4.0)
    made.append(StrikeProcess("pause", "broker", long, " for long"))
    made.append(StrikeProcess("pause", "agent", long, " for long"))
    return made
