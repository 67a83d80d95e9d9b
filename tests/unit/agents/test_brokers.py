"""The brokers that can be asked: what --broker names, and the addresses that this leads to."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from computepool_agents.brokers import MOST_PLACES, Directory, Place, parse, rank


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a:1", (Place("a", 1),)),
        ("a:1, b:2", (Place("a", 1), Place("b", 2))),
        ("a:1,a:1", (Place("a", 1),)),
        ("[::1]:7600", (Place("::1", 7600),)),
        ("dns:///brokers.pool:7600", (Place("brokers.pool", 7600),)),
        ("10.0.0.1:7600,dns:///b:1", (Place("10.0.0.1", 7600), Place("b", 1))),
    ],
)
def test_places(text: str, places: tuple[Place, ...]) -> None:
    assert parse(text) == places


@pytest.mark.parametrize(
    "text",
    ["", "a", "a:", "a:0", "a:65536", "a:1,", ",a:1", "::1:7600", "http://a:1", "a b:1", "dns:///"],
)
def test_no_places(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        parse(text)


def test_too_many_places() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        parse(",".join(f"b{i}:1" for i in range(MOST_PLACES + 1)))


class Names:
    """A name server, and a clock, that the test moves."""

    def __init__(self, **ips: list[str]) -> None:
        self.ips = ips
        self.asked: Counter[str] = Counter()
        self.now_s = 0.0
        self.answers = asyncio.Event()
        self.answers.set()

    async def resolve(self, place: Place) -> list[str]:
        self.asked[place.host] += 1
        await self.answers.wait()
        if place.host not in self.ips:
            raise OSError(place.host)
        return self.ips[place.host]

    def directory(self, text: str) -> Directory:
        return Directory(parse(text), self.resolve, lambda: self.now_s)


async def test_each_address_of_a_name_is_a_broker() -> None:
    names = Names(b=["10.0.0.1", "10.0.0.2", "fd00::1", "10.0.0.1"])
    found = await names.directory("b:7600,10.0.0.9:1").addresses()
    assert found == ("10.0.0.1:7600", "10.0.0.2:7600", "[fd00::1]:7600", "10.0.0.9:1")


async def test_names_are_looked_up_anew_but_not_by_everybody() -> None:
    names = Names(b=["10.0.0.1"])
    directory = names.directory("b:1")
    await asyncio.gather(*(directory.addresses() for _ in range(100)))
    assert names.asked["b"] == 1
    names.ips["b"], names.now_s = ["10.0.0.2"], 1.0
    assert await directory.addresses() == ("10.0.0.2:1",)


async def test_a_name_that_cannot_be_looked_up_keeps_its_addresses() -> None:
    names = Names(b=["10.0.0.1"])
    directory = names.directory("b:1,c:1")
    assert await directory.addresses() == ("10.0.0.1:1",)
    del names.ips["b"]
    names.ips["c"], names.now_s = ["10.0.0.3"], 1.0
    assert await directory.addresses() == ("10.0.0.1:1", "10.0.0.3:1")


async def test_a_name_server_that_hangs_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("computepool_agents.brokers.LOOK_UP_S", 0.01)
    names = Names(b=["10.0.0.1"])
    directory = names.directory("b:1,10.0.0.9:1")
    names.answers.clear()
    for names.now_s in (0.0, 1.0, 2.0):
        assert await directory.addresses() == ("10.0.0.9:1",)
    assert names.asked["b"] == 1
    names.answers.set()
    names.now_s = 3.0
    assert await directory.addresses() == ("10.0.0.1:1", "10.0.0.9:1")


async def test_the_machines_resolver_is_asked() -> None:
    found = await Directory(parse("localhost:7600,no-such-name.invalid:1")).addresses()
    assert "127.0.0.1:7600" in found or "[::1]:7600" in found
    assert all(address.endswith(":7600") for address in found)


def test_a_fleet_spreads_over_the_brokers_and_few_move() -> None:
    agents = [f"agent-{i}" for i in range(600)]
    three = ("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1")

    def firsts(addresses: tuple[str, ...]) -> dict[str, str]:
        return {agent: min(addresses, key=lambda each: rank(agent, each)) for agent in agents}

    before, after = firsts(three), firsts((*three, "10.0.0.4:1"))
    assert min(Counter(before.values()).values()) > 150
    moved = [agent for agent in agents if before[agent] != after[agent]]
    assert all(after[agent] == "10.0.0.4:1" for agent in moved)
    assert 100 < len(moved) < 200
