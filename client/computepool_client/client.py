"""A thin typed client over the stubs: what is sent, page after page.

Synchronous; safe to use from several threads. What a broker may have done is not
retried here: who retries must know the request_id.
"""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from computepool.v1 import allocation_pb2, inventory_pb2, types_pb2
from computepool_client.sites import Sites, Stream, Unary

_Request_contra = TypeVar("_Request_contra", contravariant=True)
_Answer_co = TypeVar("_Answer_co", covariant=True)

_PAGE_SIZE: Final = 500


class PoolClient:
    """Calls the broker at an endpoint, or the first that serves of several joined by commas.

    Use it in a `with` statement.

    Every method raises a `PoolError` of the type that says what happened, and
    ends after `timeout_s` seconds at the latest (`NoAnswerError`).
    """

    def __init__(self, endpoint: str, *, timeout_s: float = 10.0) -> None:
        self.timeout_s = timeout_s
        self._sites = Sites(endpoint)

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
        """Closes the connections; calls in flight end."""
        self._sites.close()

    @property
    def endpoint(self) -> str:
        """HOST:PORT of the broker that is asked first."""
        return self._sites.present

    def view(self, precision: str = "") -> inventory_pb2.GetViewResponse:
        """The one view over all centers; an empty precision is the broker's default."""
        return self._call(
            lambda at: at.inventory.GetView, inventory_pb2.GetViewRequest(precision=precision)
        )

    def watch_view(
        self, precision: str = "", *, least_interval_ms: int = 0, resume_token: str = ""
    ) -> Iterator[inventory_pb2.WatchViewResponse]:
        """The view, then what changes of it, until it is closed or fails.

        Has no deadline: that of a broker which falls silent is noticed by its pings only.
        """
        request = inventory_pb2.WatchViewRequest(
            precision=precision, least_interval_ms=least_interval_ms, resume_token=resume_token
        )
        return self._stream(lambda at: at.inventory.WatchView, request)

    def centers(
        self,
        precision: str = "",
        *,
        filter_by: str = "",
        order_by: str = "",
        page_size: int = _PAGE_SIZE,
    ) -> Iterator[inventory_pb2.Center]:
        """All centers, by name unless another order is asked for; page after page."""
        request = inventory_pb2.ListCentersRequest(
            page_size=page_size, filter=filter_by, order_by=order_by, precision=precision
        )
        while True:
            page = self._call(lambda at: at.inventory.ListCenters, request)
            yield from page.centers
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def nodes(
        self,
        center: str = "",
        *,
        filter_by: str = "",
        order_by: str = "",
        page_size: int = _PAGE_SIZE,
    ) -> Iterator[inventory_pb2.Node]:
        """Nodes of one center or of all, by name unless another order is asked for."""
        request = inventory_pb2.ListNodesRequest(
            page_size=page_size, center=center, filter=filter_by, order_by=order_by
        )
        while True:
            page = self._call(lambda at: at.inventory.ListNodes, request)
            yield from page.nodes
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def agents(self, *, filter_by: str = "", order_by: str = "") -> list[inventory_pb2.Agent]:
        """All agents that the pool knows of, by name unless another order is asked for."""
        request = inventory_pb2.ListAgentsRequest(filter=filter_by, order_by=order_by)
        found: list[inventory_pb2.Agent] = []
        while True:
            page = self._call(lambda at: at.inventory.ListAgents, request)
            found += page.agents
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    def brokers(self) -> inventory_pb2.ListBrokersResponse:
        """The brokers of the pool that live, the one that answers first."""
        return self._call(lambda at: at.inventory.ListBrokers, inventory_pb2.ListBrokersRequest())

    def forget_agent(self, agent: str) -> inventory_pb2.ForgetAgentResponse:
        """Strikes off a silent agent; `WrongStateError` when it is alive."""
        return self._call(
            lambda at: at.inventory.ForgetAgent, inventory_pb2.ForgetAgentRequest(agent=agent)
        )

    def cordon(self, request: inventory_pb2.CordonRequest) -> inventory_pb2.CordonResponse:
        """No new grants on a node or a center."""
        return self._call(lambda at: at.inventory.Cordon, request)

    def uncordon(self, request: inventory_pb2.UncordonRequest) -> inventory_pb2.UncordonResponse:
        """New grants again on a node or a center."""
        return self._call(lambda at: at.inventory.Uncordon, request)

    def drain(
        self, request: inventory_pb2.DrainRequest, *, timeout_s: float | None = None
    ) -> Iterator[inventory_pb2.DrainResponse]:
        """Cordons, then says who is still there, until nobody is.

        `NoAnswerError` when `timeout_s` is over, `WrongStateError` when somebody
        takes the cordon back meanwhile. The cordon stays however it ends.
        """
        return self._stream(lambda at: at.inventory.Drain, request, timeout_s)

    def audit(self) -> inventory_pb2.AuditPoolResponse:
        """Recomputes everything and names what disagrees."""
        return self._call(lambda at: at.inventory.AuditPool, inventory_pb2.AuditPoolRequest())

    def create(
        self, request: allocation_pb2.CreateAllocationRequest, *, timeout_s: float | None = None
    ) -> allocation_pb2.CreateAllocationResponse:
        """Asks for an allocation; `NoRoomError` when there is none now.

        After an `OutcomeUnknownError` only the same request_id may be repeated.
        """
        return self._call(lambda at: at.allocations.CreateAllocation, request, timeout_s)

    def preview(
        self, tenant: str, spec: types_pb2.AllocationSpec
    ) -> allocation_pb2.PreviewAllocationResponse:
        """Where it would be placed now, or why not; a refusal is an answer here."""
        return self._call(
            lambda at: at.allocations.PreviewAllocation,
            allocation_pb2.PreviewAllocationRequest(tenant=tenant, spec=spec),
        )

    def get(self, allocation: str) -> allocation_pb2.Allocation:
        """One allocation by its id."""
        answer = self._call(
            lambda at: at.allocations.GetAllocation,
            allocation_pb2.GetAllocationRequest(id=allocation),
        )
        return answer.allocation

    def allocations(
        self,
        tenant: str = "",
        *,
        include_ended: bool = False,
        filter_by: str = "",
        order_by: str = "",
        page_size: int = _PAGE_SIZE,
    ) -> Iterator[allocation_pb2.Allocation]:
        """Allocations, in the order of their creation unless another is asked for."""
        request = allocation_pb2.ListAllocationsRequest(
            page_size=page_size,
            tenant=tenant,
            include_ended=include_ended,
            filter=filter_by,
            order_by=order_by,
        )
        while True:
            page = self._call(lambda at: at.allocations.ListAllocations, request)
            yield from page.allocations
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def explain(
        self, subject: str | types_pb2.AllocationSpec
    ) -> allocation_pb2.ExplainAllocationResponse:
        """Why an allocation (its id) is where it is, or where a spec would go, or why not."""
        request = allocation_pb2.ExplainAllocationRequest(
            **({"id": subject} if isinstance(subject, str) else {"spec": subject})
        )
        return self._call(lambda at: at.allocations.ExplainAllocation, request)

    def watch_allocations(
        self,
        filter_by: str = "",
        *,
        resume_token: str = "",
        changes_only: bool = False,
        timeout_s: float | None = None,
    ) -> Iterator[allocation_pb2.WatchAllocationsResponse]:
        """How allocations change; ends when the iterator is closed."""
        request = allocation_pb2.WatchAllocationsRequest(
            filter=filter_by, resume_token=resume_token, changes_only=changes_only
        )
        return self._stream(lambda at: at.allocations.WatchAllocations, request, timeout_s)

    def renew(self, allocation: str, *, ttl_s: int = 0) -> allocation_pb2.Allocation:
        """Makes the TTL start anew, in seconds; 0 keeps the one it has."""
        answer = self._call(
            lambda at: at.allocations.RenewAllocation,
            allocation_pb2.RenewAllocationRequest(id=allocation, ttl_s=ttl_s),
        )
        return answer.allocation

    def release(
        self,
        allocation: str,
        *,
        message: str = "",
        ack_level: allocation_pb2.AckLevel = allocation_pb2.ACK_LEVEL_UNSPECIFIED,
    ) -> allocation_pb2.Allocation:
        """Gives it back; an ended one is returned as it is."""
        answer = self._call(
            lambda at: at.allocations.ReleaseAllocation,
            allocation_pb2.ReleaseAllocationRequest(
                id=allocation, message=message, ack_level=ack_level
            ),
        )
        return answer.allocation

    def health(self) -> str:
        """What the broker says of itself: "SERVING", or "NOT_SERVING" while it warms up."""
        # Only this call needs it.
        from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415 - see above

        answer = self._call(
            lambda at: health_pb2_grpc.HealthStub(at.channel).Check,
            health_pb2.HealthCheckRequest(),
        )
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def renew_many(
        self, ids: Sequence[str], *, ttl_s: int = 0
    ) -> allocation_pb2.BatchRenewAllocationsResponse:
        """Makes the TTLs of up to 10,000 start anew, each by itself."""
        return self._call(
            lambda at: at.allocations.BatchRenewAllocations,
            allocation_pb2.BatchRenewAllocationsRequest(ids=ids, ttl_s=ttl_s),
        )

    def release_many(
        self, ids: Sequence[str], *, message: str = ""
    ) -> allocation_pb2.BatchReleaseAllocationsResponse:
        """Gives up to 1,000 back, each by itself."""
        return self._call(
            lambda at: at.allocations.BatchReleaseAllocations,
            allocation_pb2.BatchReleaseAllocationsRequest(ids=ids, message=message),
        )

    def _call(
        self,
        pick: Unary[_Request_contra, _Answer_co],
        request: _Request_contra,
        timeout_s: float | None = None,
    ) -> _Answer_co:
        return self._sites.call(pick, request, self.timeout_s if timeout_s is None else timeout_s)

    def _stream(
        self,
        pick: Stream[_Request_contra, _Answer_co],
        request: _Request_contra,
        timeout_s: float | None = None,
    ) -> Iterator[_Answer_co]:
        """The answers as they come, without a deadline unless one is given."""
        return self._sites.stream(pick, request, timeout_s)
