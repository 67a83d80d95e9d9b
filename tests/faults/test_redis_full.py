"""Redis has no room: none on the disk of its log, or none in its memory."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from computepool.v1 import allocation_pb2
from support.caller import ACTIVE, Caller, spec
from support.load import Load
from support.processes import Daemon, eventually
from support.redis_server import running_redis
from support.whole_again import whole_again

if TYPE_CHECKING:
    from pathlib import Path

    from support.local_pool import LocalPool
    from support.redis_server import RedisServer
    from support.small_disk import SmallDisk

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.xfail(
        strict=True, reason="a broker still ends when its Redis fails, and does not come back"
    ),
]

COMMITTED = allocation_pb2.ACK_LEVEL_COMMITTED


async def started(pool: LocalPool, server: RedisServer) -> Daemon:
    broker, region = pool.broker(store=server.url()), pool.region()
    for daemon in (broker, region):
        daemon.start()
        await daemon.ready()
    return broker


async def refused(caller: Caller) -> grpc.aio.AioRpcError:
    """Wait until nothing new is granted, and give the error."""

    async def error() -> grpc.aio.AioRpcError | None:
        try:
            await caller.create(spec(1), wait_for=allocation_pb2.WAIT_FOR_RESERVED)
        except grpc.aio.AioRpcError as error:
            return error
        return None

    found = await eventually(error, "new grants are refused")
    assert found is not None
    return found


async def test_broker_outlives_a_redis_without_room_for_its_log(
    pool: LocalPool, caller: Caller, disk: SmallDisk, seed: str
) -> None:
    rng = random.Random(f"{seed}:log")
    with running_redis(disk.folder / "redis") as server:
        broker = await started(pool, server)
        kept = await caller.active(spec(1))
        async with Load(pool.target, seed, level=COMMITTED) as load:
            await load.progress(grants=rng.randint(1, 20))
            disk.fill()
            error = await refused(caller)
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            assert "MISCONF" in (error.details() or "")
            assert (await caller.get(kept.id)).state == ACTIVE
            assert (await caller.view()).allocations >= 1
            disk.make_room()
            await load.progress(grants=5)
        assert broker.log.count('"event": "serving"') == 1, "it was started anew"
        await caller.release(kept.id)
        await whole_again(caller, load.book)


async def test_what_is_durable_outlives_a_redis_that_ends_for_want_of_room(
    pool: LocalPool, caller: Caller, disk: SmallDisk, seed: str
) -> None:
    """With appendfsync always Redis ends itself when it cannot write its log."""
    rng = random.Random(f"{seed}:ends")
    with running_redis(disk.folder / "redis", "always") as server:
        broker = await started(pool, server)
        async with Load(pool.target, seed) as load:
            await load.progress(grants=rng.randint(1, 20))
            disk.fill()

            async def has_ended() -> bool:
                return not server.running

            await eventually(has_ended, "Redis ends")
            assert (await refused(caller)).code() == grpc.StatusCode.UNAVAILABLE
            disk.make_room()
            server.start()
            await load.progress(grants=5)
        assert broker.log.count('"event": "serving"') == 1, "it was started anew"
        await whole_again(caller, load.book)


async def test_broker_outlives_a_redis_without_memory(
    pool: LocalPool, caller: Caller, tmp_path: Path, seed: str
) -> None:
    rng = random.Random(f"{seed}:memory")
    with running_redis(tmp_path / "redis", "always") as server, server.client() as client:
        broker = await started(pool, server)
        kept = await caller.active(spec(1))
        async with Load(pool.target, seed) as load:
            for _ in range(3):
                await load.progress(grants=rng.randint(1, 20))
                client.config_set("maxmemory", 1)
                error = await refused(caller)
                assert error.code() == grpc.StatusCode.UNAVAILABLE
                assert "maxmemory" in (error.details() or "")
                assert (await caller.get(kept.id)).state == ACTIVE
                client.config_set("maxmemory", 0)
            await load.progress(grants=5)
        assert broker.log.count('"event": "serving"') == 1, "it was started anew"
        await caller.release(kept.id)
        await whole_again(caller, load.book)
