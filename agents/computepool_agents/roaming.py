"""A connection that finds a broker by itself, and another one when that fails.

May import link, brokers, the clock's interface and the generated protos.

                    answered
    OUT ──open──> an address ──────────────> IN SESSION <──┐ reports, rings: one broker,
     ^             │                          │      │     │ the one that opened the session
     │  it failed: │                          │      └─────┘
     └─────────────┘     it does not answer,  │
     ^    the next       another is known     │ stale: the same broker first
     └────────────────────────────────────────┘

With one address there is nowhere to go: a failed call is only tried again, in its session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from computepool_agents.brokers import rank
from computepool_agents.link import (
    BrokerLostError,
    LinkError,
    RetryableError,
    SessionStaleError,
    UnservedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from structlog.typing import FilteringBoundLogger

    from computepool.v1 import agent_pb2 as agent
    from computepool_agents.brokers import Directory
    from computepool_agents.clock import Clock
    from computepool_agents.link import Answer, Link

SKIP_S = 5.0
"""A broker that failed is asked after all others for so long."""
PATIENCE_S = 2.0
"""A broker that says that it cannot serve now keeps its session for so long: often none can,
since they share a store, and a session costs a whole report."""
GONE = frozenset({"UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "UNKNOWN", "STOPPING"})
"""Reasons for which waiting is no use: gRPC's own, or the broker's good-bye."""


class Lines(Protocol):
    """Connections by address, shared by the agents of a process."""

    def take(self, address: str) -> Link:
        """Give the connection to an address, to be given back."""

    async def give_back(self, address: str) -> None:
        """Need it no more; nobody's is closed."""


class Roaming:
    """One agent's Link to whichever broker serves it."""

    def __init__(
        self, name: str, directory: Directory, lines: Lines, clock: Clock, log: FilteringBoundLogger
    ) -> None:
        self._name = name
        self._directory = directory
        self._lines = lines
        self._clock = clock
        self._log = log
        self._at = self._told = ""
        self._line: Link | None = None
        self._served = False
        self._failing_since_s: float | None = None
        self._failed_s: dict[str, float] = {}

    async def open(self, request: agent.OpenSessionRequest) -> agent.OpenSessionResponse:
        """Begin a session with the broker that is next; see Link.

        Raises:
            BrokerLostError: It failed, and there are others: the next session goes to one of them.
        """
        line = await self._go_to(await self._next())
        self._served, self._failing_since_s = False, None
        try:
            opened = await line.open(request)
        except RetryableError as error:
            self._failed_s[self._at] = self._now_s()
            await self._leave(error)
            raise
        if self._at != self._told:
            self._told = self._at
            self._log.info("broker found", broker=self._at)
        return opened

    async def report(self, parts: Sequence[agent.SyncRequest]) -> list[Answer]:
        """Deliver a report to the session's broker; see Link."""
        try:
            answers = await self._session().report(parts)
        except SessionStaleError:
            if not self._served:  # it opens sessions and does not keep them
                self._failed_s[self._at] = self._now_s()
            raise
        except UnservedError as error:
            if not self._may_recover(error):
                await self._leave(error)
            raise
        self._served, self._failing_since_s = True, None
        return answers

    async def doorbell(self, request: agent.WatchCommandsRequest) -> AsyncIterator[int]:
        """Wait for rings of the session's broker; see Link."""
        try:
            async for revision in self._session().doorbell(request):
                yield revision
        except UnservedError as error:
            if not self._may_recover(error):
                await self._leave(error)
            raise

    async def close(self, request: agent.CloseSessionRequest) -> None:
        """Say good-bye to the session's broker; see Link."""
        await self._session().close(request)

    def _session(self) -> Link:
        if self._line is None:
            raise RetryableError("NO_SESSION", "no broker has opened a session yet")
        return self._line

    def _now_s(self) -> float:
        return self._clock.now().at_s

    def _may_recover(self, error: LinkError) -> bool:
        now_s = self._now_s()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        return error.reason not in GONE and now_s - self._failing_since_s < PATIENCE_S

    async def _leave(self, error: RetryableError) -> None:
        """Give the session up, if there is another broker to go to."""
        left = self._at
        others = [each for each in await self._directory.addresses() if each != left]
        if others:
            self._failed_s[left] = self._now_s()
            raise BrokerLostError(error.reason, f"{left}: {error.message}") from error

    async def _next(self) -> str:
        known = await self._directory.addresses()
        if not known:
            raise RetryableError("NO_ADDRESS", "no name of a broker has an address")
        now_s = self._now_s()
        self._failed_s = {
            each: at_s
            for each, at_s in self._failed_s.items()
            if each in known and now_s - at_s < SKIP_S
        }

        def order(address: str) -> tuple[float, bool, bytes]:
            # Who failed comes last, longest ago first; a working one is stayed with.
            failed_s = self._failed_s.get(address, float("-inf"))
            return failed_s, address != self._at, rank(self._name, address)

        return min(known, key=order)

    async def _go_to(self, address: str) -> Link:
        if self._line is None or address != self._at:
            left, self._at = self._at if self._line is not None else "", address
            self._line = self._lines.take(address)
            if left:
                await self._lines.give_back(left)
        return self._line
