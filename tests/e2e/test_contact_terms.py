"""An agent that cannot reach its broker: each allocation's own contact term decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from support.caller import ACTIVE, ENDED, spec
from support.processes import eventually
from support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from computepool.v1 import types_pb2
    from support.caller import Caller
    from support.local_pool import LocalPool

pytestmark = pytest.mark.timeout(90)

STOP_AFTER_S = 2


def small(memory_mib: int, stop_after_s: int = 0) -> types_pb2.AllocationSpec:
    """Memory alone, of which a busy machine has some left."""
    return spec(0, cpu_milli=0, memory_mib=memory_mib, stop_after_s=stop_after_s)


async def granted_mib(caller: Caller) -> int:
    return (await caller.nodes())["server-node"].granted.memory_mib


async def runs(pool: LocalPool, *want: str) -> None:
    async def so() -> bool:
        return pool.grants() == set(want)

    await eventually(so, f"exactly {want} run")


async def two_leases(pool: LocalPool, caller: Caller) -> tuple[str, str]:
    """Ids of a lease that stops without contact and of one that keeps on, both running."""
    stops = await caller.active(small(10, STOP_AFTER_S))
    keeps = await caller.active(small(20))
    await runs(pool, stops.id, keeps.id)
    return stops.id, keeps.id


async def check_after_contact(caller: Caller, pool: LocalPool, stops: str, keeps: str) -> None:
    ended = await caller.becomes(stops, ENDED)
    assert ended.end_reason == allocation_pb2.END_REASON_LOST
    assert (await caller.get(keeps)).state == ACTIVE
    assert pool.grants() == {keeps}

    async def only_the_kept() -> bool:
        return await granted_mib(caller) == 20

    await eventually(only_the_kept, "the capacity of the lost lease is back")
    assert await caller.findings() == []
    await caller.release(keeps)
    await caller.becomes(keeps, ENDED)
    assert pool.grants() == set()
    assert await granted_mib(caller) == 0


async def test_agent_behind_a_cut_network_stops_what_its_contact_term_says(
    pool: LocalPool, caller: Caller
) -> None:
    broker = pool.broker()
    broker.start()
    await broker.ready()
    with TcpProxy(pool.target) as proxy:
        server = pool.server(broker=proxy.address)
        server.start()
        await server.ready()
        stops, keeps = await two_leases(pool, caller)
        proxy.blackhole()
        await runs(pool, keeps)  # by itself: nobody can tell it to
        await caller.agents_are(inventory_pb2.AGENT_STATE_LOST, "server")
        # What a silent node has is given to nobody else, whatever its allocation has come to.
        assert await granted_mib(caller) == 30
        assert (await caller.get(keeps)).state == ACTIVE
        proxy.heal()
        await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, "server")
        await check_after_contact(caller, pool, stops, keeps)


async def test_broker_that_stands_still_for_longer_than_a_contact_term_loses_that_lease_only(
    pool: LocalPool, caller: Caller
) -> None:
    broker, server = pool.broker(), pool.server()
    broker.start()
    await broker.ready()
    server.start()
    await server.ready()
    stops, keeps = await two_leases(pool, caller)
    broker.pause()
    await runs(pool, keeps)
    broker.resume()
    await check_after_contact(caller, pool, stops, keeps)


async def test_agent_killed_for_longer_than_the_contact_term_stops_the_lease_when_it_is_back(
    pool: LocalPool, caller: Caller
) -> None:
    broker, server = pool.broker(), pool.server()
    broker.start()
    await broker.ready()
    server.start()
    await server.ready()
    stops, keeps = await two_leases(pool, caller)
    server.kill()
    # The broker counts from a later moment than the agent: by then the agent's time is over.
    await caller.becomes(stops, allocation_pb2.ALLOCATION_STATE_RELEASING)
    assert await granted_mib(caller) == 30
    server.start()
    await server.ready()
    await runs(pool, keeps)
    await check_after_contact(caller, pool, stops, keeps)
