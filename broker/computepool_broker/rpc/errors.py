"""The one table from domain errors to gRPC status, and the one interceptor that applies it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.errors import InvalidArgumentError, NoRoomError, PoolError
from computepool_broker.rpc.to_wire import short_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
    "OUTCOME_UNKNOWN": code_pb2.UNKNOWN,
    "REQUEST_ID_REUSED": code_pb2.ALREADY_EXISTS,
    "AGENT_NAME_TAKEN": code_pb2.ALREADY_EXISTS,
    "NODE_OWNED": code_pb2.ALREADY_EXISTS,
    "LEASE_ENDED": code_pb2.FAILED_PRECONDITION,
    "SESSION_STALE": code_pb2.FAILED_PRECONDITION,
    "REPORT_OUT_OF_ORDER": code_pb2.FAILED_PRECONDITION,
    "PROTOCOL_UNSUPPORTED": code_pb2.FAILED_PRECONDITION,
    "AGENT_ALIVE": code_pb2.FAILED_PRECONDITION,
    "ETAG_MISMATCH": code_pb2.ABORTED,
}
MAX_MESSAGE = 500
OUR_METHODS = "/computepool."

log = structlog.get_logger()


def status_of(error: PoolError) -> status_pb2.Status:
    """The rich status of a domain error."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    ]
    if error.retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        details.append(retry)
    if isinstance(error, InvalidArgumentError):
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=error.field, description=error.problem)
        details.append(bad)
    if isinstance(error, NoRoomError):
        details.append(short_refusal(error.refusal))
    packed = []
    for detail in details:
        box = any_pb2.Any()
        box.Pack(detail)
        packed.append(box)
    code = CODES.get(error.reason, code_pb2.INTERNAL)
    return status_pb2.Status(code=code, message=str(error)[:MAX_MESSAGE], details=packed)


def call_error(error: BaseException) -> wire.CallError:
    """The error of one call among several. A bug is logged whole and told as INTERNAL."""
    if not isinstance(error, PoolError):
        log.error("internal_error", exc_info=error)
        error = PoolError("internal error; see the broker's log")
    out = wire.CallError(
        code=CODES.get(error.reason, code_pb2.INTERNAL),
        reason=error.reason,
        message=str(error)[:MAX_MESSAGE],
        metadata=error.metadata,
        retry_after_ms=error.retry_after_ms or 0,
    )
    if isinstance(error, InvalidArgumentError):
        out.field = error.field
    if isinstance(error, NoRoomError):
        out.refusal.CopyFrom(short_refusal(error.refusal))
    return out


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: BaseException) -> None:
    """End the call with the status of an error. A bug is logged whole and told as INTERNAL."""
    if not isinstance(error, PoolError):
        log.error("internal_error", exc_info=error)
        error = PoolError("internal error; see the broker's log")
    status: Any = rpc_status.to_status(status_of(error))
    await context.abort(status.code, status.details, status.trailing_metadata)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Maps what handlers raise; handlers know nothing of status codes."""

    def __init__(self) -> None:
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """See grpc.aio.ServerInterceptor. Each method is wrapped once, not per call."""
        method: str = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return handler
            # Reflection is not ours: its streams are as gRPC made them.
            ours = method.startswith(OUR_METHODS)
            wrapped = self._wrapped[method] = _wrap(handler) if ours else handler
        return wrapped


def _reader(handler: grpc.RpcMethodHandler[Any, Any]) -> Callable[[bytes], Any]:
    """Reads requests inside the handler: gRPC itself would call bad bytes UNKNOWN, untyped."""
    parse = handler.request_deserializer

    def read(data: bytes) -> object:
        try:
            return data if parse is None else parse(data)
        except DecodeError as error:
            raise InvalidArgumentError("request", "is no message of this call") from error

    return read


def _wrap(handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
    read = _reader(handler)
    if handler.unary_unary is not None:
        inner: Any = handler.unary_unary

        async def unary(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> object:
            try:
                return await inner(read(request), context)
            except Exception as error:
                if isinstance(error, grpc.aio.AbortError):
                    raise
                await abort(context, error)
                return None

        return grpc.unary_unary_rpc_method_handler(
            unary,
            None,
            handler.response_serializer,
        )
    if handler.unary_stream is not None:
        source: Any = handler.unary_stream

        async def stream(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                async for message in source(read(request), context):
                    yield message
            except Exception as error:
                if isinstance(error, grpc.aio.AbortError):
                    raise
                await abort(context, error)

        return grpc.unary_stream_rpc_method_handler(
            stream, None, _writer(handler.response_serializer)
        )
    return _wrap_two_way(handler)


def _wrap_two_way(handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
    """A stream both ways reads and parses by itself: an error can be one message's alone."""
    talk: Any = handler.stream_stream

    async def stream(requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        try:
            await talk(requests, context)
        except Exception as error:
            if isinstance(error, grpc.aio.AbortError):
                raise
            await abort(context, error)

    return grpc.stream_stream_rpc_method_handler(stream, None, _writer(handler.response_serializer))


def _writer(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """Lets bytes through: what is told to many is serialised once."""
    if serialize is None:
        return None

    def write(message: Any) -> bytes:
        return message if isinstance(message, bytes) else serialize(message)

    return write
