"""What happens around every call: errors become statuses, calls are counted, and can be logged.

Nothing here is done per call that can be done per method: the path of a call that succeeds costs
two readings of a clock and three additions. Only a call that fails, or is logged, has its
metadata looked at.
"""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError
from google.rpc import code_pb2
from structlog.contextvars import bind_contextvars

from computepool_broker.errors import (
    InvalidArgumentError,
    OverloadedError,
    PoolError,
    StoppingError,
)
from computepool_broker.rpc.errors import CODES, abort, call_id
from computepool_broker.rpc.sizes import LARGE_BYTES, check_size, most_bytes, waits_for_its_turn
from computepool_broker.services.tally import Calls, Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
    Reader = Callable[[bytes], Any]

NOT_OURS: Final = "/grpc.reflection."
"""As gRPC made it: it writes to its streams in its own way."""
OK, CANCELLED, INTERNAL = "OK", "CANCELLED", "INTERNAL"
MAX_CALLS: Final = 20_000
"""Unary calls under way at once, over all clients: each waits with its message in memory."""
LARGE_AT_ONCE: Final = 2
"""Large messages of a method that wait for their turn: one is read while another is written."""

QUIET_S: Final = 0.02
"""A broker that stops waits until no call has come for so long,"""
MOST_QUIET_S: Final = 1.0
"""but no longer than this."""

log = structlog.get_logger()


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Maps what handlers raise, which know nothing of status codes; counts calls."""

    def __init__(self, tally: Tally, *, log_calls: bool) -> None:
        """Wire it.

        Args:
            tally: Where to count.
            log_calls: Whether each call is logged, at debug level, and the caller's id for it
                stands in every line that the call leads to in its own task.
        """
        self._tally = tally
        self._log_calls = log_calls
        self._wrapped: dict[str, Handler] = {}
        self._under_way = _UnderWay()

    async def wind_down(self) -> None:
        """Refuse unary calls from now on; returns when no more come, or after a second.

        gRPC cancels what has come and was not taken when a server stops. Who is refused by us
        knows that nothing was done, and comes back later.
        """
        await self._under_way.wind_down()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """See grpc.aio.ServerInterceptor. Each method is wrapped once, not per call."""
        method: str = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or method.startswith(NOT_OURS):
                return handler
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        streams = handler.unary_unary is None
        calls = self._tally.calls[method] = Calls(streams=streams)
        around = _Around(method, calls, self._tally, log_calls=self._log_calls)
        if not streams:
            inner: Any = handler.unary_unary
            read = _reader(method, handler)
            if waits_for_its_turn(method):
                read, inner = _as_it_came, _in_turn(read, inner)
            return _unary(read, inner, handler.response_serializer, around, self._under_way)
        if handler.unary_stream:
            return _stream(_reader(method, handler), handler, around)
        return _two_way(handler, around)


class _UnderWay:
    """Unary calls of all methods together."""

    def __init__(self) -> None:
        self.calls = 0
        self._stopping = False
        self._refused = 0

    async def wind_down(self) -> None:
        self._stopping = True
        over_s, before = monotonic() + MOST_QUIET_S, -1
        while before != self._refused and monotonic() < over_s:
            before = self._refused
            await asyncio.sleep(QUIET_S)

    def check(self) -> None:
        if self._stopping:
            self._refused += 1
            raise StoppingError("the broker is stopping", retry_after_ms=1_000)
        if self.calls > MAX_CALLS:
            raise OverloadedError(
                f"{MAX_CALLS} calls are under way already",
                metadata={"most": str(MAX_CALLS)},
                retry_after_ms=1_000,
            )


class _Around:
    """What is done around each call of a method."""

    def __init__(self, method: str, calls: Calls, tally: Tally, *, log_calls: bool) -> None:
        self._method = method
        self._calls = calls
        self._errors = tally.errors
        self._log_calls = log_calls

    def began(self, context: Context) -> float:
        """Count a call as open; gives the time, in seconds."""
        self._calls.open += 1
        if self._log_calls:
            given = call_id(context)
            if given:
                bind_contextvars(x_request_id=given)  # each call is a task of its own
        return perf_counter()

    def ended(self, code: str, began: float) -> None:
        """Count and, when asked for, log a call."""
        took = perf_counter() - began
        self._calls.end(code, took)
        if self._log_calls:
            log.debug("call", method=self._method, code=code, took_ms=round(took * 1000, 3))

    def failed(self, error: BaseException, context: Context) -> str:
        """Count an error by its reason; gives the name of the status code."""
        if isinstance(error, grpc.aio.AbortError):
            code: Any = context.code()
            return str(getattr(code, "name", None) or code_pb2.Code.Name(int(code)))
        reason = error.reason if isinstance(error, PoolError) else INTERNAL
        self._errors.add(reason)
        return str(code_pb2.Code.Name(CODES.get(reason, code_pb2.INTERNAL)))


def _request_kind(method: str) -> Any:
    """The descriptor of a method's requests; None for methods that no file of ours describes."""
    try:
        service, name = method[1:].split("/")
        return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name].input_type
    except (KeyError, ValueError):
        return None


def _reader(method: str, handler: Handler) -> Callable[[bytes], Any]:
    """Reads requests inside the handler: gRPC itself would call bad bytes UNKNOWN, untyped."""
    parse = handler.request_deserializer
    most, kind = most_bytes(method), _request_kind(method)

    def read(data: bytes) -> object:
        check_size(data, most, kind)
        try:
            return data if parse is None else parse(data)
        except DecodeError as error:
            raise InvalidArgumentError("request", "is no message of this call") from error

    return read


def _as_it_came(data: bytes) -> bytes:
    return data


def _in_turn(read: Reader, inner: Any) -> Callable[[bytes, Context], Awaitable[Any]]:
    """Reads and handles large messages a few at a time: read, one takes several times its bytes.

    After a restart all agents report everything at once, which is a multiple of all that the
    broker keeps of it.
    """
    turns = asyncio.Semaphore(LARGE_AT_ONCE)

    async def handle(data: bytes, context: Context) -> Any:
        if len(data) <= LARGE_BYTES:
            return await inner(read(data), context)
        async with turns:
            return await inner(read(data), context)

    return handle


def _unary(read: Reader, inner: Any, write: Any, around: _Around, under_way: _UnderWay) -> Handler:
    async def unary(request: bytes, context: Context) -> object:
        began, code = around.began(context), CANCELLED
        under_way.calls += 1
        try:
            under_way.check()
            answer = await inner(read(request), context)
            code = OK
        except Exception as error:
            code = around.failed(error, context)
            if isinstance(error, grpc.aio.AbortError):
                raise
            await abort(context, error)
            return None
        else:
            return answer
        finally:
            under_way.calls -= 1
            around.ended(code, began)

    return grpc.unary_unary_rpc_method_handler(unary, None, write)


def _stream(read: Reader, handler: Handler, around: _Around) -> Handler:
    source: Any = handler.unary_stream

    async def stream(request: bytes, context: Context) -> Any:
        began, code = around.began(context), CANCELLED
        try:
            async for message in source(read(request), context):
                yield message
            code = OK
        except Exception as error:
            code = around.failed(error, context)
            if isinstance(error, grpc.aio.AbortError):
                raise
            await abort(context, error)
        finally:
            around.ended(code, began)

    return grpc.unary_stream_rpc_method_handler(stream, None, _writer(handler.response_serializer))


def _two_way(handler: Handler, around: _Around) -> Handler:
    """A stream both ways reads and parses by itself: an error can be one message's alone."""
    talk: Any = handler.stream_stream

    async def stream(requests: object, context: Context) -> None:
        began, code = around.began(context), CANCELLED
        try:
            await talk(requests, context)
            code = OK
        except grpc.aio.InternalError:
            log.debug("client_gone")  # a read or a write failed: there is nobody to tell
        except Exception as error:
            code = around.failed(error, context)
            if isinstance(error, grpc.aio.AbortError):
                raise
            await abort(context, error)
        finally:
            around.ended(code, began)

    return grpc.stream_stream_rpc_method_handler(stream, None, _writer(handler.response_serializer))


def _writer(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """Lets bytes through: what is told to many is serialised once."""
    if serialize is None:
        return None

    def write(message: Any) -> bytes:
        return message if isinstance(message, bytes) else serialize(message)

    return write
