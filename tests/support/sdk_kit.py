"""What the SDK's tests share: a clock of their own, waiting for an event, short answers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from computepool.v1 import allocation_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from computepool_client import Pool
    from fakes.scripted_services import ScriptedServices

WITHIN_S = 20.0


def wait_for(probe: Callable[[], object], what: str, within_s: float = WITHIN_S) -> None:
    """Wait until `probe` is true; a deadline missed fails the test."""
    over = time.monotonic() + within_s
    pause = threading.Event()
    while not probe():
        assert time.monotonic() < over, f"not within {within_s:g} s: {what}"
        pause.wait(0.01)


class HandClock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now_s


def take_over(pool: Pool) -> HandClock:
    """Gives a pool that has done nothing yet a clock of the test's."""
    clock = HandClock()
    pool._engine.clock = clock
    return clock


def advance(pool: Pool, clock: HandClock, seconds: float) -> None:
    """Lets time pass for a pool, and makes its renewer look at the clock."""
    clock.now_s += seconds
    renewer = pool._keeper._renewer
    with renewer._changed:
        renewer._changed.notify_all()


def released(services: ScriptedServices) -> list[str]:
    """Ids of all that was given back in batches."""
    return [id_ for each in services.requests["BatchReleaseAllocations"] for id_ in each.ids]


def granted(
    id_: str = "a-1",
    *,
    ttl_s: int = 60,
    request_id: str = "",
    state: allocation_pb2.AllocationState = allocation_pb2.ALLOCATION_STATE_ACTIVE,
) -> allocation_pb2.Allocation:
    """An allocation without parts."""
    answer = allocation_pb2.Allocation(id=id_, state=state, tenant="default")
    answer.spec.ttl_s = ttl_s
    answer.remaining_ttl_ms = ttl_s * 1000
    answer.request_id = request_id
    return answer


def grants(
    ttl_s: int = 60,
) -> Callable[[allocation_pb2.CreateAllocationRequest], allocation_pb2.CreateAllocationResponse]:
    """Answers every create with an allocation of its own, named after its request_id."""

    def answer(
        request: allocation_pb2.CreateAllocationRequest,
    ) -> allocation_pb2.CreateAllocationResponse:
        made = granted(f"a-{request.request_id}", ttl_s=ttl_s, request_id=request.request_id)
        return allocation_pb2.CreateAllocationResponse(allocation=made)

    return answer


def renewals(
    ended: Iterable[str] = (), reason: str = "LEASE_ENDED"
) -> Callable[
    [allocation_pb2.BatchRenewAllocationsRequest], allocation_pb2.BatchRenewAllocationsResponse
]:
    """Renews all but those that have ended."""
    gone = set(ended)

    def answer(
        request: allocation_pb2.BatchRenewAllocationsRequest,
    ) -> allocation_pb2.BatchRenewAllocationsResponse:
        response = allocation_pb2.BatchRenewAllocationsResponse()
        for id_ in request.ids:
            if id_ in gone:
                error = allocation_pb2.CallError(code=9, reason=reason, message=f"{id_}: {reason}")
                response.failures.add(id=id_, error=error)
        response.renewed = len(request.ids) - len(response.failures)
        return response

    return answer
