"""Every call of the SDK as data: what is sent, and what its answer means. Pure.

Both pools run these; the only difference between them is how they wait.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message

from computepool.v1 import allocation_pb2
from computepool_client import (
    errors,
    explanations,
    from_wire,
    methods,
    to_wire,
    values,
    wire_errors,
    wording,
)
from computepool_client.asking import Ack, Order, StoreAck, Wait

A = TypeVar("A", bound=Message)
T = TypeVar("T")

MOST_RENEWALS: Final = 10_000
MOST_RELEASES: Final = 1_000
MOST_CREATES: Final = 1_000
PAGE: Final = 500
"""As many of a list as one call gives."""
# The broker is told to answer before the attempt's own deadline cuts the answer off.
_SHARE_OF_ATTEMPT: Final = 0.8
ENDED: Final = frozenset({"LEASE_ENDED"})
"""Reasons of a renewal that say that there is nothing left to renew.

NOT_FOUND is none: an ended allocation is known for an hour, so a broker that does
not know one which it has confirmed within its TTL has lost its store. Its agents
bring it back, and grant its devices to nobody before.
"""


@dataclass(frozen=True, slots=True)
class Call(Generic[A, T]):
    """One call.

    Attributes:
        request: the message, for an attempt of so many seconds.
        read: what the answer means; may raise a `PoolError`.
        safe: asking twice is the same as asking once.
    """

    method: methods.Method[Any, A]
    request: Callable[[float], Message]
    read: Callable[[A], T]
    safe: bool = True


@dataclass(frozen=True, slots=True)
class Grant:
    """What was granted; `duplicate` when an earlier attempt had made it."""

    allocation: values.Allocation
    duplicate: bool
    ack: values.AckLevel = values.AckLevel.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list; an empty token ends it."""

    items: tuple[T, ...]
    token: str


Pages: TypeAlias = Callable[[str], Call[Any, Page[T]]]
"""The call that gives the page at a token."""


def create(order: Order, wait: Wait, ack: Ack | None = None) -> Call[Any, Grant]:
    """Grants one allocation, and waits for its agents unless told otherwise."""

    def request(attempt_s: float) -> allocation_pb2.CreateAllocationRequest:
        return to_wire.create(order, *_wait(wait, attempt_s), ack)

    def read(answer: allocation_pb2.CreateAllocationResponse) -> Grant:
        grant = _grant(answer)
        _check_active([grant], wait)
        return grant

    return Call(methods.CREATE, request, read)


def create_many(
    orders: Sequence[Order], wait: Wait, ack: Ack | None = None, *, atomic: bool
) -> Call[Any, list[Grant | errors.PoolError]]:
    """Grants many, all or none, or each by itself."""
    mode = allocation_pb2.BATCH_MODE_ATOMIC if atomic else allocation_pb2.BATCH_MODE_EACH

    def request(attempt_s: float) -> allocation_pb2.BatchCreateAllocationsRequest:
        wait_for, wait_ms = _wait(wait, attempt_s)
        return allocation_pb2.BatchCreateAllocationsRequest(
            requests=[to_wire.create(order) for order in orders],
            mode=mode,
            wait_for=wait_for,
            wait_ms=wait_ms,
            ack_level=to_wire.ack(ack),
        )

    def read(
        answer: allocation_pb2.BatchCreateAllocationsResponse,
    ) -> list[Grant | errors.PoolError]:
        found = [_result(each) for each in answer.results]
        for each in found:
            if isinstance(each, errors.NotAcknowledgedError):
                raise each  # the same again: by then the agents may have confirmed it
        if not atomic:
            found = [_ended(each) for each in found]
        _check_active([each for each in found if isinstance(each, Grant)], wait)
        return found

    return Call(methods.CREATE_MANY, request, read)


def parted(
    results: Sequence[Grant | errors.PoolError],
) -> tuple[list[Grant], dict[int, errors.PoolError]]:
    """The grants of many, and the refusals by their place."""
    granted = [each for each in results if isinstance(each, Grant)]
    refused = {i: each for i, each in enumerate(results) if isinstance(each, errors.PoolError)}
    return granted, refused


def slices(ids: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """Ids in slices that one call takes."""
    for start in range(0, len(ids), most):
        yield ids[start : start + most]


def preview(tenant: str, spec: values.Spec) -> Call[Any, values.Preview]:
    """Where it would go now."""
    request = allocation_pb2.PreviewAllocationRequest(tenant=tenant, spec=to_wire.spec(spec))
    return Call(methods.PREVIEW, lambda _: request, from_wire.preview)


def explain(subject: str | values.Spec) -> Call[Any, explanations.Explanation]:
    """Why an allocation is where it is, or where a request would go, or why not."""
    if isinstance(subject, str):
        request = allocation_pb2.ExplainAllocationRequest(id=subject)
    else:
        request = allocation_pb2.ExplainAllocationRequest(spec=to_wire.spec(subject))
    return Call(methods.EXPLAIN, lambda _: request, from_wire.explanation)


def get(id_: str) -> Call[Any, values.Allocation]:
    """One allocation."""
    request = allocation_pb2.GetAllocationRequest(id=id_)
    return Call(methods.GET, lambda _: request, _allocation)


def renew(id_: str, ttl_s: int) -> Call[Any, values.Allocation]:
    """Makes the TTL start anew; 0 keeps its length."""
    request = allocation_pb2.RenewAllocationRequest(id=id_, ttl_s=ttl_s)
    return Call(methods.RENEW, lambda _: request, _allocation)


def renew_many(ids: Sequence[str]) -> Call[Any, dict[str, errors.PoolError]]:
    """Makes the TTLs of many start anew; gives those that were not renewed."""
    request = allocation_pb2.BatchRenewAllocationsRequest(ids=ids)
    return Call(methods.RENEW_MANY, lambda _: request, _failures)


def release(id_: str, message: str, ack: StoreAck | None = None) -> Call[Any, values.Allocation]:
    """Gives one back."""
    request = allocation_pb2.ReleaseAllocationRequest(
        id=id_, message=message, ack_level=to_wire.ack(ack)
    )
    return Call(methods.RELEASE, lambda _: request, _allocation)


def release_many(ids: Sequence[str]) -> Call[Any, dict[str, errors.PoolError]]:
    """Gives many back; gives those that were not released."""
    request = allocation_pb2.BatchReleaseAllocationsRequest(ids=ids)
    return Call(methods.RELEASE_MANY, lambda _: request, _failures)


def allocations(
    tenant: str, filter_by: str, order_by: str, *, include_ended: bool
) -> Pages[values.Allocation]:
    """Allocations that match."""

    def page(token: str) -> Call[Any, Page[values.Allocation]]:
        request = allocation_pb2.ListAllocationsRequest(
            page_size=PAGE,
            page_token=token,
            tenant=tenant,
            include_ended=include_ended,
            filter=filter_by,
            order_by=order_by,
        )
        return Call(
            methods.LIST,
            lambda _: request,
            lambda answer: Page(
                tuple(map(from_wire.allocation, answer.allocations)), answer.next_page_token
            ),
        )

    return page


def _wait(wait: Wait, attempt_s: float) -> tuple[allocation_pb2.WaitFor, int]:
    if wait == "reserved":
        return allocation_pb2.WAIT_FOR_RESERVED, 0
    return allocation_pb2.WAIT_FOR_ACTIVE, max(1, int(attempt_s * _SHARE_OF_ATTEMPT * 1000))


def _check_active(grants: Sequence[Grant], wait: Wait) -> None:
    """Raises what says that a grant is not what was waited for."""
    held = tuple(grant.allocation for grant in grants)
    for each in held:
        if not each.live:
            raise _failed(each, held)
    waiting = [each for each in held if each.state is values.AllocationState.RESERVED]
    if wait == "active" and waiting:
        raise errors.NotActiveError(
            f"the agents of {waiting[0].id} have not admitted it in time",
            "NOT_ACTIVE",
            allocations=held,
        )


def _result(message: allocation_pb2.BatchCreateResult) -> Grant | errors.PoolError:
    if message.HasField("error"):
        return wording.reworded(wire_errors.of_call(message.error), wording.keyword)
    return _grant(message.created)


def _grant(answer: allocation_pb2.CreateAllocationResponse) -> Grant:
    allocation = from_wire.allocation(answer.allocation)
    return Grant(allocation, answer.duplicate, from_wire.ack(answer.ack_level))


def _ended(result: Grant | errors.PoolError) -> Grant | errors.PoolError:
    """A grant of those that stand for themselves, or how it has ended."""
    if isinstance(result, Grant) and not result.allocation.live:
        return _failed(result.allocation, (result.allocation,))
    return result


def _failed(
    ended: values.Allocation, granted: tuple[values.Allocation, ...]
) -> errors.AllocationFailedError:
    text = f"{ended.id} has ended: {ended.end_reason} {ended.end_message}".rstrip()
    reason = f"ALLOCATION_{ended.end_reason}"
    return errors.AllocationFailedError(text, reason, allocations=granted)


def _allocation(answer: Any) -> values.Allocation:
    return from_wire.allocation(answer.allocation)


def _failures(answer: Any) -> dict[str, errors.PoolError]:
    return {each.id: wire_errors.of_call(each.error) for each in answer.failures}
