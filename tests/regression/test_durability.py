"""Nobody is told what is not durable yet: interleavings of commits that once failed."""

from __future__ import annotations

import asyncio

from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.model.records import AllocationState
from computepool_broker.services.grants import Create
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_held, make_node, make_spec
from support.memory_store import MemoryStore

TURNS = 50


async def settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def reserve_two(kit: BrokerKit) -> asyncio.Task[object]:
    call = Create("default", "r1", make_spec(gpus=1, count=2))
    waiting = asyncio.create_task(kit.allocations.create(call, 60.0))
    await settle()
    return waiting


async def test_a_waiter_is_not_told_of_active_before_that_is_durable() -> None:
    store = MemoryStore()
    async with running_broker(make_node(), store=store) as kit:
        waiting = await reserve_two(kit)
        (key,) = kit.pool.state.allocations
        store.hold = True
        first = make_held(f"{key}.0.0", HeldState.ADMITTED)
        second = make_held(f"{key}.1.0", HeldState.ADMITTED)
        reports = [asyncio.create_task(kit.report(held=[first]))]
        await settle()
        reports.append(asyncio.create_task(kit.report(held=[first, second])))
        await settle()
        assert kit.pool.state.allocations[key].state is AllocationState.ACTIVE
        store.finish_one()
        await settle()
        assert not waiting.done()
        store.let_go()
        await settle()
        assert waiting.done()
        await asyncio.gather(*reports)


async def test_a_duplicate_that_waits_learns_of_active_that_came_with_its_own_commit() -> None:
    store = MemoryStore()
    async with running_broker(make_node(), store=store) as kit:
        waiting = await reserve_two(kit)
        (key,) = kit.pool.state.allocations
        store.hold = True
        call = Create("default", "r1", make_spec(gpus=1, count=2))
        again = asyncio.create_task(kit.allocations.create(call, 60.0))
        await settle()
        held = [make_held(f"{key}.{index}.0", HeldState.ADMITTED) for index in (0, 1)]
        report = asyncio.create_task(kit.report(held=held))
        await settle()
        store.let_go()
        await settle()
        assert waiting.done()
        assert again.done()
        allocation, duplicate = again.result()
        assert (allocation.state, duplicate) == (AllocationState.ACTIVE, True)
        await report
