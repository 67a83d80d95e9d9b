"""Carries calls to one broker over a channel of its own. Synchronous.

Beside `client` the only module that speaks gRPC synchronously; safe to use from
several threads.
"""

from collections.abc import Generator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from computepool_client import errors, wire_errors
from computepool_client.methods import OPTIONS, Method

A = TypeVar("A", bound=Message)


class Transport:
    """A connection to one broker, made when it is first used."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._channel = grpc.insecure_channel(endpoint, options=OPTIONS)
        self._stubs: dict[str, Any] = {}

    def call(self, method: Method[Any, A], request: Message, timeout_s: float) -> A:
        """One call; raises the `PoolError` that says what happened."""
        try:
            stub = self._stubs.get(method.path) or self._stub(method, self._channel.unary_unary)
            answer: A = stub(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise wire_errors.in_keywords(error, self.endpoint, timeout_s) from error
        except ValueError as error:  # what gRPC says of a closed channel
            raise errors.ClosedError(str(error), "CLOSED") from error
        return answer

    def stream(self, method: Method[Any, A], request: Message) -> Generator[A, None, None]:
        """The answers as they come; the call ends when the iterator is closed."""
        stub = self._stubs.get(method.path) or self._stub(method, self._channel.unary_stream)
        call = stub(request)
        try:
            yield from call
        except grpc.RpcError as error:
            raise wire_errors.in_keywords(error, self.endpoint, None) from error
        finally:
            call.cancel()

    def close(self) -> None:
        """Closes the connection; calls in flight end."""
        self._channel.close()

    def _stub(self, method: Method[Any, A], make: Any) -> Any:
        stub = make(method.path, request_serializer=method.write, response_deserializer=method.read)
        self._stubs[method.path] = stub
        return stub
