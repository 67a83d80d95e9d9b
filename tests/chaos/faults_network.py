"""Connections are delayed, halved, cut, refused, held up and swallowed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from chaos.fault import Terms

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from chaos.world import Broker, World
    from support.tcp_proxy import Pids, TcpProxy

Link = Literal["broker-redis", "agent-broker", "client-broker"]

HOWS: dict[str, Callable[[TcpProxy, Pids | None], None]] = {
    "delay": lambda proxy, only: proxy.delay(0.15, only=only),
    "halve": lambda proxy, only: proxy.halve(only=only),
    "cut": lambda proxy, only: proxy.cut(only=only),
    "refuse": lambda proxy, only: proxy.refuse(only=only),
    "hold": lambda proxy, only: proxy.hold(only=only),
    "blackhole": lambda proxy, only: proxy.blackhole(only=only),
    "blackhole up": lambda proxy, only: proxy.blackhole("up", only=only),
    "blackhole down": lambda proxy, only: proxy.blackhole("down", only=only),
}


def proxies_of(world: World, broker: Broker, link: Link) -> list[tuple[TcpProxy, Pids | None]]:
    """What stands between a broker and the others, and whose connections those are there."""
    if link == "agent-broker":
        return [(broker.for_agents, None)]
    if link == "client-broker":
        return [(broker.for_clients, None)]
    if broker.to_redis is not None:
        return [(broker.to_redis, None)]
    assert world.ha is not None
    return [(world.ha.proxy(node), broker.pids) for node in world.ha.nodes]


class Spoil:
    """One kind of link of one broker, or of all, is bad."""

    def __init__(self, how: str, link: Link, *, everywhere: bool = False) -> None:
        self.name = f"{how} {link}{' everywhere' if everywhere else ''}"
        self.terms = Terms(brokers=2 if everywhere else 1)
        self._how = how
        self._link = link
        self._everywhere = everywhere
        self._proxies: list[TcpProxy] = []

    async def strike(self, world: World, rng: random.Random) -> None:
        """See Fault."""
        brokers = world.brokers if self._everywhere else [rng.choice(world.brokers)]
        for broker in brokers:
            for proxy, only in proxies_of(world, broker, self._link):
                await asyncio.to_thread(HOWS[self._how], proxy, only)
                self._proxies.append(proxy)

    async def heal(self, _world: World) -> None:
        """See Fault."""
        for proxy in self._proxies:
            await asyncio.to_thread(proxy.heal)


class SplitBrain:
    """The primary and one broker are cut off from all else, and go on with clients of their own.

    The others elect a new primary meanwhile. What the old one takes is lost at its healing: no
    client may have been told that it is durable.
    """

    name = "split brain"
    terms = Terms(brokers=2, ha=True, loses=1, least_s=2.5, most_s=4.0)

    async def strike(self, world: World, rng: random.Random) -> None:
        """See Fault."""
        assert world.ha is not None
        broker = rng.choice(world.brokers)
        primary = await asyncio.to_thread(world.ha.primary)
        for one in world.ha.processes:
            proxy = world.ha.proxy(one)
            if one is primary:
                await asyncio.to_thread(proxy.blackhole, but=broker.pids)
            else:
                await asyncio.to_thread(proxy.blackhole, only=broker.pids)
        await asyncio.to_thread(broker.for_agents.blackhole)

    async def heal(self, world: World) -> None:
        """See Fault."""
        assert world.ha is not None
        for proxy in world.ha.proxies:
            await asyncio.to_thread(proxy.heal)
        for broker in world.brokers:
            await asyncio.to_thread(broker.for_agents.heal)


def faults() -> list[Spoil | SplitBrain]:
    """All of this family."""
    links: tuple[Link, ...] = ("broker-redis", "agent-broker", "client-broker")
    made: list[Spoil | SplitBrain] = [Spoil(how, link) for link in links for how in HOWS]
    everywhere = ("halve", "cut", "blackhole")
    made += [Spoil(how, "broker-redis", everywhere=True) for how in everywhere]
    made.append(SplitBrain())
    return made
