"""The store's files deleted, or an older copy of them put back, under a stopped broker.

What agents hold comes back from their journals; nothing is granted twice; what had ended stays
ended, but for a lease whose agent never heard of its end: that one may come back once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from support.caller import ACTIVE, ENDED, LIVE, RELEASING, Caller, reason_of, spec
from support.load import all_comes_back, check_devices
from support.local_pool import CENTERS, DEVICES, LocalPool
from support.processes import Daemon, eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.timeout(90)

ALIVE = inventory_pb2.AGENT_STATE_ACTIVE
RESERVED_IS_ENOUGH = allocation_pb2.WAIT_FOR_RESERVED


async def started(pool: LocalPool, *centers: str) -> tuple[Daemon, Daemon]:
    broker, region = pool.broker(), pool.region(*centers)
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    return broker, region


async def journalled(caller: Caller, *allocation_ids: str) -> None:
    """Wait until the agents hold these, started, in their journals."""
    for allocation_id in allocation_ids:

        async def held(allocation_id: str = allocation_id) -> bool:
            leases = (await caller.get(allocation_id)).leases
            return all(lease.state == 3 for lease in leases)  # STARTED

        await eventually(held, f"{allocation_id} is started")


def places(allocation: allocation_pb2.Allocation) -> list[tuple[str, list[str]]]:
    return [(lease.node, [d.device_id for d in lease.devices]) for lease in allocation.leases]


async def check_same(
    caller: Caller, before: Mapping[str, allocation_pb2.Allocation], *, adopted: bool
) -> None:
    """Allocations by request_id are ACTIVE on the devices that they had."""
    for request_id, old in before.items():
        new = await caller.get(old.id)
        assert new.state == ACTIVE
        assert new.adopted == adopted
        assert places(new) == places(old)
        assert (new.tenant, new.spec, new.request_id) == (old.tenant, old.spec, request_id)
        assert not new.flags
        again = await caller.create(old.spec, request_id, RESERVED_IS_ENOUGH)
        assert (again.allocation.id, again.duplicate) == (old.id, True)


async def test_leases_come_back_from_the_journals_when_the_store_is_deleted(
    pool: LocalPool, caller: Caller
) -> None:
    broker, region = await started(pool)
    kept = {f"keep-{n}": await caller.active(spec(2, count=4), f"keep-{n}") for n in range(3)}
    ended = await caller.active(spec(3), "ended")
    await caller.release(ended.id)
    await caller.becomes(ended.id, ENDED)
    await journalled(caller, *(a.id for a in kept.values()))
    before = (await caller.view()).mark
    assert await broker.stop() == 0
    pool.lose_store()
    broker.start()
    await broker.ready()
    await caller.agents_are(ALIVE, *CENTERS)
    after = (await caller.view()).mark
    assert after.identity != before.identity
    assert after.epoch > before.epoch
    await check_same(caller, kept, adopted=True)
    assert {a.id for a in await caller.all()} == {a.id for a in kept.values()}
    assert region.running
    assert await caller.findings() == []
    await all_comes_back(caller, DEVICES)


async def test_nothing_is_granted_twice_while_agents_come_back_to_an_empty_store(
    pool: LocalPool, caller: Caller
) -> None:
    broker, region = await started(pool, "core-a")
    full = {f"full-{n}": await caller.active(spec(8), f"full-{n}") for n in range(4)}
    await journalled(caller, *(a.id for a in full.values()))
    region.pause()
    broker.kill()
    pool.lose_store()
    broker.start()
    await broker.ready()
    attempts: list[str] = []

    async def try_on() -> None:
        while True:
            try:
                granted = await caller.create(spec(1), wait_for=RESERVED_IS_ENOUGH)
                attempts.append(f"granted {granted.allocation.id}")
            except grpc.aio.AioRpcError as error:
                attempts.append(reason_of(error))

    trying = asyncio.create_task(try_on())

    async def tried_alone() -> bool:
        return len(attempts) >= 20

    await eventually(tried_alone, "20 attempts without any agent")
    region.resume()
    await caller.agents_are(ALIVE, "core-a")
    await check_same(caller, full, adopted=True)
    trying.cancel()
    assert set(attempts) <= {"NO_ROOM", "WARMING_UP"}
    assert await caller.findings() == []
    await all_comes_back(caller, 32)


async def test_released_lease_that_its_agent_never_heard_of_comes_back_for_one_ttl_at_most(
    pool: LocalPool, caller: Caller
) -> None:
    broker, region = await started(pool, "core-a")
    short = await caller.active(spec(2, ttl_s=10), "short")
    long = await caller.active(spec(2), "long")
    await journalled(caller, short.id, long.id)
    region.pause()
    released = await caller.release(short.id)
    assert released.state == RELEASING
    broker.kill()
    pool.lose_store()
    broker.start()
    await broker.ready()
    region.resume()
    await caller.agents_are(ALIVE, "core-a")
    assert (await caller.get(short.id)).state == ACTIVE
    over = await caller.becomes(short.id, ENDED, within_s=20)
    assert over.end_reason == allocation_pb2.END_REASON_EXPIRED
    await check_same(caller, {"long": long}, adopted=True)
    assert await caller.findings() == []
    await all_comes_back(caller, 32)


async def test_newer_leases_are_adopted_when_an_older_copy_of_the_store_is_put_back(
    pool: LocalPool, caller: Caller
) -> None:
    broker, region = await started(pool)
    old = {"old": await caller.active(spec(2, count=2), "old")}
    ended_later = await caller.active(spec(4), "ended-later")
    await journalled(caller, old["old"].id, ended_later.id)
    assert await broker.stop() == 0
    copy = pool.keep_store("copy")
    broker.start()
    await broker.ready()
    await caller.agents_are(ALIVE, *CENTERS)
    new = {f"new-{n}": await caller.active(spec(3, count=2), f"new-{n}") for n in range(4)}
    await caller.release(ended_later.id)
    await caller.becomes(ended_later.id, ENDED)
    await journalled(caller, *(a.id for a in new.values()))
    before = (await caller.view()).mark
    assert await broker.stop() == 0
    pool.restore_store(copy)
    broker.start()
    await broker.ready()
    await caller.agents_are(ALIVE, *CENTERS)
    after = (await caller.view()).mark
    assert (after.identity, after.epoch > before.epoch) == (before.identity, True)
    await check_same(caller, old, adopted=False)
    await check_same(caller, new, adopted=True)
    check_devices(await caller.all())
    # Released after the copy was made: the copy has it alive, and it can be released again.
    back = await caller.becomes(ended_later.id, ACTIVE)
    await caller.release(back.id)
    await caller.becomes(back.id, ENDED)
    assert region.running
    assert await caller.findings() == []
    await all_comes_back(caller, DEVICES)


async def test_copy_put_back_is_noticed_also_when_the_store_has_moved_on_meanwhile(
    pool: LocalPool, caller: Caller
) -> None:
    """Agents come back only after others have raised the store's revision above theirs.

    The first of them must raise the epoch all the same: else a plain restart would make the
    broker believe that it had known, and ended, the leases of the second.
    """
    broker, first = await started(pool, "core-a")
    second = pool.region("receiver-a", name="second")
    second.start()
    await second.ready()
    assert await broker.stop() == 0
    copy = pool.keep_store("copy")
    broker.start()
    await broker.ready()
    await caller.agents_are(ALIVE, "core-a", "receiver-a")
    new = {c: await caller.active(spec(3, centers=[c]), c) for c in ("core-a", "receiver-a")}
    await journalled(caller, *(a.id for a in new.values()))
    mark = (await caller.view()).mark
    first.kill()
    second.kill()
    assert await broker.stop() == 0
    pool.restore_store(copy)
    broker.start()
    await broker.ready()
    other = pool.region("support-a", name="other")
    other.start()
    await other.ready()
    on_other = spec(1, centers=["support-a"])
    while (await caller.view()).mark.revision <= mark.revision + 10:
        await caller.active(on_other)
    first.start()
    await caller.agents_are(ALIVE, "core-a")
    assert (await caller.view()).mark.epoch > mark.epoch
    assert await broker.stop() == 0
    broker.start()
    await broker.ready()
    second.start()
    await caller.agents_are(ALIVE, "core-a", "receiver-a", "support-a")
    await check_same(caller, new, adopted=True)
    assert all(a.state in LIVE for a in await caller.all())
    assert await caller.findings() == []
