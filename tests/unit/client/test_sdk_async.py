"""The pool for asyncio against a real server with scripted answers: what differs from the other."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import TYPE_CHECKING

import grpc
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from computepool_client import (
    Allocation,
    AsyncPool,
    ClosedError,
    DeadlinePassedError,
    LeaseLostError,
    NoAnswerError,
    NoRoomError,
    NotActiveError,
    PoolError,
    UnreachableError,
)
from fakes.pool_messages import make_allocation, make_refusal
from fakes.scripted_services import Failure
from support.processes import eventually, free_port
from support.sdk_kit import HandClock, granted, grants, released, renewals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fakes.scripted_services import ScriptedServices

Code = grpc.StatusCode
FULL = Failure(Code.RESOURCE_EXHAUSTED, "NO_ROOM", retry_after_s=0.1, refusal=make_refusal())
BROKEN = Failure(Code.UNAVAILABLE)


@pytest.fixture
async def apool(granting: ScriptedServices) -> AsyncIterator[AsyncPool]:
    async with AsyncPool(granting.endpoint, timeout=10) as made:
        yield made


async def until(probe: Callable[[], bool], what: str) -> None:
    async def so() -> bool:
        return probe()

    await eventually(so, what, every_s=0.01)


async def test_a_lease_is_awaited_or_entered(granting: ScriptedServices, apool: AsyncPool) -> None:
    lease = await apool.allocate(gpus=1)
    assert released(granting) == []
    async with lease:
        lease.check()
    async with apool.allocate(gpus=1) as second:
        assert second.state == "ACTIVE"
    assert released(granting) == [lease.id, second.id]
    assert type(pickle.loads(pickle.dumps(second))) is Allocation  # noqa: S301 - of this test


async def test_what_is_safe_is_tried_again_with_the_same_request_id(
    granting: ScriptedServices, apool: AsyncPool
) -> None:
    granting.script("CreateAllocation", Failure(Code.UNKNOWN, "OUTCOME_UNKNOWN"), BROKEN, grants())
    lease = await apool.allocate(gpus=1)
    ids = {request.request_id for request in granting.requests["CreateAllocation"]}
    assert ids == {lease.id.removeprefix("a-")}


async def test_refusals_and_explanations(granting: ScriptedServices, apool: AsyncPool) -> None:
    granting.script("CreateAllocation", FULL, FULL, grants())
    explained = allocation_pb2.ExplainAllocationResponse(summary="all of it")
    granting.script("ExplainAllocation", explained)
    with pytest.raises(NoRoomError) as caught:
        await apool.allocate(gpus=16)
    assert (await apool.explain(caught.value)).summary == "all of it"
    with pytest.raises(TypeError, match=r"pool\.explain\(error\)"):
        caught.value.explain()
    await apool.allocate(gpus=16, wait_for_room=10)


async def test_deadlines(granting: ScriptedServices, apool: AsyncPool) -> None:
    with pytest.raises(DeadlinePassedError):
        await apool.allocate(gpus=1, timeout=-1)
    assert granting.requests["CreateAllocation"] == []
    answer = threading.Event()
    granting.script("GetView", lambda _: answer.wait(10) and inventory_pb2.GetViewResponse())
    async with AsyncPool(granting.endpoint, timeout=0.3) as hasty:
        with pytest.raises(NoAnswerError):
            await hasty.view()
        answer.set()
    async with AsyncPool(f"127.0.0.1:{free_port()}", timeout=0.5) as nobody:
        with pytest.raises(UnreachableError):
            await nobody.view()


async def test_the_next_broker_is_asked_when_one_is_down(granting: ScriptedServices) -> None:
    async with AsyncPool(f"127.0.0.1:{free_port()},{granting.endpoint}", timeout=10) as pool:
        assert (await pool.allocate(gpus=1)).id


async def test_what_is_not_admitted_in_time_is_given_back(
    granting: ScriptedServices, apool: AsyncPool
) -> None:
    def waiting(request: allocation_pb2.CreateAllocationRequest) -> object:
        state = allocation_pb2.ALLOCATION_STATE_RESERVED
        made = granted(state=state, request_id=request.request_id)
        return allocation_pb2.CreateAllocationResponse(allocation=made)

    granting.script("CreateAllocation", waiting)
    with pytest.raises(NotActiveError):
        await apool.allocate(gpus=1, timeout=0.4)
    assert released(granting) == ["a-1"]


async def test_many_are_asked_for_together(granting: ScriptedServices, apool: AsyncPool) -> None:
    granting.script(
        "BatchCreateAllocations",
        lambda request: allocation_pb2.BatchCreateAllocationsResponse(
            results=[
                allocation_pb2.BatchCreateResult(created=grants()(one)) for one in request.requests
            ]
        ),
    )
    async with apool.allocate_many([{"gpus": 1}, {"cpu": 2}]) as leases:
        leases.check()
    assert released(granting) == [lease.id for lease in leases]
    again = await apool.allocate_many([{"gpus": 1}], atomic=False)
    await again.release()
    assert released(granting)[2:] == [again[0].id]
    with pytest.raises(LeaseLostError, match="was released"):
        again.check()


async def test_a_body_that_is_cancelled_gives_its_lease_back(
    granting: ScriptedServices, apool: AsyncPool
) -> None:
    inside = asyncio.Event()
    ids = []

    async def work() -> None:
        async with apool.allocate(gpus=1) as lease:
            ids.append(lease.id)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert released(granting) == ids


async def test_a_release_goes_on_when_whoever_waits_for_it_is_cancelled_again(
    granting: ScriptedServices,
) -> None:
    answer = threading.Event()
    inside = asyncio.Event()

    def slow(_request: object) -> object:
        answer.wait(10)
        return allocation_pb2.BatchReleaseAllocationsResponse()

    async def work(pool: AsyncPool) -> None:
        async with pool.allocate(gpus=1):
            inside.set()
            await asyncio.Event().wait()

    granting.script("BatchReleaseAllocations", slow)
    async with AsyncPool(granting.endpoint) as pool:
        task = asyncio.create_task(work(pool))
        await inside.wait()
        task.cancel()
        await until(lambda: len(released(granting)) == 1, "the release is on its way")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (release,) = pool._keeper._tasks
        answer.set()
    assert release.done()
    assert release.result() == []


async def test_asking_that_is_cancelled_gives_back_what_may_have_been_granted(
    granting: ScriptedServices,
) -> None:
    asked, hold = threading.Event(), threading.Event()

    def stuck(_request: object) -> object:
        asked.set()
        hold.wait(10)
        return allocation_pb2.CreateAllocationResponse()

    def again(request: allocation_pb2.BatchCreateAllocationsRequest) -> object:
        made = [allocation_pb2.BatchCreateResult(created=grants()(one)) for one in request.requests]
        return allocation_pb2.BatchCreateAllocationsResponse(results=made)

    granting.script("CreateAllocation", stuck)
    granting.script("BatchCreateAllocations", again)
    async with AsyncPool(granting.endpoint) as pool:
        task = asyncio.create_task(pool._allocate({"gpus": 1}))
        await until(asked.is_set, "the broker was asked")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hold.set()
    (first,) = granting.requests["CreateAllocation"]
    assert released(granting) == [f"a-{first.request_id}"]


async def test_asking_that_is_cancelled_and_refused_leaves_nothing_to_give_back(
    granting: ScriptedServices, caplog: pytest.LogCaptureFixture
) -> None:
    asked, hold = threading.Event(), threading.Event()

    def stuck(_request: object) -> object:
        asked.set()
        hold.wait(10)
        return allocation_pb2.CreateAllocationResponse()

    refused = allocation_pb2.CallError(code=8, reason="NO_ROOM", message="no center has room")
    answer = allocation_pb2.BatchCreateAllocationsResponse(
        results=[allocation_pb2.BatchCreateResult(error=refused)]
    )
    granting.script("CreateAllocation", stuck)
    granting.script("BatchCreateAllocations", answer)
    async with AsyncPool(granting.endpoint) as pool:
        task = asyncio.create_task(pool._allocate({"gpus": 1}))
        await until(asked.is_set, "the broker was asked")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hold.set()
    assert len(granting.requests["BatchCreateAllocations"]) == 1
    assert not granting.requests["BatchReleaseAllocations"]
    assert not caplog.records


async def test_one_task_renews_many_leases_and_tells_those_that_are_lost(
    granting: ScriptedServices, apool: AsyncPool
) -> None:
    clock = HandClock()
    apool._engine.clock = clock
    granting.script("CreateAllocation", grants(ttl_s=12))
    leases = [(await apool.allocate(gpus=1)).keep_alive() for _ in range(50)]
    for round_ in range(1, 8):
        clock.now_s += 4.5
        apool._keeper._changed.set()
        calls = granting.requests["BatchRenewAllocations"]
        await until(lambda want=round_: len(calls) >= want, "a call")  # type: ignore[misc] # noqa: B023 - bound now
        await until(
            lambda: all(lease.remaining.total_seconds() > 11 for lease in leases), "renewed"
        )
    assert [len(each.ids) for each in granting.requests["BatchRenewAllocations"]] == [50] * 7
    granting.script("BatchRenewAllocations", renewals([leases[3].id]))
    clock.now_s += 4.5
    apool._keeper._changed.set()
    await asyncio.wait_for(leases[3].lost.wait(), 20)
    leases[4].check()
    with pytest.raises(LeaseLostError):
        leases[3].check()


async def test_a_lease_is_lost_when_its_time_is_over_without_an_answer(
    granting: ScriptedServices, apool: AsyncPool
) -> None:
    clock = HandClock()
    apool._engine.clock = clock
    granting.script("BatchRenewAllocations", BROKEN)
    told: list[LeaseLostError] = []
    with pytest.raises(LeaseLostError) as caught:  # noqa: PT012 - leaving the block raises
        async with apool.allocate(gpus=1, on_lost=told.append) as lease:
            clock.now_s += 60.1
            apool._keeper._changed.set()
            await asyncio.wait_for(lease.lost.wait(), 20)
    assert caught.value.reason == "TTL_OVER"
    assert [error.allocation_id for error in told] == [lease.id]
    assert released(granting) == [lease.id]


async def test_a_shorter_length_counts_also_where_nobody_knows_whether_it_was_taken(
    granting: ScriptedServices, apool: AsyncPool
) -> None:
    clock = HandClock()
    apool._engine.clock = clock
    async with apool.allocate(gpus=1) as lease:
        clock.now_s += 10
        granting.script("RenewAllocation", Failure(Code.INTERNAL, "INTERNAL"))
        with pytest.raises(PoolError):
            await lease.renew("20s")
        assert lease.remaining.total_seconds() == 20


async def test_renewing_and_releasing_by_hand(granting: ScriptedServices, apool: AsyncPool) -> None:
    shorter = allocation_pb2.RenewAllocationResponse(allocation=granted(ttl_s=20))
    granting.script("RenewAllocation", shorter)
    gone = make_allocation(state=allocation_pb2.ALLOCATION_STATE_RELEASING)
    granting.script("ReleaseAllocation", allocation_pb2.ReleaseAllocationResponse(allocation=gone))
    granting.script("GetAllocation", allocation_pb2.GetAllocationResponse(allocation=granted()))
    lease = await apool.allocate(gpus=1)
    await lease.renew("20s")
    assert lease.ttl.total_seconds() == 20
    assert (await lease.refresh()).id == "a-1"
    assert (await lease.release()).state == "RELEASING"
    assert (await apool.release("a-1")).state == "RELEASING"
    granting.script("RenewAllocation", Failure(Code.FAILED_PRECONDITION, "LEASE_ENDED"))
    with pytest.raises(LeaseLostError):
        await (await apool.allocate(gpus=1)).renew()


async def test_lists_and_the_closed_pool(granting: ScriptedServices) -> None:
    def page(request: allocation_pb2.ListAllocationsRequest) -> object:
        number = int(request.page_token or 0)
        answer = allocation_pb2.ListAllocationsResponse(allocations=[make_allocation()])
        answer.next_page_token = str(number + 1) if number < 2 else ""
        return answer

    granting.script("ListAllocations", page)
    async with AsyncPool(granting.endpoint) as pool:
        assert len([each async for each in pool.list()]) == 3
        lease = (await pool.allocate(gpus=1)).keep_alive()
    assert released(granting) == [lease.id]
    with pytest.raises(ClosedError):
        await pool.view()
    with pytest.raises(LeaseLostError):
        lease.keep_alive()
