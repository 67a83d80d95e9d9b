"""Levels of acknowledgement in the SDK: what is asked for, what is told, what is missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from computepool.v1 import allocation_pb2
from computepool_client import (
    AckLevel,
    AckLevelUnavailableError,
    AsyncPool,
    InvalidRequestError,
    NotAcknowledgedError,
    OutcomeUnknownError,
    Pool,
    WrongStateError,
    errors,
)
from computepool_client.endpoints import Endpoints
from computepool_client.retry import Attempts, Terms
from fakes.scripted_services import Failure, ScriptedServices
from support.sdk_kit import granted, grants, released

if TYPE_CHECKING:
    from collections.abc import Callable

Code = grpc.StatusCode
NONE, COMMITTED, DURABLE, CONFIRMED = (
    allocation_pb2.ACK_LEVEL_UNSPECIFIED,
    allocation_pb2.ACK_LEVEL_COMMITTED,
    allocation_pb2.ACK_LEVEL_DURABLE,
    allocation_pb2.ACK_LEVEL_CONFIRMED,
)
WORDS = {None: NONE, "committed": COMMITTED, "durable": DURABLE, "confirmed": CONFIRMED}
MISSED = Failure(
    Code.UNAVAILABLE,
    "OUTCOME_UNKNOWN",
    "a-1 is granted, but was not confirmed",
    {"ack_level": "CONFIRMED", "allocation_id": "a-1"},
    retry_after_s=0.05,
)
NOT_TO_BE_HAD = Failure(Code.FAILED_PRECONDITION, "ACK_LEVEL_UNAVAILABLE", "set appendfsync")


def named(
    level: allocation_pb2.AckLevel,
) -> Callable[[allocation_pb2.CreateAllocationRequest], allocation_pb2.CreateAllocationResponse]:
    """Grants everything, and names a level."""
    grant = grants()

    def answer(
        request: allocation_pb2.CreateAllocationRequest,
    ) -> allocation_pb2.CreateAllocationResponse:
        made = grant(request)
        made.ack_level = level
        return made

    return answer


def all_of(
    request: allocation_pb2.BatchCreateAllocationsRequest,
) -> allocation_pb2.BatchCreateAllocationsResponse:
    """Grants a batch at the level that it asks for."""
    one = named(request.ack_level)
    results = [allocation_pb2.BatchCreateResult(created=one(each)) for each in request.requests]
    return allocation_pb2.BatchCreateAllocationsResponse(results=results)


@pytest.fixture
def services(granting: ScriptedServices) -> ScriptedServices:
    """Grants and releases whatever it is asked for."""
    releasing = granted(state=allocation_pb2.ALLOCATION_STATE_RELEASING)
    granting.script(
        "ReleaseAllocation", allocation_pb2.ReleaseAllocationResponse(allocation=releasing)
    )
    granting.script("BatchCreateAllocations", all_of)
    return granting


@pytest.mark.parametrize("word", WORDS)
async def test_the_level_reaches_the_broker_and_the_lease_names_what_was_told(
    services: ScriptedServices, pool: Pool, word: str | None
) -> None:
    ack: Any = {} if word is None else {"ack": word}
    told = WORDS[word] or DURABLE
    services.script("CreateAllocation", named(told))
    want = AckLevel((word or "durable").upper())
    assert pool.allocate(gpus=1, **ack).ack is want
    assert {each.ack for each in pool.allocate_many([{"gpus": 1}, {"cpu": 1}], **ack)} == {
        AckLevel(word.upper()) if word else AckLevel.UNSPECIFIED
    }
    async with AsyncPool(services.endpoint) as apool:
        assert (await apool.allocate(gpus=1, **ack)).ack is want
        await apool.allocate_many([{"gpus": 1}], atomic=False, **ack)
    for method in ("CreateAllocation", "BatchCreateAllocations"):
        asked = [request.ack_level for request in services.requests[method]]
        assert asked == [WORDS[word]] * 2
    members = [r for b in services.requests["BatchCreateAllocations"] for r in b.requests]
    assert {request.ack_level for request in members} == {NONE}


@pytest.mark.parametrize("word", [None, "committed", "durable"])
async def test_a_release_has_a_level_too(services: ScriptedServices, pool: Pool, word: Any) -> None:
    pool.release("a-1", ack=word)
    pool.allocate(gpus=1).release(ack=word)
    async with AsyncPool(services.endpoint) as apool:
        await apool.release("a-1", ack=word)
        await (await apool.allocate(gpus=1)).release(ack=word)
    asked = [request.ack_level for request in services.requests["ReleaseAllocation"]]
    assert asked == [WORDS[word]] * 4


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"ack": "quorum"}, "ack: 'quorum' is none of"),
        ({"ack": 2}, "ack: 2 is none of"),
        ({"ack": "confirmed", "wait": "reserved"}, "ack: 'confirmed' waits for 'active'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    services: ScriptedServices, pool: Pool, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidRequestError, match=says) as caught:
        pool.allocate(gpus=1, **asked)
    assert [each.field for each in caught.value.fields] == ["ack"]
    for word in ("confirmed", "quorum"):
        with pytest.raises(InvalidRequestError, match=r"ack: .* neither 'committed' nor 'durable'"):
            pool.release("a-1", ack=word)  # type: ignore[arg-type] # what a checker would find
    assert not services.requests


def test_what_the_store_cannot_give_is_an_error_of_its_own_and_not_tried_again(
    services: ScriptedServices, pool: Pool
) -> None:
    services.script("CreateAllocation", NOT_TO_BE_HAD)
    with pytest.raises(AckLevelUnavailableError, match="set appendfsync") as caught:
        pool.allocate(gpus=1, ack="durable")
    assert isinstance(caught.value, WrongStateError)
    assert len(services.requests["CreateAllocation"]) == 1
    assert not services.requests["BatchCreateAllocations"]


def test_what_is_not_confirmed_yet_is_asked_for_again_under_its_request_id(
    services: ScriptedServices, pool: Pool
) -> None:
    services.script("CreateAllocation", MISSED, MISSED, named(CONFIRMED))
    lease = pool.allocate(gpus=1, ack="confirmed")
    assert lease.ack is AckLevel.CONFIRMED
    asked = services.requests["CreateAllocation"]
    assert len(asked) == 3
    assert len({request.request_id for request in asked}) == 1


@pytest.mark.parametrize("atomic", [True, False])
def test_a_batch_of_which_one_is_not_confirmed_yet_is_asked_for_again(
    services: ScriptedServices, pool: Pool, atomic: bool
) -> None:
    late = allocation_pb2.CallError(
        code=14, reason="OUTCOME_UNKNOWN", message="late", metadata=MISSED.metadata
    )

    def one_late(request: allocation_pb2.BatchCreateAllocationsRequest) -> object:
        answer = all_of(request)
        answer.results[1].error.CopyFrom(late)
        return answer

    services.script("BatchCreateAllocations", MISSED if atomic else one_late, all_of)
    leases = pool.allocate_many([{"gpus": 1}, {"cpu": 1}], atomic=atomic, ack="confirmed")
    assert [lease.ack for lease in leases] == [AckLevel.CONFIRMED] * 2
    first, second = services.requests["BatchCreateAllocations"]
    assert [r.request_id for r in first.requests] == [r.request_id for r in second.requests]


async def test_what_is_never_confirmed_is_given_back_unless_its_id_was_given(
    services: ScriptedServices, pool: Pool
) -> None:
    services.script("CreateAllocation", MISSED)
    with pytest.raises(NotAcknowledgedError, match="not confirmed") as caught:
        pool.allocate(gpus=1, ack="confirmed", timeout=0.3)
    assert isinstance(caught.value, OutcomeUnknownError)
    assert caught.value.allocation_id == "a-1"
    own = services.requests["CreateAllocation"][0].request_id
    assert released(services) == [f"a-{own}"]
    async with AsyncPool(services.endpoint) as apool:
        with pytest.raises(NotAcknowledgedError):
            await apool.allocate(gpus=1, ack="confirmed", timeout=0.3)
    assert len(released(services)) == 2
    with pytest.raises(NotAcknowledgedError):
        pool.allocate(gpus=1, ack="confirmed", timeout=0.3, request_id="mine")
    assert len(released(services)) == 2


def test_a_missed_level_is_no_reason_to_leave_a_broker() -> None:
    endpoints = Endpoints(("a:1", "b:1"))
    attempts = Attempts(endpoints, Terms(10.0), 0.0, lambda: 0.0)
    first = attempts.attempt(0.0).endpoint
    missed = errors.NotAcknowledgedError("late", "OUTCOME_UNKNOWN", retry_after_s=0.2)
    assert attempts.failed(missed, 1.0) == pytest.approx(0.2)
    assert attempts.attempt(1.2).endpoint == first


def test_a_store_that_failed_is_not_taken_for_a_missed_level(
    services: ScriptedServices, pool: Pool
) -> None:
    services.script("ReleaseAllocation", Failure(Code.UNKNOWN, "OUTCOME_UNKNOWN"))
    with pytest.raises(OutcomeUnknownError) as caught:
        Pool(services.endpoint, timeout=0.2).release("a-1", ack="durable")
    assert not isinstance(caught.value, NotAcknowledgedError)
