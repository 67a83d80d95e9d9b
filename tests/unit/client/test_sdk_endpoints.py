"""Names of brokers that stand for several addresses."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from computepool.v1 import inventory_pb2
from computepool_client import AsyncPool, Pool, lookup
from computepool_client.endpoints import Endpoints
from fakes.scripted_services import Failure, ScriptedServices

if TYPE_CHECKING:
    from collections.abc import Iterator

STOPPING = Failure(grpc.StatusCode.UNAVAILABLE, "STOPPING")


def known(brokers: Endpoints) -> list[str]:
    """All brokers, in the order in which they are asked."""
    seen = []
    for _ in range(len(brokers)):
        seen.append(brokers.present)
        brokers.failed(brokers.present)
    return seen


def test_names_are_looked_up_first_and_anew_when_a_broker_has_failed() -> None:
    brokers = Endpoints(("b:1", "10.0.0.9:1", "localhost:1"))
    assert brokers.due(0.0) == ("b:1",)
    assert brokers.due(0.5) == brokers.due(60.0) == ()
    brokers.failed("10.0.0.9:1")
    assert brokers.due(61.0) == ("b:1",)
    brokers.failed("10.0.0.9:1")
    assert brokers.due(61.5) == (), "not more often than once a second"
    assert brokers.due(62.0) == ("b:1",)


def test_addresses_need_no_lookup() -> None:
    assert Endpoints(("10.0.0.1:1", "[fd00::1]:1", "localhost:1")).due(0.0) == ()


def test_a_name_is_replaced_by_its_addresses() -> None:
    brokers = Endpoints(("b:7", "10.0.0.9:1"))
    brokers.found("b:7", ["10.0.0.1", "fd00::2"])
    assert known(brokers) == ["10.0.0.1:7", "[fd00::2]:7", "10.0.0.9:1"]
    brokers.found("b:7", [])
    assert len(brokers) == 3, "no answer changes nothing"


def test_one_address_is_asked_by_its_name() -> None:
    brokers = Endpoints(("b:7",))
    brokers.found("b:7", ["10.0.0.1"])
    assert known(brokers) == ["b:7"]


def test_the_present_one_stays_while_it_is_there() -> None:
    brokers = Endpoints(("b:7",))
    brokers.found("b:7", ["10.0.0.1", "10.0.0.2"])
    brokers.failed("10.0.0.1:7")
    brokers.found("b:7", ["10.0.0.3", "10.0.0.2"])
    assert brokers.present == "10.0.0.2:7"
    brokers.found("b:7", ["10.0.0.3", "10.0.0.4"])
    assert brokers.present == "10.0.0.3:7"


def test_connections_to_brokers_long_gone_are_given_up_oldest_first() -> None:
    brokers = Endpoints(("b:7",))
    used = [f"10.0.0.{i}:7" for i in range(20)]
    brokers.found("b:7", ["10.0.0.0", "10.0.0.1"])
    assert brokers.left(used) == ["10.0.0.2:7", "10.0.0.3:7"]


@pytest.fixture
def two() -> Iterator[tuple[ScriptedServices, ScriptedServices, int]]:
    """Two brokers at one port of two addresses of this machine: the first one stops."""
    with ScriptedServices() as first:
        port = int(first.endpoint.rpartition(":")[2])
        with ScriptedServices(f"127.0.0.2:{port}") as second:
            first.script("GetView", STOPPING)
            second.script("GetView", inventory_pb2.GetViewResponse())
            yield first, second, port


def answer(*ips: str) -> list[tuple[Any, ...]]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in ips]


def test_the_other_address_of_a_name_is_asked(
    two: tuple[ScriptedServices, ScriptedServices, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, port = two
    found = answer("127.0.0.1", "127.0.0.2")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(random, "shuffle", lambda _: None)
    with Pool(f"brokers.pool:{port}", timeout=10) as pool:
        pool.view()
        pool.view()
    assert (len(first.requests["GetView"]), len(second.requests["GetView"])) == (1, 2)


async def test_the_other_address_of_a_name_is_asked_asynchronously(
    two: tuple[ScriptedServices, ScriptedServices, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, port = two

    async def getaddrinfo(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return answer("127.0.0.1", "127.0.0.2")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(random, "shuffle", lambda _: None)
    async with AsyncPool(f"brokers.pool:{port}", timeout=10) as pool:
        await pool.view()
        await pool.view()
    assert (len(first.requests["GetView"]), len(second.requests["GetView"])) == (1, 2)


def test_a_resolver_that_hangs_or_fails_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lookup.ips("no-such-name.invalid:1") == []
    monkeypatch.setattr(lookup, "_WITHIN_S", 0.01)
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer(str(done.wait(10))))
    assert lookup.ips("b:1") == []
    done.set()


def test_the_machines_resolver_is_asked() -> None:
    assert set(lookup.ips("localhost:1")) <= {"127.0.0.1", "::1"}
    assert set(asyncio.run(lookup.aio_ips("localhost:1"))) == set(lookup.ips("localhost:1"))
    assert asyncio.run(lookup.aio_ips("no-such-name.invalid:1")) == []
