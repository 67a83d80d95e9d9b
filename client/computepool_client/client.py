"""A thin typed client over the stubs: channel, deadlines, errors.

The only module of the client that imports gRPC. Synchronous; safe to use from
several threads. Nothing is retried here: who retries must know the request_id.
"""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

import grpc

from computepool.v1 import (
    allocation_pb2,
    allocation_pb2_grpc,
    inventory_pb2,
    inventory_pb2_grpc,
    types_pb2,
)
from computepool_client import errors

_Request_contra = TypeVar("_Request_contra", contravariant=True)
_Answer_co = TypeVar("_Answer_co", covariant=True)

# Pages of large gangs are larger than gRPC's own limit of 4 MiB.
_LARGEST_ANSWER_BYTES: Final = 64 * 1024 * 1024
_PAGE_SIZE: Final = 500
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _LARGEST_ANSWER_BYTES),
    # A pool is spoken to directly; a web proxy of the environment would be in the way.
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
)
_NOT_SENT: Final = "failed to connect to all addresses"


class _Method(Protocol[_Request_contra, _Answer_co]):
    """A unary call of a stub."""

    def __call__(self, request: _Request_contra, /, *, timeout: float) -> _Answer_co: ...


class PoolClient:
    """Calls the broker at one endpoint; use it in a `with` statement.

    Every method raises a `PoolError` of the type that says what happened, and
    ends after `timeout_s` seconds at the latest (`NoAnswerError`).
    """

    def __init__(self, endpoint: str, *, timeout_s: float = 10.0) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self._channel = grpc.insecure_channel(endpoint, options=_OPTIONS)
        self._allocations = allocation_pb2_grpc.AllocationServiceStub(self._channel)
        self._inventory = inventory_pb2_grpc.InventoryServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in flight end."""
        self._channel.close()

    def view(self, precision: str = "") -> inventory_pb2.GetViewResponse:
        """The one view over all centers; an empty precision is the broker's default."""
        return self._call(
            self._inventory.GetView, inventory_pb2.GetViewRequest(precision=precision)
        )

    def nodes(
        self, center: str = "", *, page_size: int = _PAGE_SIZE
    ) -> Iterator[inventory_pb2.Node]:
        """All nodes by name, of one center or of all; fetches page after page."""
        token = ""
        while True:
            page = self._call(
                self._inventory.ListNodes,
                inventory_pb2.ListNodesRequest(
                    page_size=page_size, page_token=token, center=center
                ),
            )
            yield from page.nodes
            token = page.next_page_token
            if not token:
                return

    def agents(self) -> list[inventory_pb2.Agent]:
        """All agents that the pool knows of, by name."""
        answer = self._call(self._inventory.ListAgents, inventory_pb2.ListAgentsRequest())
        return list(answer.agents)

    def forget_agent(self, agent: str) -> inventory_pb2.ForgetAgentResponse:
        """Strikes off a silent agent; `WrongStateError` when it is alive."""
        return self._call(
            self._inventory.ForgetAgent, inventory_pb2.ForgetAgentRequest(agent=agent)
        )

    def cordon(self, request: inventory_pb2.CordonRequest) -> inventory_pb2.CordonResponse:
        """No new grants on a node or a center."""
        return self._call(self._inventory.Cordon, request)

    def uncordon(self, request: inventory_pb2.UncordonRequest) -> inventory_pb2.UncordonResponse:
        """New grants again on a node or a center."""
        return self._call(self._inventory.Uncordon, request)

    def audit(self) -> inventory_pb2.AuditPoolResponse:
        """Recomputes everything and names what disagrees."""
        return self._call(self._inventory.AuditPool, inventory_pb2.AuditPoolRequest())

    def create(
        self, request: allocation_pb2.CreateAllocationRequest, *, timeout_s: float | None = None
    ) -> allocation_pb2.CreateAllocationResponse:
        """Asks for an allocation; `NoRoomError` when there is none now.

        After an `OutcomeUnknownError` only the same request_id may be repeated.
        """
        return self._call(self._allocations.CreateAllocation, request, timeout_s)

    def preview(
        self, tenant: str, spec: types_pb2.AllocationSpec
    ) -> allocation_pb2.PreviewAllocationResponse:
        """Where it would be placed now, or why not; a refusal is an answer here."""
        return self._call(
            self._allocations.PreviewAllocation,
            allocation_pb2.PreviewAllocationRequest(tenant=tenant, spec=spec),
        )

    def get(self, allocation: str) -> allocation_pb2.Allocation:
        """One allocation by its id."""
        answer = self._call(
            self._allocations.GetAllocation, allocation_pb2.GetAllocationRequest(id=allocation)
        )
        return answer.allocation

    def allocations(
        self, tenant: str = "", *, include_ended: bool = False
    ) -> Iterator[allocation_pb2.Allocation]:
        """Allocations in the order of their creation; fetches page after page."""
        token = ""
        while True:
            page = self._call(
                self._allocations.ListAllocations,
                allocation_pb2.ListAllocationsRequest(
                    page_size=_PAGE_SIZE,
                    page_token=token,
                    tenant=tenant,
                    include_ended=include_ended,
                ),
            )
            yield from page.allocations
            token = page.next_page_token
            if not token:
                return

    def renew(self, allocation: str, *, ttl_s: int = 0) -> allocation_pb2.Allocation:
        """Makes the TTL start anew, in seconds; 0 keeps the one it has."""
        answer = self._call(
            self._allocations.RenewAllocation,
            allocation_pb2.RenewAllocationRequest(id=allocation, ttl_s=ttl_s),
        )
        return answer.allocation

    def release(self, allocation: str, *, message: str = "") -> allocation_pb2.Allocation:
        """Gives it back; an ended one is returned as it is."""
        answer = self._call(
            self._allocations.ReleaseAllocation,
            allocation_pb2.ReleaseAllocationRequest(id=allocation, message=message),
        )
        return answer.allocation

    def _call(
        self,
        method: _Method[_Request_contra, _Answer_co],
        request: _Request_contra,
        timeout_s: float | None = None,
    ) -> _Answer_co:
        timeout = self.timeout_s if timeout_s is None else timeout_s
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise _translate(error, self.endpoint, timeout) from error


def _translate(error: grpc.RpcError, endpoint: str, timeout_s: float) -> errors.PoolError:
    """The typed error of a failed call: by status code and the details' ErrorInfo."""
    if not isinstance(error, grpc.Call):
        return errors.PoolError(f"the call failed: {error}")
    code, text = error.code(), error.details() or "no more is known"
    found = _Details(error)
    if not found.reason:
        return _without_reason(code, text, endpoint, timeout_s)
    common = (text, found.reason, found.metadata, found.retry_after_s)
    if found.reason == "NO_ROOM":
        return errors.NoRoomError(*common, refusal=found.refusal)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return errors.InvalidRequestError(*common, fields=found.fields)
    kind = _KINDS.get(code, errors.PoolError)
    if found.reason == "OUTCOME_UNKNOWN":
        kind = errors.OutcomeUnknownError
    return kind(*common)


_KINDS: Final[dict[grpc.StatusCode, Callable[..., errors.PoolError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.WrongStateError,
    grpc.StatusCode.ABORTED: errors.WrongStateError,
    grpc.StatusCode.ALREADY_EXISTS: errors.WrongStateError,
    grpc.StatusCode.UNAVAILABLE: errors.NotReadyError,
}


def _without_reason(
    code: grpc.StatusCode, text: str, endpoint: str, timeout_s: float
) -> errors.PoolError:
    """What gRPC itself says, or a server that is no broker of ours."""
    if code is grpc.StatusCode.UNAVAILABLE and text.startswith(_NOT_SENT):
        return errors.UnreachableError(f"no broker answers at {endpoint}", "UNREACHABLE")
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.NoAnswerError(f"the connection to {endpoint} broke", "CONNECTION_BROKE")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.NoAnswerError(
            f"no answer from {endpoint} within {timeout_s:g} s", "DEADLINE_EXCEEDED"
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return errors.PoolError(f"what answers at {endpoint} does not know this call", code.name)
    return _KINDS.get(code, errors.PoolError)(f"{text} ({code.name})", code.name)


class _Details:
    """What a failed call carries in its rich status; empty when it has none."""

    def __init__(self, call: grpc.Call) -> None:
        # Needed only when something failed, and slow to import.
        from google.rpc import (  # noqa: PLC0415 - see above
            error_details_pb2,
        )
        from grpc_status import rpc_status  # noqa: PLC0415 - see above

        self.reason = ""
        self.metadata: dict[str, str] = {}
        self.retry_after_s: float | None = None
        self.refusal: allocation_pb2.Refusal | None = None
        self.fields: tuple[errors.FieldViolation, ...] = ()
        try:
            status = rpc_status.from_call(call)
        except ValueError:  # details that contradict the status: as good as none
            status = None
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        bad = error_details_pb2.BadRequest()
        refusal = allocation_pb2.Refusal()
        for packed in status.details if status is not None else ():
            if packed.Unpack(info):
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif packed.Unpack(retry):
                self.retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            elif packed.Unpack(bad):
                self.fields = tuple(
                    errors.FieldViolation(v.field, v.description) for v in bad.field_violations
                )
            elif packed.Unpack(refusal):
                self.refusal = refusal
