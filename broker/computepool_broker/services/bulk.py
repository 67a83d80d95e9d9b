"""Many allocations in one call.

Batches whose members stand for themselves go to the writer in slices, so that a large one does
not hold up everybody else; an atomic one is one job and one commit.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from computepool_broker.errors import PoolError
from computepool_broker.services.grants import Granted
from computepool_broker.services.levels import Level, unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.services.grants import Create, Grants
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.waits import Waiter, Waits

    Stage = Callable[[Transaction], Outcome]

T = TypeVar("T")
R = TypeVar("R")
SLICE_PARTS = 128
"""Parts granted in one job, about: some 5 ms."""
SLICE_RENEWALS = 1_000
RENEWALS_PER_GRANT = 16
"""A renewal costs so much less than a grant, and a release about half of one."""
SLICE_RELEASES = 250


class BulkService:
    """Batches of creates, renewals and releases."""

    def __init__(self, pool: Pool, grants: Grants, waits: Waits) -> None:
        self._pool = pool
        self._grants = grants
        self._waits = waits

    async def create_each(
        self, calls: Sequence[Create], wait_s: float, level: Level = Level.COMMITTED
    ) -> list[Granted | PoolError]:
        """Grant each request by itself; wait up to `wait_s` seconds for all to be ACTIVE.

        What does not reach the level in time is a NotAcknowledgedError among the results.

        Raises:
            NotAcknowledgedError: At CONFIRMED: none of what was granted could be looked at.
        """
        waiting: dict[str, Waiter] = {}

        def some(stage: Stage, part: Sequence[Create]) -> list[Granted | PoolError]:
            made = self._grants.create_each(stage, part)
            if wait_s > 0:
                for each in made:
                    if isinstance(each, Granted):
                        self._waits.expect(each.allocation, waiting)
            return made

        try:
            made = await self._in_slices(_by_parts(calls), some, _parts, level.at_store)
            granted = [each for each in made if isinstance(each, Granted)]
            reached = iter(await self._waits.reached(granted, waiting, wait_s, level))
        finally:
            self._waits.forget(waiting)
        return [
            _or_missed(next(reached), wait_s, level) if isinstance(each, Granted) else each
            for each in made
        ]

    async def create_all(
        self, calls: Sequence[Create], wait_s: float, level: Level = Level.COMMITTED
    ) -> list[Granted]:
        """Grant all requests, or none; wait up to `wait_s` seconds for all to be ACTIVE.

        Raises:
            NotAcknowledgedError: The level was not reached in time.
            PoolError: As one create; metadata "index" says for which request.
        """
        waiting: dict[str, Waiter] = {}

        def job(stage: Stage) -> list[Granted]:
            made = self._grants.create_all(stage, calls)
            if wait_s > 0:
                for each in made:
                    self._waits.expect(each.allocation, waiting)
            return made

        try:
            made = await self._pool.committer.submit(job, _parts(calls), level.at_store)
            reached = await self._waits.reached(made, waiting, wait_s, level)
        finally:
            self._waits.forget(waiting)
        for index, each in enumerate(reached):
            missed = _or_missed(each, wait_s, level)
            if isinstance(missed, PoolError):
                missed.metadata["index"] = str(index)
                raise missed
        return reached

    async def renew(self, ids: Sequence[str], ttl_s: int) -> list[PoolError | None]:
        """Start the TTL of each anew; what went wrong, in the order of `ids`."""
        slices = _even(ids, SLICE_RENEWALS)
        done = await self._in_slices(
            slices,
            _each(lambda stage, key: self._grants.renew(stage, key, "", ttl_s)),
            lambda part: len(part) // RENEWALS_PER_GRANT,
        )
        return [each if isinstance(each, PoolError) else None for each in done]

    async def release(
        self, ids: Sequence[str], message: str, level: Level = Level.COMMITTED
    ) -> list[PoolError | None]:
        """End each for its tenant; what went wrong, in the order of `ids`."""
        done = await self._in_slices(
            _even(ids, SLICE_RELEASES),
            _each(lambda stage, key: self._grants.release(stage, key, "", message)),
            lambda part: len(part) // 2,
            level,
        )
        return [each if isinstance(each, PoolError) else None for each in done]

    async def _in_slices(
        self,
        slices: Sequence[Sequence[T]],
        some: Callable[[Stage, Sequence[T]], list[R | PoolError]],
        weight: Callable[[Sequence[T]], int],
        level: Level = Level.COMMITTED,
    ) -> list[R | PoolError]:
        """Do something slice by slice; what came of each, in order."""

        def job_of(part: Sequence[T]) -> Callable[[Stage], list[R | PoolError]]:
            return lambda stage: some(stage, part)

        jobs = [self._submitted(job_of(part), max(1, weight(part)), level) for part in slices]
        out: list[R | PoolError] = []
        for part, done in zip(
            slices, await asyncio.gather(*jobs, return_exceptions=True), strict=True
        ):
            if isinstance(done, PoolError):
                out += [done] * len(part)
            elif isinstance(done, BaseException):
                raise done
            else:
                out += done
        return out

    def _submitted(self, job: Callable[[Stage], R], weight: int, level: Level) -> asyncio.Future[R]:
        try:
            return self._pool.committer.submit(job, weight, level)
        except PoolError as error:
            # Of this slice alone: those before it are on their way.
            refused: asyncio.Future[R] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused


def _or_missed(made: Granted, wait_s: float, level: Level) -> Granted | PoolError:
    """The grant, or why it is not at the level."""
    missed = unconfirmed(made.allocation, wait_s) if level is Level.CONFIRMED else None
    return made if missed is None else missed


def _each(
    one: Callable[[Stage, T], R],
) -> Callable[[Stage, Sequence[T]], list[R | PoolError]]:
    """Doing one thing for each; an error is what came of that one."""

    def tried(stage: Stage, what: T) -> R | PoolError:
        try:
            return one(stage, what)
        except PoolError as error:
            return error

    return lambda stage, part: [tried(stage, each) for each in part]


def _parts(calls: Sequence[Create]) -> int:
    return sum(call.weight for call in calls)


def _by_parts(calls: Sequence[Create]) -> list[Sequence[Create]]:
    slices: list[Sequence[Create]] = []
    start = parts = 0
    for at, call in enumerate(calls):
        if parts and parts + call.weight > SLICE_PARTS:
            slices.append(calls[start:at])
            start, parts = at, 0
        parts += call.weight
    slices.append(calls[start:])
    return slices


def _even(values: Sequence[T], size: int) -> list[Sequence[T]]:
    return [values[at : at + size] for at in range(0, len(values), size)]
