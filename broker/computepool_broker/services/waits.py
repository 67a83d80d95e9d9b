"""Waiting for allocations to become ACTIVE (or to end), each caller for so long as it likes.

Whoever wants it confirmed looks again when the wait is over, at what is durable by then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from computepool_broker.errors import NotAcknowledgedError, PoolError
from computepool_broker.model.records import Allocation, AllocationState
from computepool_broker.services.levels import ASK_AGAIN_MS, Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from computepool_broker.services.grants import Granted
    from computepool_broker.services.pool import Pool

    Waiter = asyncio.Future[Allocation]


class Waits:
    """Waiters by allocation: `Pool.on_durable` wakes them when one is no longer RESERVED."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._over = False

    def hang_up(self) -> None:
        """Let nobody wait any longer: no agent reports to a broker that stops.

        Who waits is answered with the state reached.
        """
        self._over = True
        for waiters in self._pool.waiters.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.cancel()

    def expect(self, allocation: Allocation, waiting: dict[str, Waiter]) -> None:
        """Add a waiter to `waiting`, unless there is nothing to wait for.

        To be called in the job that makes the allocation, not when that is durable: by then
        ACTIVE may be so too, and be missed.
        """
        if self._over or allocation.state is not AllocationState.RESERVED:
            return
        if allocation.id not in waiting:
            waiter: Waiter = asyncio.get_running_loop().create_future()
            waiting[allocation.id] = waiter
            self._pool.waiters.setdefault(allocation.id, []).append(waiter)

    async def reached(
        self, made: Sequence[Granted], waiting: dict[str, Waiter], wait_s: float, level: Level
    ) -> list[Granted]:
        """Wait up to `wait_s` seconds for all that is in `waiting`; the grants as they are then.

        At CONFIRMED one can still be RESERVED, and is not confirmed.

        Raises:
            NotAcknowledgedError: At CONFIRMED: what was granted could not be looked at.
        """
        ids = {each.allocation.id for each in made}
        if waiting.keys() - ids:  # of a run of the job that was not the last
            strays = {key: waiting.pop(key) for key in waiting.keys() - ids}
            self.forget(strays)
        if level is Level.CONFIRMED and made:
            newest = await self._durably(ids, waiting, wait_s)
        else:
            newest = await self.newest(waiting, wait_s)
        if not newest:
            return list(made)
        return [
            each._replace(allocation=newest.get(each.allocation.id, each.allocation))
            for each in made
        ]

    async def _durably(
        self, ids: Iterable[str], waiting: Mapping[str, Waiter], wait_s: float
    ) -> dict[str, Allocation]:
        """As `newest`, of all these ids, and durable: the grant and what the agents have said."""
        if waiting:
            await asyncio.wait(waiting.values(), timeout=max(0.0, wait_s))
        try:
            return await self._pool.committer.submit(lambda _: self._read(ids), 1, Level.DURABLE)
        except PoolError as error:
            raise NotAcknowledgedError(
                f"granted, but whether it is confirmed could not be looked at ({error}); retry "
                "with the same request_id",
                metadata={"ack_level": Level.CONFIRMED.name},
                retry_after_ms=ASK_AGAIN_MS
                if error.retry_after_ms is None
                else error.retry_after_ms,
            ) from error

    async def newest(self, waiting: Mapping[str, Waiter], wait_s: float) -> dict[str, Allocation]:
        """Wait up to `wait_s` seconds for all; the newest durable states, by id."""
        if not waiting:
            return {}
        await asyncio.wait(waiting.values(), timeout=wait_s)
        if not all(waiter.done() and not waiter.cancelled() for waiter in waiting.values()):
            return await self._pool.committer.submit(lambda _: self._read(waiting))
        return {key: waiter.result() for key, waiter in waiting.items()}

    def _read(self, ids: Iterable[str]) -> dict[str, Allocation]:
        allocations = self._pool.state.allocations
        return {key: allocations[key] for key in ids if key in allocations}

    def forget(self, waiting: Mapping[str, Waiter]) -> None:
        """Wait no longer, for whatever reason."""
        waiters = self._pool.waiters
        for key, waiter in waiting.items():
            there = waiters.get(key)
            if there is not None and waiter in there:
                there.remove(waiter)
                if not there:
                    del waiters[key]
