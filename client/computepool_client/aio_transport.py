"""Carries calls to one broker over a channel of its own, for asyncio.

The only module of the client that speaks gRPC asynchronously; for one event loop.
"""

from collections.abc import AsyncGenerator
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from computepool_client import errors, wire_errors
from computepool_client.methods import OPTIONS, Method

A = TypeVar("A", bound=Message)


class AsyncTransport:
    """A connection to one broker; the twin of `transport.Transport`."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._channel = grpc.aio.insecure_channel(endpoint, options=OPTIONS)
        self._stubs: dict[str, Any] = {}

    async def call(self, method: Method[Any, A], request: Message, timeout_s: float) -> A:
        """One call; raises the `PoolError` that says what happened."""
        try:
            stub = self._stubs.get(method.path) or self._stub(method, self._channel.unary_unary)
            answer: A = await stub(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise wire_errors.in_keywords(error, self.endpoint, timeout_s) from error
        except grpc.aio.UsageError as error:  # what gRPC says of a closed channel
            raise errors.ClosedError(str(error), "CLOSED") from error
        return answer

    async def stream(self, method: Method[Any, A], request: Message) -> AsyncGenerator[A, None]:
        """The answers as they come; the call ends when the iterator is closed."""
        stub = self._stubs.get(method.path) or self._stub(method, self._channel.unary_stream)
        call = stub(request)
        try:
            async for message in call:
                yield message
        except grpc.RpcError as error:
            raise wire_errors.in_keywords(error, self.endpoint, None) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """Closes the connection; calls in flight end."""
        await self._channel.close()

    def _stub(self, method: Method[Any, A], make: Any) -> Any:
        stub = make(method.path, request_serializer=method.write, response_deserializer=method.read)
        self._stubs[method.path] = stub
        return stub
