"""Waiting for allocations to become ACTIVE (or to end), each caller for so long as it likes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from computepool_broker.model.records import Allocation, AllocationState

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    async def newest(self, waiting: Mapping[str, Waiter], wait_s: float) -> dict[str, Allocation]:
        """Wait up to `wait_s` seconds for all; the newest durable states, by id."""
        if not waiting:
            return {}
        await asyncio.wait(waiting.values(), timeout=wait_s)
        if not all(waiter.done() and not waiter.cancelled() for waiter in waiting.values()):
            return await self._pool.committer.submit(lambda _: self._read(waiting))
        return {key: waiter.result() for key, waiter in waiting.items()}

    def _read(self, waiting: Mapping[str, Waiter]) -> dict[str, Allocation]:
        allocations = self._pool.state.allocations
        return {key: allocations[key] for key in waiting if key in allocations}

    def forget(self, waiting: Mapping[str, Waiter]) -> None:
        """Wait no longer, for whatever reason."""
        waiters = self._pool.waiters
        for key, waiter in waiting.items():
            there = waiters.get(key)
            if there is not None and waiter in there:
                there.remove(waiter)
                if not there:
                    del waiters[key]
