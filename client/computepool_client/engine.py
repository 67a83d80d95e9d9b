"""Runs calls and watches, with retries and fail-over. Synchronous; for any thread."""

import os
import random
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

from computepool_client import errors, held, lookup
from computepool_client.calls import Call, Pages
from computepool_client.endpoints import Endpoints
from computepool_client.retry import Attempts, Terms
from computepool_client.transport import Transport
from computepool_client.watching import Watch

T = TypeVar("T")


class Engine:
    """Asks equal brokers, the present one first."""

    def __init__(
        self,
        addresses: tuple[str, ...],
        timeout_s: float,
        clock: Callable[[], float] = held.clock,
    ) -> None:
        self.addresses = addresses
        self.timeout_s = timeout_s
        self.clock = clock
        self._endpoints = Endpoints(addresses)
        self._transports: dict[str, Transport] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._pid = os.getpid()

    @property
    def ours(self) -> bool:
        """Whether this process made it; one that was forked has no connection."""
        return os.getpid() == self._pid

    def run(self, call: Call[Any, T], timeout_s: float | None = None, room_s: float = 0.0) -> T:
        """The answer; raises the `PoolError` that it failed with."""
        return self.run_timed(call, timeout_s, room_s)[0]

    def run_timed(
        self, call: Call[Any, T], timeout_s: float | None = None, room_s: float = 0.0
    ) -> tuple[T, float]:
        """The answer, and when the attempt that was answered had been sent."""
        terms = Terms(self.timeout_s if timeout_s is None else timeout_s, room_s, call.safe)
        attempts = Attempts(self._endpoints, terms, self.clock(), random.random)
        while True:
            self._look_up()
            attempt = attempts.attempt(self.clock())
            sent_s = self.clock()
            try:
                transport = self._transport(attempt.endpoint)
                request = call.request(attempt.timeout_s)
                return call.read(transport.call(call.method, request, attempt.timeout_s)), sent_s
            except errors.ClosedError:
                raise
            except errors.PoolError as error:
                self._pause(attempts.failed(error, self.clock()))

    def items(self, pages: Pages[T]) -> Iterator[T]:
        """All that a list has, page after page as they are needed."""
        token = ""
        while True:
            page = self.run(pages(token))
            yield from page.items
            token = page.token
            if not token:
                return

    def watch(self, watch: Watch[T], patience_s: float) -> Generator[T, None, None]:
        """What a watch tells, through broken connections and restarts.

        Raises the error that it failed with once nothing was told for `patience_s`
        and asking again did not help.
        """
        attempts = Attempts(self._endpoints, Terms(patience_s), self.clock(), random.random)
        while True:
            self._look_up()
            transport = self._transport(attempts.attempt(self.clock()).endpoint)
            told = False
            try:
                with closing(transport.stream(watch.method, watch.request())) as messages:
                    for message in messages:
                        told = True
                        seen = watch.read(message)
                        if seen is not None:
                            yield seen
                watch.ended()
            except errors.ClosedError:
                raise
            except errors.PoolError as error:
                if told:
                    attempts.begin_again(self.clock())
                if not watch.mended(error):
                    self._pause(attempts.failed(error, self.clock()))
            else:
                return

    def close(self) -> None:
        """Ends all calls; only for the process that made it."""
        self._closed.set()
        with self._lock:
            transports, self._transports = self._transports, {}
        for transport in transports.values():
            transport.close()

    def _look_up(self) -> None:
        """Learns what names of brokers stand for now, where that is due."""
        for name in self._endpoints.due(self.clock()):
            self._endpoints.found(name, lookup.ips(name))
            with self._lock:
                gone = self._endpoints.left(self._transports)
                left = [self._transports.pop(each) for each in gone]
            for transport in left:
                transport.close()

    def _transport(self, endpoint: str) -> Transport:
        if not self.ours:
            raise errors.ClosedError(errors.FORKED, "FORKED")
        with self._lock:
            if self._closed.is_set():
                raise errors.ClosedError(errors.CLOSED, "CLOSED")
            transport = self._transports.get(endpoint)
            if transport is None:
                transport = self._transports[endpoint] = Transport(endpoint)
            return transport

    def _pause(self, seconds: float) -> None:
        if seconds and self._closed.wait(seconds):
            raise errors.ClosedError(errors.CLOSED, "CLOSED")
