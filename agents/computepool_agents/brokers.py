"""The brokers that can be asked: what --broker names, and the addresses that this leads to now.

May import the standard library only. Looks names up, unless it is told how.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

MOST_PLACES = 64
MOST_ADDRESSES = 256
"""Of all names together; what a name server says beyond that is not asked."""
MOST_PORT = 65_535
FRESH_S = 1.0
"""So long an answer of the name server serves all agents of the process."""
LOOK_UP_S = 2.0
_DNS = "dns:///"
_PLACE = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Place:
    """A broker, or brokers that share a name.

    Attributes:
        host: An IP address without brackets, or a name with one or more addresses.
        port: Where they listen.
    """

    host: str
    port: int

    @property
    def named(self) -> bool:
        """Whether the host is a name, which must be looked up."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    def at(self, ip: str) -> str:
        """Give the address of one of its brokers, as "host:port"."""
        return f"[{ip}]:{self.port}" if ":" in ip else f"{ip}:{self.port}"


def parse(text: str) -> tuple[Place, ...]:
    """Read "host:port,host:port"; a host may be a name with several addresses.

    Raises:
        ValueError: One has another form, or there are none, or more than 64.
    """
    places = tuple(dict.fromkeys(_place(each.strip()) for each in text.split(",")))
    if len(places) > MOST_PLACES:
        raise ValueError(f"must name at most {MOST_PLACES} brokers, not {len(places)}")
    return places


def _place(text: str) -> Place:
    match = _PLACE.fullmatch(text.removeprefix(_DNS))
    if not match or not 0 < int(match[2]) <= MOST_PORT:
        raise ValueError(f"must be host:port, or several joined by commas, not {text!r}")
    return Place(match[1].strip("[]"), int(match[2]))


async def look_up(place: Place) -> list[str]:
    """Ask the machine's resolver for the IP addresses of a name.

    Raises:
        OSError: There are none, or it does not answer.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Directory:
    """The addresses of all brokers; one for all agents of a process.

    A name that cannot be looked up has the addresses that it had before.
    """

    def __init__(
        self,
        places: tuple[Place, ...],
        resolve: Callable[[Place], Awaitable[Iterable[str]]] = look_up,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._places = places
        self._resolve = resolve
        self._clock = clock
        self._known: dict[Place, tuple[str, ...]] = {
            each: () if each.named else (each.at(each.host),) for each in places
        }
        self._asked_s = float("-inf")
        self._asking: dict[Place, asyncio.Future[Iterable[str]]] = {}
        self._lock = asyncio.Lock()

    async def addresses(self) -> tuple[str, ...]:
        """Give "host:port" of each broker, in no order that means anything; perhaps none."""
        async with self._lock:
            if self._clock() - self._asked_s >= FRESH_S:
                await self._look()
                self._asked_s = self._clock()
        found = (address for addresses in self._known.values() for address in addresses)
        return tuple(dict.fromkeys(found))[:MOST_ADDRESSES]

    async def _look(self) -> None:
        names = [place for place in self._places if place.named]
        for place in names:
            # One that hung is not asked again beside itself: each takes a thread.
            if place not in self._asking:
                self._asking[place] = asyncio.ensure_future(self._resolve(place))
        if names:
            await asyncio.wait([self._asking[place] for place in names], timeout=LOOK_UP_S)
        for place in names:
            if self._asking[place].done():
                self._take(place, self._asking.pop(place))

    def _take(self, place: Place, asked: asyncio.Future[Iterable[str]]) -> None:
        if asked.cancelled() or isinstance(asked.exception(), OSError | UnicodeError):
            return
        found = tuple(dict.fromkeys(place.at(ip) for ip in asked.result()))
        self._known[place] = found or self._known[place]


def rank(agent: str, address: str) -> bytes:
    """Give an agent's own order of the brokers: another one for each agent, and lasting.

    So a fleet spreads over the brokers, and one broker more or less moves few agents.
    """
    return blake2b(f"{agent}|{address}".encode(), digest_size=8).digest()
