"""Batches on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.errors import InvalidArgumentError, PoolError
from computepool_broker.rpc import from_wire, limits
from computepool_broker.rpc.creates import read_create, read_waits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    from computepool_broker.rpc.answers import Answers
    from computepool_broker.services.bulk import BulkService
    from computepool_broker.services.grants import Create, Granted
    from computepool_broker.services.levels import Level

MAX_CREATES = 1_000
MAX_DEVICES = 20_000
"""Of all requests together, so that the answer fits into a message."""
MAX_RENEWALS = 10_000
MAX_RELEASES = 1_000
MAX_WHOLE_BYTES = 3 * 1024 * 1024
"""Of all that is told whole in one answer. Beyond it errors lose their refusals, of which each is
up to 2 KiB, and allocations are told briefly: what was granted by power has as many devices as it
takes, and texts and labels are told back."""
BRIEF = "told briefly: not all of it goes into one message; ask for it by its id"


class BulkCalls:
    """Validates, calls the service, answers."""

    def __init__(self, service: BulkService, specs: from_wire.SpecReader, answers: Answers) -> None:
        self._service = service
        self._specs = specs
        self._answers = answers

    async def create(
        self, request: wire.BatchCreateAllocationsRequest, left_s: float | None
    ) -> wire.BatchCreateAllocationsResponse:
        """Grant all, or each by itself; waits for ACTIVE no longer than `left_s` seconds."""
        calls = self._read_creates(request.requests)
        wait_s, level = read_waits(request, self._answers.levels)
        if left_s is not None:
            wait_s = min(wait_s, left_s)
        out = wire.BatchCreateAllocationsResponse()
        results = _Results(self._answers, level)
        if request.mode == wire.BATCH_MODE_ATOMIC:
            for made in await self._service.create_all(calls, wait_s, level):
                results.created(out.results.add().created, made)
            return out
        if request.mode not in (wire.BATCH_MODE_UNSPECIFIED, wire.BATCH_MODE_EACH):
            raise InvalidArgumentError("mode", f"unknown value {int(request.mode)}")
        for each in await self._service.create_each(calls, wait_s, level):
            result = out.results.add()
            if isinstance(each, PoolError):
                results.error(result.error, each)
            else:
                results.created(result.created, each)
        return out

    def _read_creates(self, requests: Sequence[wire.CreateAllocationRequest]) -> list[Create]:
        _counted("requests", len(requests), MAX_CREATES)
        calls: list[Create] = []
        devices = 0
        for at, request in enumerate(requests):
            try:
                call = read_create(request, self._specs)
                _check_alone(request)
            except InvalidArgumentError as error:
                raise error.within(f"requests[{at}]") from None
            devices += call.spec.parts * max(1, call.spec.shape.part.devices)
            calls.append(call)
        if devices > MAX_DEVICES:
            raise InvalidArgumentError(
                "requests", f"more than {MAX_DEVICES} devices and parts together"
            )
        return calls

    async def renew(
        self, request: wire.BatchRenewAllocationsRequest
    ) -> wire.BatchRenewAllocationsResponse:
        """Renew each by itself."""
        ttl_s = request.ttl_s
        if ttl_s:
            limits.ranged("ttl_s", ttl_s, from_wire.LEAST_TTL_S, from_wire.YEAR_S)
        ids = _read_ids(request.ids, MAX_RENEWALS)
        done = await self._service.renew(ids, ttl_s)
        out = wire.BatchRenewAllocationsResponse(renewed=done.count(None))
        self._fill_failures(out.failures, ids, done)
        return out

    async def release(
        self, request: wire.BatchReleaseAllocationsRequest
    ) -> wire.BatchReleaseAllocationsResponse:
        """Release each by itself."""
        message = limits.text("message", request.message)
        ids = _read_ids(request.ids, MAX_RELEASES)
        done = await self._service.release(ids, message, self._answers.levels.of_release(None))
        out = wire.BatchReleaseAllocationsResponse(released=done.count(None))
        self._fill_failures(out.failures, ids, done)
        return out

    def _fill_failures(
        self,
        out: RepeatedCompositeFieldContainer[wire.BatchFailure],
        ids: Iterable[str],
        done: Iterable[PoolError | None],
    ) -> None:
        for key, error in zip(ids, done, strict=True):
            if error is not None:
                out.add(id=key, error=self._answers.error(error))


class _Results:
    """Writes results into an answer; the later ones shorter when there is too much."""

    def __init__(self, answers: Answers, level: Level) -> None:
        self._answers = answers
        self._level = level
        self._left = MAX_WHOLE_BYTES

    def created(self, out: wire.CreateAllocationResponse, made: Granted) -> None:
        self._answers.fill_created(out, made, self._level)
        self._left -= out.ByteSize()
        if self._left < 0:
            out.allocation.CopyFrom(_brief(out.allocation))

    def error(self, out: wire.CallError, error: PoolError) -> None:
        out.CopyFrom(self._answers.error(error))
        self._left -= out.ByteSize()
        if self._left < 0:
            out.ClearField("refusal")


def _brief(whole: wire.Allocation) -> wire.Allocation:
    """What its holder needs of it: its name, how far it has come and for how long it is held."""
    out = wire.Allocation(
        id=whole.id,
        tenant=whole.tenant,
        request_id=whole.request_id,
        state=whole.state,
        end_reason=whole.end_reason,
        end_message=whole.end_message,
        etag=whole.etag,
        revision=whole.revision,
        remaining_ttl_ms=whole.remaining_ttl_ms,
        flags=[*whole.flags, BRIEF],
    )
    out.spec.ttl_s = whole.spec.ttl_s
    return out


def _check_alone(request: wire.CreateAllocationRequest) -> None:
    """What is said of the whole batch is not said of one of it."""
    if request.wait_for or request.wait_ms:
        raise InvalidArgumentError("wait_for", "set it on the whole batch")
    if request.ack_level:
        raise InvalidArgumentError("ack_level", "set it on the whole batch")


def _read_ids(ids: Sequence[str], most: int) -> list[str]:
    _counted("ids", len(ids), most)
    out = list(ids)
    # The pattern of names costs more than the renewal itself: one look at all of them first.
    if not from_wire.all_ids(out):
        for at, key in enumerate(out):
            from_wire.read_id(f"ids[{at}]", key)
    return out


def _counted(field: str, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise InvalidArgumentError(field, f"must be from 1 to {most}, not {count}")
