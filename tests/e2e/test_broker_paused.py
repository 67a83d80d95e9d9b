"""A broker whose time stands still for longer than every TTL: nobody is made to pay for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import inventory_pb2
from support.caller import ACTIVE, spec
from support.load import all_comes_back
from support.local_pool import CENTERS, DEVICES
from support.processes import eventually

if TYPE_CHECKING:
    from support.caller import Caller
    from support.local_pool import LocalPool

TTL_S = 10
"""The least that there is."""


@pytest.mark.timeout(90)
async def test_nothing_expires_while_the_broker_is_stopped_for_longer_than_every_ttl(
    pool: LocalPool, caller: Caller
) -> None:
    broker, region = pool.broker(), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    held = [await caller.active(spec(2, ttl_s=TTL_S, count=2)) for _ in range(6)]
    broker.pause()
    until = time.monotonic() + TTL_S + 2

    async def longer_than_the_ttl() -> bool:
        return time.monotonic() > until

    # Time itself is what is tested: there is nothing else to wait for.
    await eventually(longer_than_the_ttl, "the broker was stopped for long enough")
    broker.resume()
    for allocation in held:
        renewed = await caller.renew(allocation.id)
        assert renewed.state == ACTIVE
        assert renewed.leases[0].node == allocation.leases[0].node
        assert renewed.remaining_ttl_ms > (TTL_S - 3) * 1_000
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    assert {a.id for a in await caller.all()} == {a.id for a in held}
    assert await caller.findings() == []
    await all_comes_back(caller, DEVICES)
