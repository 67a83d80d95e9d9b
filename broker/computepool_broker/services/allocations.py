"""Creating, renewing and releasing allocations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.errors import (
    EtagMismatchError,
    LeaseEndedError,
    NoRoomError,
    NotFoundError,
    OutcomeUnknownError,
    RequestIdReusedError,
    WarmingUpError,
)
from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.transaction import Committed
from computepool_broker.model.records import (
    LIVE_STATES,
    Allocation,
    AllocationState,
    EndReason,
)
from computepool_broker.model.request import digest_of
from computepool_broker.placement.explain import HARD, explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.model.refusal import Refusal
    from computepool_broker.model.request import Spec
    from computepool_broker.placement.planner import Place
    from computepool_broker.services.ids import AllocationIds
    from computepool_broker.services.pool import Pool

    Stage = Callable[[Transaction], Outcome]

RETRY_SOON_MS = 2_000
"""Retry hint when room may come back with the next release."""
RETRY_LATE_MS = 60_000
"""Retry hint when only the pool's make-up can change the answer."""


class Create(NamedTuple):
    """A validated CreateAllocation."""

    tenant: str
    request_id: str
    spec: Spec
    description: str = ""
    labels: tuple[tuple[str, str], ...] = ()


class AllocationService:
    """What a client can do to allocations."""

    def __init__(self, pool: Pool, ids: AllocationIds) -> None:
        self._pool = pool
        self._ids = ids

    async def create(self, call: Create, wait_s: float) -> tuple[Allocation, bool]:
        """Grant, and wait up to `wait_s` seconds for ACTIVE (0: answer when durable).

        Returns:
            The allocation, and whether an earlier call with the request_id had made it.

        Raises:
            NoRoomError: Refused, with the reasons.
            WarmingUpError: Refused now, but agents are still expected back.
            RequestIdReusedError: The request_id has other content.
            OutcomeUnknownError: The store failed.
        """
        waiter: asyncio.Future[Allocation] = asyncio.get_running_loop().create_future()

        def job(stage: Stage) -> tuple[Allocation, bool]:
            made = self._create(stage, call)
            if wait_s > 0 and made[0].state is AllocationState.RESERVED:
                # Here, not when this is durable: by then ACTIVE may be so too, and be missed.
                self._pool.waiters.setdefault(made[0].id, []).append(waiter)
            return made

        allocation, duplicate = await self._pool.committer.submit(job)
        if wait_s > 0 and allocation.state is AllocationState.RESERVED:
            allocation = await self._wait_active(allocation, waiter, wait_s)
        return allocation, duplicate

    def _create(self, stage: Stage, call: Create) -> tuple[Allocation, bool]:
        pool = self._pool
        state = pool.state
        digest = b""
        if call.request_id:
            digest = digest_of(call.spec, call.description, call.labels)
            known = state.request_ids.get((call.tenant, call.request_id))
            if known is not None:
                return self._duplicate(state.allocations[known], digest), True
        places, placeable = pool.planner.plan(call.spec.shape, call.spec.parts)
        if not places:
            raise self._refused(call.spec, placeable)
        wall_ms = pool.wall_ms()
        draft = Allocation(
            self._ids.next(wall_ms),
            call.tenant,
            call.request_id,
            digest,
            call.spec,
            (),
            wall_ms,
            call.description,
            call.labels,
        )
        outcome = stage(lifecycle.grant(state, draft, places))
        if not isinstance(outcome, Committed):
            raise OutcomeUnknownError(f"the plan was rejected: {outcome}", retry_after_ms=50)
        pool.start_clocks(draft)
        pool.grants += 1
        return draft, False

    def _duplicate(self, known: Allocation, digest: bytes) -> Allocation:
        if known.digest != digest:
            raise RequestIdReusedError(
                f"request_id {known.request_id!r} was used for another request",
                metadata={"allocation_id": known.id},
            )
        return known

    def _refused(self, spec: Spec, placeable: int) -> NoRoomError | WarmingUpError:
        pool = self._pool
        pool.refusals += 1
        if pool.warming_up:
            return WarmingUpError(
                f"{len(pool.expected_agents)} agents have yet to report since the broker's start",
                retry_after_ms=1000,
            )
        refusal = self.explain(spec, placeable)
        # Without a center the first agents have yet to come.
        soon = not refusal.centers or any(c.reason not in HARD for c in refusal.centers)
        return NoRoomError(refusal, retry_after_ms=RETRY_SOON_MS if soon else RETRY_LATE_MS)

    def explain(self, spec: Spec, placeable: int) -> Refusal:
        """Why there is no room, as of now."""
        pool = self._pool
        ages = pool.center_ages_ms()
        return explain(
            pool.columns, spec.shape, spec.parts, placeable, lambda center: ages.get(center, 0)
        )

    async def _wait_active(
        self, allocation: Allocation, waiter: asyncio.Future[Allocation], wait_s: float
    ) -> Allocation:
        try:
            async with asyncio.timeout(wait_s):
                return await waiter
        except TimeoutError:
            return await self.get(allocation.id)
        finally:
            waiters = self._pool.waiters.get(allocation.id, [])
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._pool.waiters[allocation.id]

    async def preview(self, spec: Spec) -> tuple[list[Place], Refusal | None, int]:
        """Places, or the refusal; and the view's revision. Changes nothing."""

        def job(_: Stage) -> tuple[list[Place], Refusal | None, int]:
            places, placeable = self._pool.planner.plan(spec.shape, spec.parts)
            refusal = None if places else self.explain(spec, placeable)
            return places, refusal, self._pool.columns.version

        return await self._pool.committer.submit(job)

    async def get(self, allocation_id: str) -> Allocation:
        """The allocation as it durably is.

        Raises:
            NotFoundError: There is none, or it ended more than an hour ago.
        """
        return await self._pool.committer.submit(lambda _: self._find(allocation_id))

    async def page(
        self, after: str, size: int, tenant: str, *, ended: bool
    ) -> tuple[list[Allocation], bool]:
        """Allocations with an id above `after`, by id; and whether more follow."""

        def job(_: Stage) -> tuple[list[Allocation], bool]:
            rows: list[Allocation] = []
            state = self._pool.state
            for key in state.allocation_ids.after(after):
                a = state.allocations.get(key)
                if a is None or (tenant and a.tenant != tenant):
                    continue
                if ended or a.state is not AllocationState.ENDED:
                    if len(rows) == size:
                        return rows, True
                    rows.append(a)
            return rows, False

        return await self._pool.committer.submit(job)

    async def renew(self, allocation_id: str, etag: str, ttl_s: int) -> Allocation:
        """Start the TTL anew, with another length unless `ttl_s` is 0.

        Raises:
            NotFoundError: There is none.
            LeaseEndedError: It has ended, and how.
            EtagMismatchError: It is not as the caller saw it.
        """

        def job(stage: Stage) -> Allocation:
            pool = self._pool
            allocation = self._find(allocation_id)
            if allocation.state not in LIVE_STATES:
                raise LeaseEndedError(
                    f"{allocation_id} has ended: {allocation.end_reason.name}",
                    metadata={"end_reason": allocation.end_reason.name},
                )
            _check_etag(allocation, etag)
            ttl = ttl_s or allocation.spec.ttl_s
            tx = lifecycle.change_spec_ttl(pool.state, allocation, ttl)
            if tx is not None:
                stage(tx)
            pool.ttl.set(allocation_id, pool.clock.now_ms + ttl * 1000)
            return pool.state.allocations[allocation_id]

        return await self._pool.committer.submit(job)

    async def release(self, allocation_id: str, etag: str, message: str) -> Allocation:
        """End it for its tenant; idempotent.

        Raises:
            NotFoundError: There is none.
            EtagMismatchError: It is not as the caller saw it.
        """

        def job(stage: Stage) -> Allocation:
            state = self._pool.state
            allocation = self._find(allocation_id)
            if allocation.state in LIVE_STATES:
                _check_etag(allocation, etag)
            tx = lifecycle.end(state, allocation, EndReason.RELEASED, message)
            if tx is not None:
                stage(tx)
            return state.allocations[allocation_id]

        return await self._pool.committer.submit(job)

    def _find(self, allocation_id: str) -> Allocation:
        allocation = self._pool.state.allocations.get(allocation_id)
        if allocation is None:
            raise NotFoundError(
                f"no allocation {allocation_id!r}", metadata={"allocation_id": allocation_id}
            )
        return allocation


def _check_etag(allocation: Allocation, etag: str) -> None:
    if etag and etag != allocation.etag:
        raise EtagMismatchError(f"{allocation.id} has changed", metadata={"etag": allocation.etag})
