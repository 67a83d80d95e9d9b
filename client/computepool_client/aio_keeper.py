"""Keeps, renews and gives back the leases of one `AsyncPool`; the twin of `keeper` and `renewer`.

For one event loop. Giving back goes on when whoever waits for it is cancelled: the
work is a task of its own, which closing the pool waits for.
"""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from math import inf
from typing import Any, TypeVar

from computepool_client import calls, errors, held
from computepool_client.aio_engine import AsyncEngine
from computepool_client.asking import Order, StoreAck
from computepool_client.held import Tenure
from computepool_client.renewal import Renewals, settle
from computepool_client.values import Allocation

T = TypeVar("T")


class AsyncKeeper:
    """What leases need of their pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._plan = Renewals(random.random)
        self._kept: dict[str, Tenure] = {}
        self._changed = asyncio.Event()
        self._wake_s = -inf
        self._renewer: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def keep(self, tenure: Tenure) -> None:
        """Renews it until it is released; once is enough."""
        tenure.check()
        if self._closed:
            raise errors.ClosedError(errors.CLOSED, "CLOSED")
        if tenure.id not in self._kept:
            self._kept[tenure.id] = tenure
            self._plan_for(tenure)
        if self._renewer is None or self._renewer.done():
            self._renewer = asyncio.get_running_loop().create_task(self._renew_for_ever())

    async def renew(self, tenure: Tenure, ttl_s: int) -> Allocation:
        """Makes its time start anew; see `AsyncLease.renew`."""
        tenure.check()
        began_s = self.engine.clock()
        try:
            allocation, sent_s = await self.engine.run_timed(calls.renew(tenure.id, ttl_s))
        except BaseException as error:  # an interrupt too
            if isinstance(error, errors.PoolError) and error.reason in calls.ENDED:
                raise tenure.refused(error) from error
            tenure.doubted(error, began_s, ttl_s)
            self._plan_anew(tenure)
            raise
        tenure.renewed(sent_s, float(allocation.spec.ttl_s))
        self._plan_anew(tenure)
        return allocation

    async def release(self, tenure: Tenure, message: str, ack: StoreAck | None) -> Allocation:
        """Gives it back; see `AsyncLease.release`."""
        tenure.check_ours()
        self._drop(tenure.id)
        allocation = await self.engine.run(calls.release(tenure.id, message, ack))
        tenure.released = True
        return allocation

    async def release_many(self, tenures: Sequence[Tenure]) -> list[errors.PoolError]:
        """Gives back what is left of these; what could not be."""
        return await self._to_the_end(self._release_many(tenures))

    async def abandon(self, orders: Sequence[Order], error: BaseException) -> None:
        """Nobody will ever ask for what these may have been granted; see `Keeper.abandon`."""
        granted = held.granted_to(orders, error)
        if granted or (orders and not held.surely_not_granted(error)):
            work = self._abandon(orders, granted)
            if isinstance(error, errors.PoolError):
                await self._to_the_end(work)
            else:
                self._spawn(work)  # who was cancelled is not kept waiting

    async def leave(self, tenures: Sequence[Tenure], *, told: bool) -> None:
        """The end of a block that held these; see `Keeper.leave`."""
        if any(tenure.forked for tenure in tenures):
            return
        for error in await self.release_many(tenures):
            held.log.warning("a lease was not released, it ends with its TTL: %s", error)
        if not told:
            for tenure in tenures:
                tenure.check_lost()

    async def close(self) -> None:
        """Releases what is kept, waits for what is on its way, and ends the connection."""
        self._closed = True
        if not self.engine.ours:
            return
        if self._renewer is not None:
            self._renewer.cancel()
            await asyncio.gather(self._renewer, return_exceptions=True)
        try:
            await self.leave(list(self._kept.values()), told=True)
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            await self.engine.close()

    def _plan_anew(self, tenure: Tenure) -> None:
        if tenure.id in self._kept:
            self._plan_for(tenure)

    def _plan_for(self, tenure: Tenure) -> None:
        due_s = self._plan.keep(tenure.id, tenure.ttl_s, tenure.valid_until_s, self.engine.clock())
        if due_s < self._wake_s:  # else it would look at thousands for nothing
            self._changed.set()

    def _drop(self, id_: str) -> None:
        self._kept.pop(id_, None)
        self._plan.drop(id_)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.shield(self._spawn(work))

    async def _release_many(self, tenures: Sequence[Tenure]) -> list[errors.PoolError]:
        for tenure in tenures:
            tenure.check_ours()
        still = {tenure.id: tenure for tenure in tenures if not tenure.ended}
        for id_ in still:
            self._drop(id_)
        failed: list[errors.PoolError] = []
        over_s = self.engine.clock() + held.RELEASE_S
        for some in calls.slices(list(still), calls.MOST_RELEASES):
            try:
                failures = await self.engine.run(
                    calls.release_many(some), over_s - self.engine.clock()
                )
            except errors.PoolError as error:
                failures = dict.fromkeys(some, error)
            failed += held.sorted_out(still, some, failures)
        return failed

    async def _abandon(self, orders: Sequence[Order], granted: list[Allocation]) -> None:
        try:
            if not granted:
                again = calls.create_many(orders, "reserved", atomic=False)
                results = await self.engine.run(again, held.ABANDON_S)
                made, _ = calls.parted(results)
                granted = [each.allocation for each in made]
            if granted:  # else it was refused
                back = calls.release_many([each.id for each in granted])
                await self.engine.run(back, held.ABANDON_S)
        except errors.PoolError as failure:
            held.log.warning("a grant was not given back, it ends with its TTL: %s", failure)

    async def _renew_for_ever(self) -> None:
        while True:
            now_s = self.engine.clock()
            for id_ in self._plan.lost(now_s):
                self._kept.pop(id_).time_over()
            due = self._plan.due(now_s)
            if not due:
                await self._wait(now_s)
                continue
            try:
                await self._renew(due, self._plan.call_s(now_s))
            except Exception:  # noqa: BLE001 - a bug must not end the renewal of all others
                held.log.exception("renewing failed")
                self._plan.failed(self.engine.clock(), None)

    async def _wait(self, now_s: float) -> None:
        """Waits until there is something to tell or to renew."""
        self._changed.clear()
        wake_s = self._plan.wake_s()
        self._wake_s = inf if wake_s is None else wake_s
        try:
            async with asyncio.timeout(None if wake_s is None else max(0.0, wake_s - now_s)):
                await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            self._wake_s = -inf

    async def _renew(self, ids: list[str], call_s: float) -> None:
        try:
            answer = await self.engine.run_timed(calls.renew_many(ids), call_s)
        except errors.PoolError as error:
            self._plan.failed(self.engine.clock(), error.retry_after_s)
            return
        for tenure, why in settle(self._plan, self._kept, ids, answer, self.engine.clock()):
            tenure.refused(why)
