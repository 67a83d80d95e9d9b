"""Streams that watch: how many there are, how they sleep, and how they all end together."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from computepool_broker.errors import OverloadedError, StoppingError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_WATCHES = 5_000
"""Open at once, of all kinds together."""
MAX_DRAINS = 64
"""Open at once: each looks at all nodes once a second."""


class Bell:
    """Wakes all who wait, each once."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake everybody who waits now."""
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            _wake(future)

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait for the next ring, or until the time is over."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = None if timeout_s is None else loop.call_later(timeout_s, _wake, future)
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)
            if timer is not None:
                timer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Watches:
    """Counts the streams that are open; one for each kind that has a bound of its own."""

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._most = most
        self._bells: list[Bell] = []
        self._naps = self.bell()
        self._stopping = False
        self.open = 0

    def bell(self) -> Bell:
        """A bell that rings, too, when the broker stops."""
        bell = Bell()
        self._bells.append(bell)
        return bell

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a stream for the time of the block.

        Raises:
            OverloadedError: There are too many.
            StoppingError: The broker is going down.
        """
        self.check()
        if self.open >= self._most:
            raise OverloadedError(
                f"{self._most} {self._what} are open already",
                metadata={"most": str(self._most)},
                retry_after_ms=10_000,
            )
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def check(self) -> None:
        """Return only when the broker goes on.

        Raises:
            StoppingError: It is going down.
        """
        if self._stopping:
            raise StoppingError("the broker is stopping", retry_after_ms=1000)

    async def wait(self, bell: Bell, timeout_s: float | None = None) -> None:
        """Wait for a bell, at most so long.

        Raises:
            StoppingError: The broker is going down.
        """
        self.check()
        await bell.wait(timeout_s)
        self.check()

    async def nap(self, seconds: float) -> None:
        """Sleep.

        Raises:
            StoppingError: The broker is going down.
        """
        await self.wait(self._naps, seconds)

    def hang_up(self) -> None:
        """End all streams, now and from now on."""
        self._stopping = True
        for bell in self._bells:
            bell.ring()
