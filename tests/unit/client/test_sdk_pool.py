"""The synchronous pool against a real server with scripted answers."""

from __future__ import annotations

import _thread
import pickle
import signal
import threading
from dataclasses import replace

import grpc
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from computepool_client import (
    AllocationFailedError,
    DeadlinePassedError,
    InvalidRequestError,
    NoAnswerError,
    NoRoomError,
    NotActiveError,
    NotReadyError,
    OutcomeUnknownError,
    Pool,
    PoolError,
    UnreachableError,
)
from fakes.pool_messages import make_allocation, make_refusal
from fakes.scripted_services import Failure, ScriptedServices
from support.processes import free_port
from support.sdk_kit import granted, grants, released

Code = grpc.StatusCode
UNKNOWN = Failure(Code.UNKNOWN, "OUTCOME_UNKNOWN")
WARMING = Failure(Code.UNAVAILABLE, "WARMING_UP", retry_after_s=0.05)
FULL = Failure(Code.RESOURCE_EXHAUSTED, "NO_ROOM", retry_after_s=0.1, refusal=make_refusal())
RESERVED = allocation_pb2.ALLOCATION_STATE_RESERVED


@pytest.mark.parametrize(
    "failure", [UNKNOWN, WARMING, Failure(Code.UNAVAILABLE), Failure(Code.CANCELLED)]
)
def test_what_is_safe_is_tried_again_with_the_same_request_id(
    granting: ScriptedServices, pool: Pool, failure: Failure
) -> None:
    granting.script("CreateAllocation", failure, failure, grants())
    lease = pool.allocate(gpus=1)
    ids = [request.request_id for request in granting.requests["CreateAllocation"]]
    assert len(ids) == 3
    assert set(ids) == {lease.id.removeprefix("a-")}


def test_a_refusal_is_told_at_once_and_carries_why(granting: ScriptedServices, pool: Pool) -> None:
    granting.script("CreateAllocation", FULL, grants())
    explained = allocation_pb2.ExplainAllocationResponse(summary="all of it")
    granting.script("ExplainAllocation", explained)
    with pytest.raises(NoRoomError) as caught:
        pool.allocate(gpus=16, model="A100")
    assert len(granting.requests["CreateAllocation"]) == 1
    assert caught.value.refusal is not None
    assert caught.value.refusal.centers[0].missing == 2
    assert caught.value.explain().summary == "all of it"
    assert pool.explain(pickle.loads(pickle.dumps(caught.value))).summary == "all of it"  # noqa: S301 - of this test
    for request in granting.requests["ExplainAllocation"]:
        assert (request.spec.part.devices, list(request.spec.part.models)) == (16, ["A100"])
    assert "2 devices" in caught.value._repr_html_()


def test_room_is_waited_for_when_it_is_asked_for(granting: ScriptedServices, pool: Pool) -> None:
    granting.script("CreateAllocation", FULL, FULL, grants())
    pool.allocate(gpus=16, wait_for_room=10)
    assert len({request.request_id for request in granting.requests["CreateAllocation"]}) == 1
    granting.script("CreateAllocation", FULL)
    with pytest.raises(NoRoomError):
        pool.allocate(gpus=16, wait_for_room=0.3)
    assert len(granting.requests["CreateAllocation"]) > 4


def test_a_malformed_request_is_refused_before_and_by_the_broker(
    granting: ScriptedServices, pool: Pool
) -> None:
    with pytest.raises(InvalidRequestError, match="gpus"):
        pool.allocate(gpus="four")  # type: ignore[arg-type]
    assert granting.requests["CreateAllocation"] == []
    granting.script(
        "CreateAllocation", Failure(Code.INVALID_ARGUMENT, "INVALID_FIELD", fields={"spec": "no"})
    )
    with pytest.raises(InvalidRequestError) as caught:
        pool.allocate(gpus=1)
    assert caught.value.fields[0].field == "spec"
    assert len(granting.requests["CreateAllocation"]) == 1


def test_a_deadline_in_the_past_sends_nothing(granting: ScriptedServices, pool: Pool) -> None:
    for timeout in (0, -5):
        with pytest.raises(DeadlinePassedError):
            pool.allocate(gpus=1, timeout=timeout)
    assert granting.requests["CreateAllocation"] == []


def test_a_broker_that_says_nothing_is_given_up_at_the_deadline(granting: ScriptedServices) -> None:
    answer = threading.Event()

    def late(_request: object) -> object:
        answer.wait(10)
        return allocation_pb2.CreateAllocationResponse()

    granting.script("CreateAllocation", late)
    with Pool(granting.endpoint) as pool:
        with pytest.raises(NoAnswerError):
            pool.allocate(gpus=1, timeout="300ms")
        answer.set()


def test_the_next_broker_is_asked_when_one_is_down(granting: ScriptedServices) -> None:
    with Pool(f"127.0.0.1:{free_port()},{granting.endpoint}", timeout=10) as pool:
        assert pool.allocate(gpus=1).id
        assert pool.allocate(gpus=1).id
    assert len(granting.requests["CreateAllocation"]) == 2


def test_the_next_broker_is_asked_when_one_is_not_ready(granting: ScriptedServices) -> None:
    with ScriptedServices() as other:
        other.script("CreateAllocation", Failure(Code.UNAVAILABLE, "STOPPING", retry_after_s=30))
        with Pool(f"{other.endpoint},{granting.endpoint}", timeout=10) as pool:
            lease = pool.allocate(gpus=1)
        assert other.requests["CreateAllocation"][0].request_id == lease.id.removeprefix("a-")


def test_where_nobody_answers_it_is_said(granting: ScriptedServices) -> None:
    del granting
    with Pool(f"127.0.0.1:{free_port()}") as pool, pytest.raises(UnreachableError):
        pool.allocate(gpus=1, timeout=1)


def test_a_grant_is_waited_for_until_its_agents_have_admitted_it(
    granting: ScriptedServices, pool: Pool
) -> None:
    waiting = allocation_pb2.CreateAllocationResponse(allocation=granted(state=RESERVED))
    active = allocation_pb2.CreateAllocationResponse(allocation=granted(), duplicate=True)
    granting.script("CreateAllocation", waiting, active)
    assert pool.allocate(gpus=1).state == "ACTIVE"
    asked = granting.requests["CreateAllocation"]
    assert asked[0].request_id == asked[1].request_id
    assert 0 < asked[0].wait_ms <= 8_000


def test_a_grant_can_be_taken_before_its_agents_admit_it(
    granting: ScriptedServices, pool: Pool
) -> None:
    waiting = allocation_pb2.CreateAllocationResponse(allocation=granted(state=RESERVED))
    granting.script("CreateAllocation", waiting)
    assert pool.allocate(gpus=1, wait="reserved").state == "RESERVED"
    request = granting.requests["CreateAllocation"][0]
    assert (request.wait_for, request.wait_ms) == (allocation_pb2.WAIT_FOR_RESERVED, 0)


@pytest.mark.parametrize(("request_id", "given_back"), [("", True), ("mine", False)])
def test_what_is_not_admitted_in_time_is_given_back_unless_it_can_be_asked_for_again(
    granting: ScriptedServices, pool: Pool, request_id: str, given_back: bool
) -> None:
    def waiting(request: allocation_pb2.CreateAllocationRequest) -> object:
        made = granted(state=RESERVED, request_id=request.request_id)
        return allocation_pb2.CreateAllocationResponse(allocation=made)

    granting.script("CreateAllocation", waiting)
    with pytest.raises(NotActiveError) as caught:
        pool.allocate(gpus=1, timeout=0.4, request_id=request_id)
    assert caught.value.allocations[0].id == "a-1"
    assert (released(granting) == ["a-1"]) is given_back


def test_what_no_agent_admits_has_failed(granting: ScriptedServices, pool: Pool) -> None:
    failed = make_allocation(
        state=allocation_pb2.ALLOCATION_STATE_ENDED, end=allocation_pb2.END_REASON_FAILED
    )
    granting.script("CreateAllocation", allocation_pb2.CreateAllocationResponse(allocation=failed))
    with pytest.raises(AllocationFailedError) as caught:
        pool.allocate(gpus=1)
    assert caught.value.reason == "ALLOCATION_FAILED"


def test_an_interrupt_while_asking_gives_back_what_may_have_been_granted(
    granting: ScriptedServices, pool: Pool
) -> None:
    hold = threading.Event()

    def interrupted(_request: object) -> object:
        _thread.interrupt_main(signal.SIGINT)
        hold.wait(10)
        return allocation_pb2.CreateAllocationResponse()

    def again(request: allocation_pb2.BatchCreateAllocationsRequest) -> object:
        (one,) = request.requests
        made = grants()(one)
        return allocation_pb2.BatchCreateAllocationsResponse(
            results=[allocation_pb2.BatchCreateResult(created=made)]
        )

    granting.script("CreateAllocation", interrupted)
    granting.script("BatchCreateAllocations", again)
    with pytest.raises(KeyboardInterrupt):
        pool.allocate(gpus=1)
    hold.set()
    (first,) = granting.requests["CreateAllocation"]
    assert released(granting) == [f"a-{first.request_id}"]


def test_an_interrupt_while_asking_for_what_is_refused_leaves_nothing_to_give_back(
    granting: ScriptedServices, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    hold = threading.Event()

    def interrupted(_request: object) -> object:
        _thread.interrupt_main(signal.SIGINT)
        hold.wait(10)
        return allocation_pb2.CreateAllocationResponse()

    refused = allocation_pb2.CallError(code=8, reason="NO_ROOM", message="no center has room")
    answer = allocation_pb2.BatchCreateAllocationsResponse(
        results=[allocation_pb2.BatchCreateResult(error=refused)]
    )
    granting.script("CreateAllocation", interrupted)
    granting.script("BatchCreateAllocations", answer)
    with pytest.raises(KeyboardInterrupt):
        pool.allocate(gpus=1)
    hold.set()
    assert len(granting.requests["BatchCreateAllocations"]) == 1
    assert not granting.requests["BatchReleaseAllocations"]
    assert not caplog.records


def test_many_are_asked_for_together_and_given_back_together(
    granting: ScriptedServices, pool: Pool
) -> None:
    def both(request: allocation_pb2.BatchCreateAllocationsRequest) -> object:
        response = allocation_pb2.BatchCreateAllocationsResponse()
        for index, one in enumerate(request.requests):
            if index == 1 and request.mode == allocation_pb2.BATCH_MODE_EACH:
                response.results.add().error.CopyFrom(
                    allocation_pb2.CallError(code=8, reason="NO_ROOM", refusal=make_refusal())
                )
            else:
                response.results.add().created.CopyFrom(grants()(one))
        return response

    granting.script("BatchCreateAllocations", both)
    with pool.allocate_many([{"gpus": 1}, {"cpu": 2}]) as leases:
        assert len(leases) == 2
        assert leases[:1] == (leases[0],)
        leases.check()
    assert released(granting) == [lease.id for lease in leases]
    assert len(granting.requests["BatchReleaseAllocations"]) == 1
    mixed = pool.allocate_many([{"gpus": 1}, {"cpu": 2}, {"cpu": 3}], atomic=False)
    assert len(mixed) == 2
    assert isinstance(mixed.refused[1], NoRoomError)
    mixed.release()
    assert released(granting)[2:] == [lease.id for lease in mixed]


def test_a_refused_batch_names_the_request(granting: ScriptedServices, pool: Pool) -> None:
    full = Failure(Code.RESOURCE_EXHAUSTED, "NO_ROOM", metadata={"index": "1"})
    granting.script("BatchCreateAllocations", full)
    with pytest.raises(NoRoomError) as caught:
        pool.allocate_many([{"gpus": 1}, {"gpus": 64}])
    assert caught.value.metadata == {"index": "1"}


def test_reads_are_tried_again_and_forgetting_is_not(
    granting: ScriptedServices, pool: Pool
) -> None:
    broken = Failure(Code.UNAVAILABLE)
    granting.script("GetView", broken, inventory_pb2.GetViewResponse(allocations=4))
    assert pool.view().allocations == 4
    granting.script("ForgetAgent", broken, inventory_pb2.ForgetAgentResponse())
    with pytest.raises(OutcomeUnknownError):
        pool.forget("a1")
    granting.script("ForgetAgent", WARMING, inventory_pb2.ForgetAgentResponse(nodes_removed=3))
    assert pool.forget("a1") == (0, 3)


def test_either_a_node_or_a_center_is_cordoned(granting: ScriptedServices, pool: Pool) -> None:
    granting.script("Cordon", inventory_pb2.CordonResponse(leases=2))
    assert pool.cordon(center="c1", message="work") == 2
    assert granting.requests["Cordon"][0].center == "c1"
    for wrong in ({}, {"node": "n", "center": "c"}):
        with pytest.raises(InvalidRequestError, match="either a node or a center"):
            pool.cordon(**wrong)


def test_lists_are_followed_to_the_end_and_no_further_than_asked(
    granting: ScriptedServices, pool: Pool
) -> None:
    def page(request: allocation_pb2.ListAllocationsRequest) -> object:
        number = int(request.page_token or 0)
        answer = allocation_pb2.ListAllocationsResponse(allocations=[make_allocation()])
        answer.next_page_token = str(number + 1) if number < 2 else ""
        return answer

    granting.script("ListAllocations", page)
    next(pool.list())
    assert len(granting.requests["ListAllocations"]) == 1
    assert len(list(pool.list(filter="state = ACTIVE", order_by="id desc"))) == 3
    assert granting.requests["ListAllocations"][-1].filter == "state = ACTIVE"


def test_a_refused_release_of_a_batch_is_raised(granting: ScriptedServices, pool: Pool) -> None:
    granting.script(
        "BatchCreateAllocations",
        lambda request: allocation_pb2.BatchCreateAllocationsResponse(
            results=[
                allocation_pb2.BatchCreateResult(created=grants()(one)) for one in request.requests
            ]
        ),
    )
    leases = pool.allocate_many([{"gpus": 1}])
    granting.script(
        "BatchReleaseAllocations", Failure(Code.UNAVAILABLE, "STOPPING", retry_after_s=60)
    )
    with pytest.raises(NotReadyError):
        leases.release()
    with pytest.raises(PoolError):
        leases.release()


@pytest.mark.parametrize(
    ("field", "keyword"),
    [
        ("spec.part.devices", "gpus"),
        ("spec.part.models[2]", "model"),
        ("spec.node_labels[a.b]", "node_labels"),
        ("spec.contact.after_s", "contact"),
        ("spec.spread.max_skew", "max_skew"),
        ("ttl_s", "ttl"),
        ("labels", "labels"),
        ("requests[3].spec.part.resources.cpu_milli", "requests[3].cpu"),
    ],
)
def test_what_the_broker_does_not_take_is_named_by_its_keyword(
    granting: ScriptedServices, pool: Pool, field: str, keyword: str
) -> None:
    refused = Failure(
        Code.INVALID_ARGUMENT, "INVALID_FIELD", f"{field}: too much", {"field": field}
    )
    granting.script("CreateAllocation", replace(refused, fields={field: "too much"}))
    with pytest.raises(InvalidRequestError) as caught:
        pool.allocate(gpus=1)
    assert [each.field for each in caught.value.fields] == [keyword]
    assert str(caught.value) == f"{keyword}: too much"
    assert caught.value.metadata == {"field": field}
