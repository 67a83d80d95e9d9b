"""Runs calls and watches, with retries and fail-over, for asyncio; the twin of `engine`.

All that is decided is decided in `retry`, `calls` and `watching`: here is only the waiting.
"""

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from computepool_client import errors, held, lookup
from computepool_client.aio_transport import AsyncTransport
from computepool_client.calls import Call, Pages
from computepool_client.endpoints import Endpoints
from computepool_client.retry import Attempts, Terms
from computepool_client.watching import Watch

T = TypeVar("T")


class AsyncEngine:
    """Asks equal brokers, the present one first; for one event loop."""

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
        self._transports: dict[str, AsyncTransport] = {}
        self._closed = False
        self._pid = os.getpid()

    @property
    def ours(self) -> bool:
        """Whether this process made it; one that was forked has no connection."""
        return os.getpid() == self._pid

    async def run(
        self, call: Call[Any, T], timeout_s: float | None = None, room_s: float = 0.0
    ) -> T:
        """The answer; raises the `PoolError` that it failed with."""
        return (await self.run_timed(call, timeout_s, room_s))[0]

    async def run_timed(
        self, call: Call[Any, T], timeout_s: float | None = None, room_s: float = 0.0
    ) -> tuple[T, float]:
        """The answer, and when the attempt that was answered had been sent."""
        terms = Terms(self.timeout_s if timeout_s is None else timeout_s, room_s, call.safe)
        attempts = Attempts(self._endpoints, terms, self.clock(), random.random)
        while True:
            await self._look_up()
            attempt = attempts.attempt(self.clock())
            sent_s = self.clock()
            try:
                transport = self._transport(attempt.endpoint)
                request = call.request(attempt.timeout_s)
                answer = await transport.call(call.method, request, attempt.timeout_s)
                return call.read(answer), sent_s
            except errors.ClosedError:
                raise
            except errors.PoolError as error:
                await asyncio.sleep(attempts.failed(error, self.clock()))

    async def items(self, pages: Pages[T]) -> AsyncGenerator[T, None]:
        """All that a list has, page after page as they are needed."""
        token = ""
        while True:
            page = await self.run(pages(token))
            for item in page.items:
                yield item
            token = page.token
            if not token:
                return

    async def watch(self, watch: Watch[T], patience_s: float) -> AsyncGenerator[T, None]:
        """What a watch tells, through broken connections and restarts; see `Engine.watch`."""
        attempts = Attempts(self._endpoints, Terms(patience_s), self.clock(), random.random)
        while True:
            await self._look_up()
            transport = self._transport(attempts.attempt(self.clock()).endpoint)
            told = False
            try:
                async with aclosing(transport.stream(watch.method, watch.request())) as messages:
                    async for message in messages:
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
                    await asyncio.sleep(attempts.failed(error, self.clock()))
            else:
                return

    async def close(self) -> None:
        """Ends all calls; only for the process that made it."""
        self._closed = True
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.close()

    async def _look_up(self) -> None:
        """Learns what names of brokers stand for now, where that is due."""
        for name in self._endpoints.due(self.clock()):
            self._endpoints.found(name, await lookup.aio_ips(name))
            for each in self._endpoints.left(self._transports):
                await self._transports.pop(each).close()

    def _transport(self, endpoint: str) -> AsyncTransport:
        if not self.ours:
            raise errors.ClosedError(errors.FORKED, "FORKED")
        if self._closed:
            raise errors.ClosedError(errors.CLOSED, "CLOSED")
        if endpoint not in self._transports:
            self._transports[endpoint] = AsyncTransport(endpoint)
        return self._transports[endpoint]
