"""A pool whose broker finds its Redis by sentinels: a failover costs a restart, and no lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool.v1 import inventory_pb2
from support.caller import ACTIVE, spec
from support.processes import eventually
from support.redis_ha import RedisHA

if TYPE_CHECKING:
    from pathlib import Path

    from support.caller import Caller
    from support.local_pool import LocalPool

pytestmark = pytest.mark.timeout(120)


async def test_a_durable_grant_is_there_on_the_promoted_replica(
    pool: LocalPool, caller: Caller, tmp_path: Path
) -> None:
    with RedisHA(tmp_path / "ha", "always") as servers:
        servers.wait_healthy()
        broker, region = pool.broker(store=servers.url()), pool.region("core-a")
        broker.start()
        await broker.ready()
        region.start()
        await region.ready()
        made = await caller.create(spec(devices=2), "r1")
        assert made.allocation.state == ACTIVE
        old = servers.primary()
        old.kill()
        servers.wait_for_failover(old)

        async def ended() -> bool:
            # It notices with its next commit, and leaves the start to its supervisor.
            return not broker.running

        await eventually(ended, "the broker has ended")
        assert "store_failed" in broker.log

        async def back() -> bool:
            if not broker.running:
                broker.start()
            try:
                await broker.ready()
            except AssertionError:
                return False  # the promoted one still waits for a replica
            return True

        await eventually(back, "the broker is back", 60)
        again = await caller.create(spec(devices=2), "r1")
        assert again.duplicate
        assert again.allocation.id == made.allocation.id
        assert again.allocation.leases == made.allocation.leases


async def test_the_one_broker_lists_itself(pool: LocalPool, caller: Caller) -> None:
    broker = pool.broker()
    broker.start()
    await broker.ready()
    answer = await caller.inventory.ListBrokers(inventory_pb2.ListBrokersRequest(), timeout=5)
    [me] = answer.brokers
    assert me.chores
    assert me.revision == answer.mark.revision
    assert me.version
