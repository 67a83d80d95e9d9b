"""Equal brokers, asked in turn by the typed client: channels, stubs, deadlines, errors.

Synchronous; safe to use from several threads. The next broker is asked only where the last one
has surely not served the call: nobody listens there, or it says that it cannot now.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias, TypeVar

import grpc

from computepool.v1 import allocation_pb2_grpc, inventory_pb2_grpc
from computepool_client import endpoints, errors, wire_errors
from computepool_client.methods import OPTIONS

_Request_contra = TypeVar("_Request_contra", contravariant=True)
_Answer_co = TypeVar("_Answer_co", covariant=True)
_NOT_SERVED = (errors.UnreachableError, errors.NotReadyError)


class UnaryMethod(Protocol[_Request_contra, _Answer_co]):
    """A unary call of a stub."""

    def __call__(self, request: _Request_contra, /, *, timeout: float) -> _Answer_co:
        """Asks; `timeout` is in seconds."""
        ...


class _Answers(Protocol[_Answer_co]):
    """What a streaming call gives."""

    def __iter__(self) -> Iterator[_Answer_co]: ...

    def cancel(self) -> object: ...


class StreamMethod(Protocol[_Request_contra, _Answer_co]):
    """A call of a stub that is answered by a stream."""

    def __call__(
        self, request: _Request_contra, /, *, timeout: float | None
    ) -> _Answers[_Answer_co]:
        """Asks; `timeout` is in seconds, None for ever."""
        ...


class Site:
    """One broker: a channel, which connects when it is first used, and the stubs over it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.channel = grpc.insecure_channel(endpoint, options=OPTIONS)
        self.allocations = allocation_pb2_grpc.AllocationServiceStub(self.channel)
        self.inventory = inventory_pb2_grpc.InventoryServiceStub(self.channel)


Unary: TypeAlias = Callable[[Site], UnaryMethod[_Request_contra, _Answer_co]]
"""Which unary call, of whichever broker."""
Stream: TypeAlias = Callable[[Site], StreamMethod[_Request_contra, _Answer_co]]
"""Which streaming call, of whichever broker."""


class Sites:
    """The brokers of "HOST:PORT,HOST:PORT"; the one that answered last is asked first."""

    def __init__(self, endpoint: str) -> None:
        self._endpoints = endpoints.Endpoints(endpoints.parse(endpoint))
        self._made: dict[str, Site] = {}
        self._lock = threading.Lock()

    @property
    def present(self) -> str:
        """HOST:PORT of the one that is asked first."""
        return self._endpoints.present

    def close(self) -> None:
        """Closes all connections; calls in flight end."""
        with self._lock:
            made, self._made = self._made, {}
        for site in made.values():
            site.channel.close()

    def call(
        self, pick: Unary[_Request_contra, _Answer_co], request: _Request_contra, timeout_s: float
    ) -> _Answer_co:
        """The answer of the first broker that serves the call.

        Raises:
            PoolError: that of the type that says what happened.
        """
        turns = _Turns(self._endpoints, timeout_s)
        while True:
            site = self._site(turns.endpoint)
            try:
                return pick(site)(request, timeout=timeout_s)
            except grpc.RpcError as error:
                turns.failed(error)

    def stream(
        self,
        pick: Stream[_Request_contra, _Answer_co],
        request: _Request_contra,
        timeout_s: float | None,
    ) -> Iterator[_Answer_co]:
        """The answers as they come; the call ends when the iterator is closed.

        Raises:
            PoolError: that of the type that says what happened; also in the middle.
        """
        turns = _Turns(self._endpoints, timeout_s)
        told = False
        while True:
            call = pick(self._site(turns.endpoint))(request, timeout=timeout_s)
            try:
                for answer in call:
                    told = True
                    yield answer
            except grpc.RpcError as error:
                turns.failed(error, served=told)
            else:
                return
            finally:
                call.cancel()

    def _site(self, endpoint: str) -> Site:
        with self._lock:
            if endpoint not in self._made:
                self._made[endpoint] = Site(endpoint)
            return self._made[endpoint]


class _Turns:
    """The brokers that one call has not asked yet."""

    def __init__(self, brokers: endpoints.Endpoints, timeout_s: float | None) -> None:
        self._brokers = brokers
        self._timeout_s = timeout_s
        first = brokers.addresses.index(brokers.present)
        self._left = [*brokers.addresses[first:], *brokers.addresses[:first]]
        self._silent: list[str] = []

    @property
    def endpoint(self) -> str:
        """The one to ask now."""
        return self._left[0]

    def failed(self, error: grpc.RpcError, *, served: bool = False) -> None:
        """Goes on to the next one, or raises what the call has failed with."""
        asked = self._left.pop(0)
        failure = wire_errors.of_rpc(error, asked, self._timeout_s)
        if isinstance(failure, (*_NOT_SERVED, errors.NoAnswerError)):
            self._brokers.failed(asked)  # the next call, at the latest, goes elsewhere
        if served or not isinstance(failure, _NOT_SERVED):
            raise failure from error
        if isinstance(failure, errors.UnreachableError):
            self._silent.append(asked)
        if self._left:
            return
        if len(self._silent) == len(self._brokers) > 1:
            text = f"no broker answers at {', '.join(self._silent)}"
            raise errors.UnreachableError(text, failure.reason) from error
        raise failure from error
