"""The one table from domain errors to gRPC status; rpc/interceptor.py applies it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.errors import (
    InvalidArgumentError,
    NoRoomError,
    NotAcknowledgedError,
    PoolError,
)
from computepool_broker.rpc.to_wire import short_refusal

if TYPE_CHECKING:
    from google.protobuf.message import Message

DOMAIN = "computepool"
CODES = {
    "INVALID_FIELD": code_pb2.INVALID_ARGUMENT,
    "UNIMPLEMENTED_OPTION": code_pb2.INVALID_ARGUMENT,
    "EPOCH_IMPLAUSIBLE": code_pb2.INVALID_ARGUMENT,
    "NOT_FOUND": code_pb2.NOT_FOUND,
    "NO_ROOM": code_pb2.RESOURCE_EXHAUSTED,
    "OVERLOADED": code_pb2.RESOURCE_EXHAUSTED,
    "WARMING_UP": code_pb2.UNAVAILABLE,
    "STOPPING": code_pb2.UNAVAILABLE,
    "STORE_FULL": code_pb2.UNAVAILABLE,
    "OUTCOME_UNKNOWN": code_pb2.UNKNOWN,
    "REQUEST_ID_REUSED": code_pb2.ALREADY_EXISTS,
    "AGENT_NAME_TAKEN": code_pb2.ALREADY_EXISTS,
    "NODE_OWNED": code_pb2.ALREADY_EXISTS,
    "LEASE_ENDED": code_pb2.FAILED_PRECONDITION,
    "SESSION_STALE": code_pb2.FAILED_PRECONDITION,
    "REPORT_OUT_OF_ORDER": code_pb2.FAILED_PRECONDITION,
    "PROTOCOL_UNSUPPORTED": code_pb2.FAILED_PRECONDITION,
    "AGENT_ALIVE": code_pb2.FAILED_PRECONDITION,
    "RESUME_TOKEN_EXPIRED": code_pb2.FAILED_PRECONDITION,
    "UNCORDONED": code_pb2.FAILED_PRECONDITION,
    "ACK_LEVEL_UNAVAILABLE": code_pb2.FAILED_PRECONDITION,
    "ETAG_MISMATCH": code_pb2.ABORTED,
}
CODES_OF_KINDS: dict[type[PoolError], int] = {NotAcknowledgedError: code_pb2.UNAVAILABLE}
"""Kinds of error that have another code than others with their reason: whoever asks for a level
may repeat the call blindly, and the code of a failed store is what clients of 0.1 know."""
MAX_MESSAGE = 500
CALL_ID = "x-request-id"
"""Metadata in which a caller may name a call; logs and errors of the call repeat it."""
MAX_CALL_ID = 128

log = structlog.get_logger()


def status_of(error: PoolError) -> status_pb2.Status:
    """The rich status of a domain error."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=_short(error))
    ]
    if error.retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        details.append(retry)
    if isinstance(error, InvalidArgumentError):
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=error.field, description=error.problem[:MAX_MESSAGE])
        details.append(bad)
    if isinstance(error, NoRoomError):
        details.append(short_refusal(error.refusal))
    packed = []
    for detail in details:
        box = any_pb2.Any()
        box.Pack(detail)
        packed.append(box)
    return status_pb2.Status(code=_code(error), message=str(error)[:MAX_MESSAGE], details=packed)


def call_error(error: BaseException) -> wire.CallError:
    """The error of one call among several. A bug is logged whole and told as INTERNAL."""
    if not isinstance(error, PoolError):
        log.error("internal_error", exc_info=error)
        error = PoolError("internal error; see the broker's log")
    out = wire.CallError(
        code=_code(error),
        reason=error.reason,
        message=str(error)[:MAX_MESSAGE],
        metadata=_short(error),
        retry_after_ms=error.retry_after_ms or 0,
    )
    if isinstance(error, InvalidArgumentError):
        out.field = error.field
    if isinstance(error, NoRoomError):
        out.refusal.CopyFrom(short_refusal(error.refusal))
    return out


def _code(error: PoolError) -> int:
    code = CODES_OF_KINDS.get(type(error))
    return int(CODES.get(error.reason, code_pb2.INTERNAL)) if code is None else code


def _short(error: PoolError) -> dict[str, str]:
    """The metadata; what stands in it may come from outside."""
    return {key: value[:MAX_MESSAGE] for key, value in error.metadata.items()}


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: BaseException) -> None:
    """End the call with the status of an error. A bug is logged whole and told as INTERNAL."""
    given = call_id(context)
    if not isinstance(error, PoolError):
        named = {"x_request_id": given} if given else {}
        log.error("internal_error", exc_info=error, **named)
        error = PoolError("internal error; see the broker's log")
    status: Any = rpc_status.to_status(status_of(error))
    trailing = tuple(status.trailing_metadata)
    if given:
        trailing += ((CALL_ID, given),)
    try:
        await context.abort(status.code, status.details, trailing)
    except grpc.aio.InternalError:
        log.debug("client_gone")  # its connection ended: there is nobody to tell


def call_id(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The caller's own id for a call: printable ASCII, at most 128; empty if none, or no such."""
    for key, value in context.invocation_metadata() or ():
        if key == CALL_ID and isinstance(value, str) and len(value) <= MAX_CALL_ID:
            return value if value.isascii() and value.isprintable() else ""
    return ""
