"""Creating, reading, renewing and releasing allocations, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.services.levels import Level, unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.model.records import Allocation
    from computepool_broker.services.grants import Create, Granted, Grants
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.waits import Waiter, Waits

    Stage = Callable[[Transaction], Outcome]


class AllocationService:
    """What a client can do to one allocation."""

    def __init__(self, pool: Pool, grants: Grants, waits: Waits) -> None:
        self._pool = pool
        self._grants = grants
        self._waits = waits

    async def create(self, call: Create, wait_s: float, level: Level = Level.COMMITTED) -> Granted:
        """Grant, and wait up to `wait_s` seconds for ACTIVE (0: answer when it is at the level).

        Raises:
            NotAcknowledgedError: The level was not reached in time.
            PoolError: As Grants.create.
        """
        if wait_s <= 0 and level is not Level.CONFIRMED:
            return await self._pool.committer.submit(
                lambda stage: self._grants.create(stage, call), call.weight, level
            )
        waiting: dict[str, Waiter] = {}

        def job(stage: Stage) -> Granted:
            made = self._grants.create(stage, call)
            self._waits.expect(made.allocation, waiting)
            return made

        try:
            made = await self._pool.committer.submit(job, call.weight, level.at_store)
            [reached] = await self._waits.reached([made], waiting, wait_s, level)
        finally:
            self._waits.forget(waiting)
        missed = unconfirmed(reached.allocation, wait_s) if level is Level.CONFIRMED else None
        if missed is not None:
            raise missed
        return reached

    async def get(self, allocation_id: str) -> Allocation:
        """The allocation as it durably is.

        Raises:
            NotFoundError: There is none, or it ended more than an hour ago.
        """
        return await self._pool.committer.submit(lambda _: self._grants.find(allocation_id))

    async def renew(self, allocation_id: str, etag: str, ttl_s: int) -> Allocation:
        """Start the TTL anew, with another length unless `ttl_s` is 0.

        Raises:
            PoolError: As Grants.renew.
        """
        return await self._pool.committer.submit(
            lambda stage: self._grants.renew(stage, allocation_id, etag, ttl_s)
        )

    async def release(
        self, allocation_id: str, etag: str, message: str, level: Level = Level.COMMITTED
    ) -> Allocation:
        """End it for its tenant; idempotent.

        Raises:
            NotAcknowledgedError: The level, COMMITTED or DURABLE, was not reached in time.
            PoolError: As Grants.release.
        """
        return await self._pool.committer.submit(
            lambda stage: self._grants.release(stage, allocation_id, etag, message), 1, level
        )
