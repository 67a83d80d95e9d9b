"""The SDK on a pool of real processes: leases live through what happens to their broker."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import inventory_pb2
from computepool_client import AllocationState, AsyncPool, LeaseLostError, Pool
from support.caller import ACTIVE, ENDED
from support.local_pool import CENTERS
from support.processes import eventually

if TYPE_CHECKING:
    from support.caller import Caller
    from support.local_pool import LocalPool
    from support.processes import Daemon

ALIVE = inventory_pb2.AGENT_STATE_ACTIVE
TTL_S = 10
"""The least that there is."""


@pytest.fixture
async def broker(pool: LocalPool) -> Daemon:
    broker, region = pool.broker(), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    return broker


@pytest.mark.timeout(90)
@pytest.mark.usefixtures("broker")
async def test_a_block_outlives_its_ttl_and_a_lease_that_nobody_renews_does_not(
    pool: LocalPool, caller: Caller
) -> None:
    async with AsyncPool(pool.target) as aio:
        with Pool(pool.target) as sync:
            loose = await aio.allocate(gpus=1, ttl=TTL_S)
            async with aio.allocate(gpus=2, ttl=TTL_S) as held:
                with await asyncio.to_thread(sync.allocate, gpus=2, ttl=TTL_S) as other:
                    for _ in range(2):
                        gone = await caller.becomes(loose.id, ENDED, within_s=3 * TTL_S)
                        assert gone.end_reason == 2, "EXPIRED: at least a whole TTL is over"
                        with pytest.raises(LeaseLostError):
                            loose.check()
                        held.check()
                        other.check()
                        loose = await aio.allocate(gpus=1, ttl=TTL_S)
                    for lease in (held, other):
                        assert (await caller.get(lease.id)).state == ACTIVE
                    await asyncio.to_thread(other.release)
            await caller.becomes(held.id, ENDED)
            await caller.becomes(other.id, ENDED)


@pytest.mark.timeout(90)
async def test_a_block_lives_through_a_kill_of_the_broker_and_the_loss_of_its_store(
    pool: LocalPool, caller: Caller, broker: Daemon
) -> None:
    async with AsyncPool(pool.target) as aio, aio.allocate(gpus=8, count=3, ttl="15s") as lease:

        async def started() -> bool:
            return all(part.state == "STARTED" for part in (await lease.refresh()).parts)

        await eventually(started, "the agents' journals have it")
        places = [(part.node, part.devices) for part in lease.parts]
        for lose in (False, True):
            broker.kill()
            if lose:
                pool.lose_store()
            broker.start()
            await broker.ready()
            # Asked at once: the broker may not even know of the lease yet.
            lease._keeper._plan.keep(lease.id, 15.0, lease._tenure.valid_until_s, float("-inf"))
            lease._keeper._changed.set()
            await caller.agents_are(ALIVE, *CENTERS)
            before = lease._tenure.valid_until_s

            async def renewed(before: float = before) -> bool:
                return lease._tenure.valid_until_s > before

            await eventually(renewed, "renewed by the new broker")
            lease.check()
            assert [(part.node, part.devices) for part in (await lease.refresh()).parts] == places
        assert lease.allocation.adopted
    await caller.becomes(lease.id, ENDED)


@pytest.mark.timeout(120)
async def test_kills_of_the_broker_while_asking_make_no_second_grant_and_lose_none(
    pool: LocalPool, caller: Caller, broker: Daemon, seed: str
) -> None:
    rng = random.Random(f"{seed}:kills")
    async with AsyncPool(pool.target, timeout=60) as aio:
        held = []

        async def ask(rounds: int) -> None:
            for _ in range(rounds):
                lease = await aio.allocate(cpu=0.1, ttl="10m")
                held.append(lease.id)
                if rng.random() < 0.5:
                    await lease.release()
                    held.remove(lease.id)

        asking = [asyncio.create_task(ask(12)) for _ in range(8)]
        for _ in range(8):
            # Any point of the work in flight: the wait is chance, not synchronisation.
            await asyncio.sleep(rng.uniform(0.05, 0.3))
            broker.kill()
            broker.start()
        await broker.ready()
        await asyncio.gather(*asking)
        await caller.agents_are(ALIVE, *CENTERS)
        live = [a.id async for a in aio.list() if a.state is AllocationState.ACTIVE]
        assert sorted(live) == sorted(held)
        everything = [a.request_id async for a in aio.list(include_ended=True)]
        assert len(everything) == len(set(everything)) == 96
        assert await caller.findings() == []


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("broker")
async def test_looking_and_watching(pool: LocalPool) -> None:
    async with AsyncPool(pool.target) as aio:
        first = await aio.allocate(gpus=1, labels={"team": "vision"})
        watch = aio.watch(filter='labels.team = "vision"')
        told = await anext(watch)
        assert [event.allocation.id for event in told.events] == [first.id]
        second = await aio.allocate(gpus=1, labels={"team": "vision"})
        third = await aio.allocate(gpus=1, labels={"team": "audio"})
        seen: set[str] = set()
        while second.id not in seen:
            seen |= {event.allocation.id for event in (await anext(watch)).events}
        assert seen <= {first.id, second.id}
        await watch.aclose()
        found = [a.id async for a in aio.list(filter='labels.team = "vision"', order_by="id desc")]
        assert found == [second.id, first.id]
        views = aio.watch_view(interval=0.2)
        view = await anext(views)
        assert {center.name for center in view.centers} == set(CENTERS)
        await first.release()
        while view.allocations != 2:
            view = await anext(views)
            assert {center.name for center in view.centers} == set(CENTERS)
        await views.aclose()
        last_first = [center.name async for center in aio.centers(order_by="name desc")]
        assert last_first == sorted(CENTERS, reverse=True)
        here = await aio.explain(second.id)
        assert here.allocation is not None
        assert here.allocation.id == second.id
        nowhere = await aio.explain(gpus=64)
        assert nowhere.refusal is not None
        assert nowhere.refusal.nearest, "what would fit is said"
        fitting = await aio.allocate(spec=nowhere.refusal.nearest[0].spec)
        await fitting.release()
        node = second.node
        drain = aio.drain(node=node, message="work")
        progress = await anext(drain)
        assert second.id in {holder.allocation for holder in progress.holders}
        for lease in (second, third):
            await lease.release()
        async for progress in drain:
            assert progress.leases_at_start >= 1
        assert progress.leases == 0
        await aio.uncordon(node=node)
        assert (await aio.audit()).findings == ()
