"""Leases: blocks that hold them, renewal with the test's own time, and how they are lost."""

from __future__ import annotations

import os
import pickle
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

from computepool.v1 import allocation_pb2
from computepool_client import Allocation, ClosedError, LeaseLostError, Pool, PoolError, from_wire
from computepool_client.calls import Grant
from computepool_client.held import Tenure
from fakes.pool_messages import make_allocation
from fakes.scripted_services import Failure
from support.sdk_kit import advance, granted, grants, released, renewals, take_over, wait_for

if TYPE_CHECKING:
    from computepool_client import Lease
    from fakes.scripted_services import ScriptedServices
    from support.sdk_kit import HandClock

Code = grpc.StatusCode
UNKNOWN = Failure(Code.UNKNOWN, "OUTCOME_UNKNOWN")
ALLOCATION = from_wire.allocation(granted())
WARMING = Failure(Code.UNAVAILABLE, "WARMING_UP", retry_after_s=0.05)


def test_the_block_releases_whatever_ends_it(granting: ScriptedServices, pool: Pool) -> None:
    ids = []
    with pool.allocate(gpus=1) as lease:
        ids.append(lease.id)
    for error in (ValueError(), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)), pool.allocate(gpus=1) as lease:  # noqa: PT012 - a block that ends
            ids.append(lease.id)
            raise error
    assert released(granting) == ids
    with pytest.raises(LeaseLostError, match="was released"):
        lease.check()
    assert lease.remaining.total_seconds() == 0


def test_a_release_that_fails_does_not_hide_what_the_block_did(
    granting: ScriptedServices, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    granting.script("BatchReleaseAllocations", Failure(Code.INTERNAL, "INTERNAL", "oh"))
    with pytest.raises(ZeroDivisionError), pool.allocate(gpus=1):
        _ = 1 / 0
    with pool.allocate(gpus=1):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        "a lease was not released, it ends with its TTL: oh"
    ] * 2


def test_a_lease_is_released_by_hand_and_the_second_time_too(
    granting: ScriptedServices, pool: Pool
) -> None:
    gone = make_allocation(state=allocation_pb2.ALLOCATION_STATE_RELEASING)
    answer = allocation_pb2.ReleaseAllocationResponse(allocation=gone)
    granting.script("ReleaseAllocation", answer)
    with pool.allocate(gpus=1) as lease:
        assert lease.release("done").state == "RELEASING"
        lease.release()
    assert len(granting.requests["ReleaseAllocation"]) == 2
    assert granting.requests["ReleaseAllocation"][0].message == "done"
    assert released(granting) == []


def test_a_pickled_lease_is_its_allocation(pool: Pool) -> None:
    lease = pool.allocate(gpus=1)
    again = pickle.loads(pickle.dumps(lease))  # noqa: S301 - of this test
    assert type(again) is Allocation
    assert again == lease.allocation
    assert repr(lease) == f"<Lease {lease.id} ACTIVE on >"


def test_calls_of_a_closed_pool_are_refused(granting: ScriptedServices) -> None:
    pool = Pool(granting.endpoint)
    lease = pool.allocate(gpus=1)
    pool.close()
    with pytest.raises(ClosedError):
        pool.view()
    with pytest.raises(ClosedError):
        lease.keep_alive()
    assert released(granting) == [], "it was not kept alive: it stays"


def test_closing_releases_what_is_kept_alive(granting: ScriptedServices) -> None:
    with Pool(granting.endpoint) as pool:
        kept = pool.allocate(gpus=1).keep_alive()
        pool.allocate(gpus=1)
    assert released(granting) == [kept.id]


def test_a_child_process_neither_uses_nor_ends_what_is_its_parents(
    granting: ScriptedServices, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pool.allocate(gpus=1) as lease:
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        for forbidden in (lease.check, lease.renew, lease.release, lease.keep_alive, pool.view):
            with pytest.raises(ClosedError):
                forbidden()
        lease.__exit__(None, None, None)
        pool.close()
        assert released(granting) == []
        monkeypatch.undo()
    assert released(granting) == [lease.id]


def called(granting: ScriptedServices, times: int) -> None:
    calls = granting.requests["BatchRenewAllocations"]
    wait_for(lambda: len(calls) >= times, f"{times} calls to renew")


def passes_until(pool: Pool, clock: HandClock, lease: Lease, left_s: float) -> None:
    """Time passes in small steps until a lease is renewed."""

    def renewed() -> bool:
        advance(pool, clock, 0.05)
        return lease.remaining.total_seconds() > left_s

    wait_for(renewed, "renewed")


def test_many_leases_are_renewed_over_many_ttls_by_one_thread_and_few_calls(
    granting: ScriptedServices, pool: Pool
) -> None:
    granting.script("CreateAllocation", grants(ttl_s=12))
    clock = take_over(pool)
    leases = [pool.allocate(gpus=1).keep_alive() for _ in range(200)]
    assert [thread.name for thread in threading.enumerate()].count("computepool-renewer") == 1
    for round_ in range(1, 10):
        advance(pool, clock, 4.5)
        called(granting, round_)
        wait_for(lambda: all(lease.remaining.total_seconds() > 11 for lease in leases), "renewed")
    assert len(granting.requests["BatchRenewAllocations"]) == 9
    assert {len(each.ids) for each in granting.requests["BatchRenewAllocations"]} == {200}
    for lease in leases:
        lease.check()


@pytest.mark.parametrize("failure", [Failure(Code.UNAVAILABLE), WARMING, UNKNOWN])
def test_a_broker_that_is_away_for_less_than_the_ttl_loses_nothing(
    granting: ScriptedServices, pool: Pool, failure: Failure
) -> None:
    granting.script("CreateAllocation", grants(ttl_s=30))
    granting.script("BatchRenewAllocations", failure, failure, failure, renewals())
    clock = take_over(pool)
    with pool.allocate(gpus=1) as lease:
        advance(pool, clock, 12)
        passes_until(pool, clock, lease, 20)
        lease.check()


def test_a_lease_that_has_ended_is_told_once_to_everybody(
    granting: ScriptedServices, pool: Pool
) -> None:
    clock = take_over(pool)
    told: list[LeaseLostError] = []
    ends, stays = pool.allocate(gpus=1, on_lost=told.append), pool.allocate(gpus=1)
    granting.script("BatchRenewAllocations", renewals([ends.id]))
    with stays, pytest.raises(LeaseLostError) as caught, ends:  # noqa: PT012 - leaving it raises
        advance(pool, clock, 25)
        assert ends.lost.wait(20)
        with pytest.raises(LeaseLostError, match="LEASE_ENDED"):
            ends.check()
        stays.check()
        assert not stays.lost.is_set()
    assert caught.value.reason == "LEASE_ENDED", "leaving the block tells it to who did not look"
    assert [error.allocation_id for error in told] == [ends.id]
    assert ends.id not in released(granting)


def test_a_lease_is_lost_when_its_time_is_over_without_an_answer(
    granting: ScriptedServices, pool: Pool
) -> None:
    granting.script("CreateAllocation", grants(ttl_s=30))
    granting.script("BatchRenewAllocations", Failure(Code.UNAVAILABLE))
    clock = take_over(pool)
    with pytest.raises(LeaseLostError), pool.allocate(gpus=1) as lease:  # noqa: PT012 - see above
        advance(pool, clock, 29.9)
        lease.check()
        clock.now_s += 0.2
        with pytest.raises(LeaseLostError) as caught:
            lease.check()
    assert caught.value.reason == "TTL_OVER"
    assert released(granting) == [lease.id], "the broker may still have it"


def test_a_renewal_counts_from_its_sending(granting: ScriptedServices, pool: Pool) -> None:
    clock = take_over(pool)

    def slow(request: allocation_pb2.RenewAllocationRequest) -> object:
        clock.now_s += 7
        return allocation_pb2.RenewAllocationResponse(allocation=granted(request.id))

    granting.script("RenewAllocation", slow)
    lease = pool.allocate(gpus=1)
    clock.now_s += 10
    lease.renew()
    assert lease.remaining.total_seconds() == 53


def test_a_grant_that_an_earlier_attempt_made_lasts_as_long_as_the_broker_says(
    granting: ScriptedServices, pool: Pool
) -> None:
    clock = take_over(pool)
    old = granted(ttl_s=60)
    old.remaining_ttl_ms = 21_000
    answer = allocation_pb2.CreateAllocationResponse(allocation=old, duplicate=True)
    granting.script("CreateAllocation", answer)
    lease = pool.allocate(gpus=1, request_id="mine")
    assert lease.remaining.total_seconds() == 21
    clock.now_s += 21
    with pytest.raises(LeaseLostError):
        lease.check()


def test_a_store_that_was_lost_loses_no_lease_whose_time_is_not_over(
    granting: ScriptedServices, pool: Pool
) -> None:
    clock = take_over(pool)
    with pool.allocate(gpus=1) as lease:
        unknown = renewals([lease.id], reason="NOT_FOUND")
        granting.script("BatchRenewAllocations", unknown, unknown, renewals())
        advance(pool, clock, 25)
        passes_until(pool, clock, lease, 50)
        lease.check()


def test_a_renewal_by_hand_can_change_the_length(granting: ScriptedServices, pool: Pool) -> None:
    take_over(pool)
    shorter = allocation_pb2.RenewAllocationResponse(allocation=granted(ttl_s=20))
    granting.script("RenewAllocation", shorter)
    with pool.allocate(gpus=1) as lease:
        lease.renew("20s")
        assert lease.ttl.total_seconds() == 20
        assert lease.remaining.total_seconds() == 20
    assert granting.requests["RenewAllocation"][0].ttl_s == 20
    granting.script("RenewAllocation", Failure(Code.FAILED_PRECONDITION, "LEASE_ENDED"))
    lease = pool.allocate(gpus=1)
    with pytest.raises(LeaseLostError):
        lease.renew()
    assert lease.lost.is_set()


def test_a_shorter_length_counts_also_where_nobody_knows_whether_it_was_taken(
    granting: ScriptedServices, pool: Pool
) -> None:
    clock = take_over(pool)
    lease = pool.allocate(gpus=1)
    clock.now_s += 10
    for failure, want in (
        (Failure(Code.INVALID_ARGUMENT, "INVALID_FIELD"), 50),
        (Failure(Code.INTERNAL, "INTERNAL"), 20),
    ):
        granting.script("RenewAllocation", failure)
        with pytest.raises(PoolError):
            lease.renew("20s")
        assert lease.remaining.total_seconds() == want
    assert lease.ttl.total_seconds() == 20
    granting.script("RenewAllocation", Failure(Code.INTERNAL, "INTERNAL"))
    with pytest.raises(PoolError):
        lease.renew("1h")
    assert lease.remaining.total_seconds() == 20, "a longer one is believed when it is answered"


def test_a_callback_that_fails_harms_nobody(
    granting: ScriptedServices, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    clock = take_over(pool)

    def bad(_error: LeaseLostError) -> None:
        raise ValueError("mine")

    first, second = pool.allocate(gpus=1, on_lost=bad), pool.allocate(gpus=1)
    granting.script("BatchRenewAllocations", renewals([first.id]))
    first.keep_alive()
    second.keep_alive()
    advance(pool, clock, 25)
    assert first.lost.wait(20)
    wait_for(lambda: second.remaining.total_seconds() > 50, "the other is renewed")
    wait_for(lambda: "on_lost of" in caplog.text, "the failure is logged")


def test_a_bug_in_one_renewal_does_not_end_renewing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = take_over(pool)
    with pool.allocate(gpus=1) as lease:
        monkeypatch.setattr(pool._engine, "run_timed", lambda *_: 1 / 0)
        advance(pool, clock, 25)
        wait_for(lambda: "renewing failed" in caplog.text, "the bug is logged")
        monkeypatch.undo()
        passes_until(pool, clock, lease, 50)


def test_ten_thousand_leases_are_kept_and_renewed_in_no_time(pool: Pool) -> None:
    clock = take_over(pool)
    tenures = []
    for index in range(10_000):
        grant = Grant(replace(ALLOCATION, id=f"a-{index}"), duplicate=False)
        tenures.append(Tenure(grant, clock(), threading.Event(), None, clock))
    start_s = time.monotonic()
    for tenure in tenures:
        pool._keeper.keep(tenure)
    assert time.monotonic() - start_s < 5, "not the square of their number"
    advance(pool, clock, 25)
    wait_for(lambda: all(t.valid_until_s == clock() + 60 for t in tenures), "all are renewed")


def test_many_threads_share_a_pool(granting: ScriptedServices, pool: Pool) -> None:
    def work() -> None:
        for _ in range(5):
            with pool.allocate(gpus=1) as lease:
                lease.check()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(released(granting))) == 60


def test_closing_ends_a_call_that_is_pausing(granting: ScriptedServices) -> None:
    later = Failure(Code.UNAVAILABLE, "WARMING_UP", retry_after_s=25)
    granting.script("GetView", later)
    pool = Pool(granting.endpoint, timeout=60)
    found: list[type[BaseException]] = []

    def look() -> None:
        try:
            pool.view()
        except PoolError as error:
            found.append(type(error))

    thread = threading.Thread(target=look)
    thread.start()
    wait_for(lambda: granting.requests["GetView"], "it was asked")
    pool.close()
    thread.join(10)
    assert found == [ClosedError]
