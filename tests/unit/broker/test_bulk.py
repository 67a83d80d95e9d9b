"""Batches: all or none, each by itself, and what they leave behind."""

from __future__ import annotations

import asyncio

import pytest

from computepool_broker.errors import (
    InvalidArgumentError,
    LeaseEndedError,
    NoRoomError,
    NotFoundError,
    OutcomeUnknownError,
    RequestIdReusedError,
)
from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.model.records import AllocationState
from computepool_broker.services import bulk as module
from computepool_broker.services.grants import Create, Granted
from support.broker_kit import THREE, BrokerKit, running_broker
from support.builders import make_held, make_node, make_spec
from support.memory_store import MemoryStore
from support.processes import eventually


def call(devices: int = 1, request_id: str = "", **spec: object) -> Create:
    return Create("default", request_id, make_spec(gpus=devices, **spec))  # type: ignore[arg-type]


def used(kit: BrokerKit) -> int:
    """Devices granted, in thousandths."""
    return sum(
        amount
        for book in kit.pool.state.nodes.values()
        for key, amount in book.used.items()
        if key.startswith("d/")
    )


async def waiters(kit: BrokerKit, count: int) -> None:
    """Until so many allocations are waited for."""

    async def so() -> bool:
        return len(kit.pool.waiters) >= count

    await eventually(so, f"{count} waiters", every_s=0)


async def test_an_atomic_batch_that_fits_is_one_commit() -> None:
    async with running_broker(*THREE) as kit:
        before = kit.pool.state.revision
        made = await kit.bulk.create_all([call(8), call(4), call(4)], 0)
        assert kit.pool.state.revision == before + 1
        assert len({each.allocation.id for each in made}) == 3
        assert used(kit) == 16_000
        assert not check_invariants(kit.pool.state, kit.pool.columns)


async def test_an_atomic_batch_that_does_not_fit_together_grants_nothing() -> None:
    # Each of them alone would fit: 3 nodes with 8 devices.
    async with running_broker(*THREE) as kit:
        before = kit.pool.state.revision
        with pytest.raises(NoRoomError) as refusal:
            await kit.bulk.create_all([call(8), call(8), call(8), call(1)], 0)
        assert refusal.value.metadata["index"] == "3"
        assert used(kit) == 0
        assert kit.pool.state.revision == before
        assert not kit.pool.state.allocations
        # Nothing of the assumption stays: all of it can still be had.
        await kit.bulk.create_all([call(8), call(8), call(8)], 0)
        assert not check_invariants(kit.pool.state, kit.pool.columns)


async def test_a_request_id_twice_in_an_atomic_batch_is_one_grant() -> None:
    async with running_broker(*THREE) as kit:
        first, second = await kit.bulk.create_all([call(1, "r"), call(1, "r")], 0)
        assert (first.duplicate, second.duplicate) == (False, True)
        assert first.allocation is second.allocation
        assert used(kit) == 1_000


async def test_a_request_id_twice_with_other_content_fails_the_atomic_batch() -> None:
    async with running_broker(*THREE) as kit:
        with pytest.raises(RequestIdReusedError) as error:
            await kit.bulk.create_all([call(1, "r"), call(2, "r")], 0)
        assert error.value.metadata["index"] == "1"
        assert not kit.pool.state.allocations


async def test_an_atomic_batch_retried_is_the_same_grants() -> None:
    async with running_broker(*THREE) as kit:
        calls = [call(1, "a"), call(2, "b")]
        first = await kit.bulk.create_all(calls, 0)
        again = await kit.bulk.create_all(calls, 0)
        assert [m.allocation.id for m in first] == [m.allocation.id for m in again]
        assert all(m.duplicate for m in again)


async def test_each_by_itself_some_are_refused() -> None:
    async with running_broker(*THREE) as kit:
        made = await kit.bulk.create_each([call(8), call(8), call(9), call(8), call(1)], 0)
        kinds = [type(each) for each in made]
        assert kinds == [Granted, Granted, NoRoomError, Granted, NoRoomError]
        assert used(kit) == 24_000


async def test_a_batch_goes_in_slices_so_that_others_get_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SLICE_PARTS", 2)
    async with running_broker(make_node(gpus=8)) as kit:
        made = await kit.bulk.create_each([call(1)] * 5, 0)
        assert sum(isinstance(each, Granted) for each in made) == 5
        assert kit.pool.committer.jobs >= 3


async def test_a_gang_larger_than_a_slice_is_a_slice_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SLICE_PARTS", 2)
    async with running_broker(make_node(gpus=8)) as kit:
        made = await kit.bulk.create_each([call(1), call(1, count=4), call(1)], 0)
        assert [m.allocation.spec.parts for m in made if isinstance(m, Granted)] == [1, 4, 1]


async def test_renewing_many_says_of_each_that_failed_why() -> None:
    async with running_broker(*THREE) as kit:
        kept, gone = [await kit.create(make_spec(gpus=1)) for _ in range(2)]
        await kit.allocations.release(gone.id, "", "")
        await kit.tick()
        left = kit.pool.ttl.left_ms(kept.id, kit.pool.clock.now_ms)
        done = await kit.bulk.renew([kept.id, gone.id, "nobody"], 0)
        assert [type(each) for each in done] == [type(None), LeaseEndedError, NotFoundError]
        assert kit.pool.ttl.left_ms(kept.id, kit.pool.clock.now_ms) > left


async def test_releasing_many_is_idempotent() -> None:
    async with running_broker(*THREE) as kit:
        ids = [(await kit.create(make_spec(gpus=1))).id for _ in range(3)]
        for _ in range(2):
            done = await kit.bulk.release([*ids, "nobody"], "done")
            assert done[:3] == [None, None, None]
            assert isinstance(done[3], NotFoundError)
        states = {kit.pool.state.allocations[key].state for key in ids}
        assert states == {AllocationState.RELEASING}


async def test_a_batch_that_waits_answers_when_all_are_active() -> None:
    async with running_broker(make_node(gpus=8)) as kit:
        batch = asyncio.create_task(kit.bulk.create_all([call(1), call(2)], 30))
        await waiters(kit, 2)
        leases = [p.lease_id(a.id) for a in kit.pool.state.allocations.values() for p in a.parts]
        await kit.report(held=[make_held(lease, HeldState.ADMITTED) for lease in leases])
        made = await batch
        assert {m.allocation.state for m in made} == {AllocationState.ACTIVE}
        assert not kit.pool.waiters


async def test_a_waiting_batch_that_is_cancelled_leaves_no_waiter() -> None:
    async with running_broker(make_node(gpus=8)) as kit:
        batch = asyncio.create_task(kit.bulk.create_each([call(1), call(2)], 30))
        await waiters(kit, 2)
        batch.cancel()
        await asyncio.gather(batch, return_exceptions=True)
        assert not kit.pool.waiters
        assert len(kit.pool.state.allocations) == 2


async def test_a_create_cancelled_before_it_is_durable_leaves_no_waiter() -> None:
    store = MemoryStore()
    async with running_broker(make_node(gpus=8), store=store) as kit:
        store.hold = True
        create = asyncio.create_task(kit.allocations.create(call(1, "r"), 30))
        await waiters(kit, 1)
        create.cancel()
        await asyncio.gather(create, return_exceptions=True)
        assert not kit.pool.waiters
        store.let_go()
        # The next call with the same request_id gets what was granted.
        again = await kit.allocations.create(call(1, "r"), 0)
        assert again.duplicate
        assert used(kit) == 1_000


async def test_when_the_store_fails_every_member_of_the_batch_is_unknown() -> None:
    store = MemoryStore()
    async with running_broker(make_node(gpus=8), store=store) as kit:
        store.fail = True
        made = await kit.bulk.create_each([call(1), call(2)], 0)
        assert [type(each) for each in made] == [OutcomeUnknownError] * 2


def test_a_field_within_a_field_names_the_whole_way() -> None:
    error = InvalidArgumentError("spec.count", "too many").within("requests[3]")
    assert error.field == "requests[3].spec.count"
    assert str(error) == "requests[3].spec.count: too many"
