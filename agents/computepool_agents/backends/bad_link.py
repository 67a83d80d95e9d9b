"""A connection that misbehaves as its switches say; around a real one.

May import misbehave and link. For simulated agents only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from computepool_agents.link import RetryableError
from computepool_agents.misbehave import Kind

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Sequence

    from computepool.v1 import agent_pb2 as agent
    from computepool_agents.link import Answer, Link
    from computepool_agents.misbehave import Switch


class BadLink:
    """Keeps silent, slows, doubles and delays what goes over a link."""

    def __init__(
        self,
        link: Link,
        switches: Sequence[Switch],
        elapsed_s: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._link = link
        self._switches = switches
        self._elapsed_s = elapsed_s
        self._rng = rng
        self._withheld: list[Answer] = []

    async def open(self, request: agent.OpenSessionRequest) -> agent.OpenSessionResponse:
        """Begin a session, unless silent."""
        self._fail_if_silent()
        self._withheld.clear()
        return await self._link.open(request)

    async def report(self, parts: Sequence[agent.SyncRequest]) -> list[Answer]:
        """Deliver a report once or twice, its answer at once, later, or after the next one."""
        self._fail_if_silent()
        answers = await self._link.report(parts)
        if self._draw(Kind.DOUBLE):
            answers = await self._link.report(parts)
        slow = self._draw(Kind.SLOW)
        if slow is not None:
            await asyncio.sleep(slow.delay_s)
        self._fail_if_silent()
        if not self._withheld and self._draw(Kind.LATE):
            self._withheld = answers
            raise RetryableError("INJECTED", "the answer is late")
        answers, self._withheld = [*answers, *self._withheld], []
        return answers

    async def doorbell(self, request: agent.WatchCommandsRequest) -> AsyncIterator[int]:
        """Pass rings on; one that comes in silence goes unheard, as behind a cut cable."""
        self._fail_if_silent()
        async for revision in self._link.doorbell(request):
            if self._on(Kind.SILENCE) is None:
                yield revision

    async def close(self, request: agent.CloseSessionRequest) -> None:
        """Say good-bye, unless silent."""
        self._fail_if_silent()
        await self._link.close(request)

    def _fail_if_silent(self) -> None:
        if self._on(Kind.SILENCE):
            raise RetryableError("INJECTED", "silent")

    def _on(self, kind: Kind) -> Switch | None:
        """Find the switch of a kind that is on now."""
        now_s = self._elapsed_s()
        return next((s for s in self._switches if s.kind is kind and s.is_on(now_s)), None)

    def _draw(self, kind: Kind) -> Switch | None:
        """Find the switch of a kind that is on now and strikes this time."""
        switch = self._on(kind)
        return switch if switch and self._rng.random() < switch.p else None
