"""A whole pool whose broker keeps its ledger in a real Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from support.caller import ACTIVE, Caller, reason_of, spec
from support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.local_pool import LocalPool
    from support.redis_server import RedisServer

LEVELS = {
    "everysec": allocation_pb2.ACK_LEVEL_COMMITTED,
    "always": allocation_pb2.ACK_LEVEL_DURABLE,
}


@pytest.fixture(params=LEVELS)
def fsync(request: pytest.FixtureRequest) -> str:
    """How the server syncs its log."""
    return str(request.param)


@pytest.fixture
def redis_server(fsync: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may kill."""
    with running_redis(tmp_path / "redis", fsync) as server:
        yield server


async def test_an_answer_names_what_the_server_promises_and_all_survives_the_broker(
    pool: LocalPool, caller: Caller, redis_server: RedisServer, fsync: str
) -> None:
    broker, region = pool.broker(store=redis_server.url()), pool.region("core-a")
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    answer = await caller.create(spec(devices=2), "r1")
    assert answer.ack_level == LEVELS[fsync]
    assert answer.allocation.state == ACTIVE
    broker.kill()
    broker.start()
    await broker.ready()
    again = await caller.create(spec(devices=2), "r1")
    assert again.duplicate
    assert again.allocation.id == answer.allocation.id
    assert again.allocation.leases == answer.allocation.leases
    assert await broker.stop() == 0


async def test_a_broker_whose_server_dies_ends_and_starts_anew_with_all_that_was_confirmed(
    pool: LocalPool, caller: Caller, redis_server: RedisServer
) -> None:
    broker, region = pool.broker(store=redis_server.url()), pool.region("core-a")
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    kept = (await caller.create(spec(devices=1), "kept")).allocation
    redis_server.kill()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.create(spec(devices=1), "unknown")
    assert reason_of(error.value) in ("OUTCOME_UNKNOWN", "STOPPING", "UNAVAILABLE", "CANCELLED")
    assert await broker.ended() == 1
    broker.start()
    assert await broker.ended() == 1
    assert "cannot be reached" in broker.tail()
    redis_server.start()
    broker.start()
    await broker.ready()
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, "core-a")
    again, new = await asyncio.gather(
        caller.create(spec(devices=1), "kept"), caller.create(spec(devices=1), "unknown")
    )
    assert again.duplicate
    assert again.allocation.id == kept.id
    assert new.allocation.state == ACTIVE
    assert await caller.findings() == []
