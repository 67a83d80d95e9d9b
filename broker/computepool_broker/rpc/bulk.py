"""Batches on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.errors import InvalidArgumentError, PoolError
from computepool_broker.rpc import from_wire, limits
from computepool_broker.rpc.creates import read_create

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    from computepool_broker.rpc.answers import Answers
    from computepool_broker.services.bulk import BulkService
    from computepool_broker.services.grants import Create

MAX_CREATES = 1_000
MAX_DEVICES = 20_000
"""Of all requests together, so that the answer fits into a message."""
MAX_RENEWALS = 10_000
MAX_RELEASES = 1_000
MAX_ERRORS_BYTES = 3 * 1024 * 1024
"""Of all errors of one answer: beyond it they lose their refusals, of which each is up to 2 KiB."""


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
        wait_s = from_wire.read_wait_s(request.wait_for, request.wait_ms)
        if left_s is not None:
            wait_s = min(wait_s, left_s)
        out = wire.BatchCreateAllocationsResponse()
        if request.mode == wire.BATCH_MODE_ATOMIC:
            for made in await self._service.create_all(calls, wait_s):
                self._answers.fill_created(out.results.add().created, made)
            return out
        if request.mode not in (wire.BATCH_MODE_UNSPECIFIED, wire.BATCH_MODE_EACH):
            raise InvalidArgumentError("mode", f"unknown value {int(request.mode)}")
        errors = _Errors(self._answers)
        for each in await self._service.create_each(calls, wait_s):
            result = out.results.add()
            if isinstance(each, PoolError):
                errors.fill(result.error, each)
            else:
                self._answers.fill_created(result.created, each)
        return out

    def _read_creates(self, requests: Sequence[wire.CreateAllocationRequest]) -> list[Create]:
        _counted("requests", len(requests), MAX_CREATES)
        calls: list[Create] = []
        devices = 0
        for at, request in enumerate(requests):
            try:
                call = read_create(request, self._specs)
                _check_no_wait(request)
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
        done = await self._service.release(ids, message)
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


class _Errors:
    """Writes errors into an answer; the later ones shorter when there are many."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._left = MAX_ERRORS_BYTES

    def fill(self, out: wire.CallError, error: PoolError) -> None:
        out.CopyFrom(self._answers.error(error))
        self._left -= out.ByteSize()
        if self._left < 0:
            out.ClearField("refusal")


def _check_no_wait(request: wire.CreateAllocationRequest) -> None:
    if request.wait_for or request.wait_ms:
        raise InvalidArgumentError("wait_for", "set it on the whole batch")


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
