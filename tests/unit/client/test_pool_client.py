"""The client against a real server: errors become typed, pages are followed."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2, types_pb2
from computepool_client import errors
from computepool_client.client import PoolClient
from fakes.pool_messages import make_allocation, make_refusal
from fakes.scripted_services import Failure, ScriptedServices

Code = grpc.StatusCode


@pytest.fixture
def services() -> Iterator[ScriptedServices]:
    with ScriptedServices() as running:
        yield running


@pytest.fixture
def client(services: ScriptedServices) -> Iterator[PoolClient]:
    with PoolClient(services.endpoint, timeout_s=5) as made:
        yield made


@pytest.mark.parametrize(
    ("code", "reason", "want"),
    [
        (Code.INVALID_ARGUMENT, "INVALID", errors.InvalidRequestError),
        (Code.NOT_FOUND, "UNKNOWN_ALLOCATION", errors.NotFoundError),
        (Code.FAILED_PRECONDITION, "LEASE_ENDED", errors.WrongStateError),
        (Code.ABORTED, "ETAG_MISMATCH", errors.WrongStateError),
        (Code.ALREADY_EXISTS, "REQUEST_ID_REUSED", errors.WrongStateError),
        (Code.UNAVAILABLE, "WARMING_UP", errors.NotReadyError),
        (Code.UNKNOWN, "OUTCOME_UNKNOWN", errors.OutcomeUnknownError),
        (Code.INTERNAL, "INTERNAL", errors.PoolError),
        (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED", errors.PoolError),
    ],
)
def test_an_error_gets_the_type_that_its_status_and_reason_name(
    services: ScriptedServices,
    client: PoolClient,
    code: grpc.StatusCode,
    reason: str,
    want: type[errors.PoolError],
) -> None:
    services.script("GetAllocation", Failure(code, reason, "so it is", {"id": "a-1"}))
    with pytest.raises(errors.PoolError) as caught:
        client.get("a-1")
    assert type(caught.value) is want
    assert (caught.value.reason, str(caught.value)) == (reason, "so it is")
    assert caught.value.metadata == {"id": "a-1"}


def test_no_room_carries_the_refusal_and_the_hint(
    services: ScriptedServices, client: PoolClient
) -> None:
    full = Failure(
        Code.RESOURCE_EXHAUSTED, "NO_ROOM", "full", retry_after_s=2.5, refusal=make_refusal()
    )
    services.script("CreateAllocation", full)
    with pytest.raises(errors.NoRoomError) as caught:
        client.create(allocation_pb2.CreateAllocationRequest())
    assert caught.value.retry_after_s == 2.5
    assert caught.value.wire_refusal == make_refusal()


def test_a_malformed_request_names_its_fields(
    services: ScriptedServices, client: PoolClient
) -> None:
    services.script(
        "CreateAllocation",
        Failure(Code.INVALID_ARGUMENT, "INVALID", fields={"spec.count": "at most 1000"}),
    )
    with pytest.raises(errors.InvalidRequestError) as caught:
        client.create(allocation_pb2.CreateAllocationRequest())
    assert caught.value.fields == (errors.FieldViolation("spec.count", "at most 1000"),)


def test_where_nobody_listens_nothing_was_asked() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        with (
            PoolClient(f"127.0.0.1:{held.getsockname()[1]}", timeout_s=5) as client,
            pytest.raises(errors.UnreachableError, match="no broker answers at"),
        ):
            client.agents()


def test_after_the_deadline_the_outcome_is_unknown(services: ScriptedServices) -> None:
    answer = threading.Event()

    def late(_request: object) -> object:
        answer.wait(10)
        return allocation_pb2.CreateAllocationResponse()

    services.script("CreateAllocation", late)
    with PoolClient(services.endpoint, timeout_s=0.2) as client:
        with pytest.raises(errors.NoAnswerError, match=r"within 0.2 s"):
            client.create(allocation_pb2.CreateAllocationRequest())
        answer.set()


def test_a_connection_that_breaks_leaves_the_outcome_unknown() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def hang_up() -> None:
            connection, _ = listening.accept()
            # Enough of HTTP/2 that the client takes the connection for made.
            connection.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            while b"CreateAllocation" not in connection.recv(65536):
                pass
            connection.close()

        peer = threading.Thread(target=hang_up)
        peer.start()
        with (
            PoolClient(f"127.0.0.1:{listening.getsockname()[1]}", timeout_s=5) as client,
            pytest.raises(errors.NoAnswerError, match="broke"),
        ):
            client.create(allocation_pb2.CreateAllocationRequest())
        peer.join(5)


def test_a_server_without_these_services_is_told_apart(client: PoolClient) -> None:
    with pytest.raises(errors.PoolError, match="does not know this call"):
        client.audit()


def test_pages_are_followed_to_the_end(services: ScriptedServices, client: PoolClient) -> None:
    def page(request: inventory_pb2.ListNodesRequest) -> inventory_pb2.ListNodesResponse:
        number = int(request.page_token or 0)
        answer = inventory_pb2.ListNodesResponse(nodes=[inventory_pb2.Node(name=f"n{number}")])
        answer.next_page_token = str(number + 1) if number < 2 else ""
        return answer

    services.script("ListNodes", page)
    assert [node.name for node in client.nodes("tj-1")] == ["n0", "n1", "n2"]
    assert {request.center for request in services.requests["ListNodes"]} == {"tj-1"}


def test_no_page_is_asked_for_before_it_is_needed(
    services: ScriptedServices, client: PoolClient
) -> None:
    page = inventory_pb2.ListNodesResponse(nodes=[inventory_pb2.Node(name="n0")])
    page.next_page_token = "more"  # noqa: S105 - names a page
    services.script("ListNodes", page)
    assert next(client.nodes()).name == "n0"
    assert len(services.requests["ListNodes"]) == 1


def test_an_answer_of_more_than_4_mib_is_taken(
    services: ScriptedServices, client: PoolClient
) -> None:
    large = make_allocation()
    large.description = "x" * (5 * 1024 * 1024)
    services.script("GetAllocation", allocation_pb2.GetAllocationResponse(allocation=large))
    assert len(client.get("a-1").description) == 5 * 1024 * 1024


def test_requests_carry_what_was_said(services: ScriptedServices, client: PoolClient) -> None:
    answers: dict[str, Any] = {
        "RenewAllocation": allocation_pb2.RenewAllocationResponse(allocation=make_allocation()),
        "ReleaseAllocation": allocation_pb2.ReleaseAllocationResponse(),
        "ListAllocations": allocation_pb2.ListAllocationsResponse(),
        "PreviewAllocation": allocation_pb2.PreviewAllocationResponse(),
    }
    for method, answer in answers.items():
        services.script(method, answer)
    client.renew("a-1", ttl_s=60)
    client.release("a-1", message="done")
    assert list(client.allocations("t", include_ended=True)) == []
    client.preview("t", types_pb2.AllocationSpec(count=3))
    asked = {method: services.requests[method][0] for method in answers}
    assert (asked["RenewAllocation"].id, asked["RenewAllocation"].ttl_s) == ("a-1", 60)
    assert asked["ReleaseAllocation"].message == "done"
    assert asked["ListAllocations"].include_ended
    assert asked["PreviewAllocation"].spec.count == 3
