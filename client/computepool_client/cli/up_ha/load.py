"""A load like that of real tenants: allocations made, renewed and given back through the SDK."""

import asyncio
import random
import time
from collections import deque
from typing import Any, Final, Self

from computepool_client import AsyncPool, errors
from computepool_client.cli.up_ha.book import Book, Held
from computepool_client.values import Allocation

TENANT: Final = "up-ha"
_WORKERS: Final = 8
_TTL_S: Final = 600
# Each worker holds about so many; together they are what could be lost.
_HELD: Final = 25
_CALL_S: Final = 3.0
# After a failure; the SDK itself has tried for longer.
_PAUSE_S: Final = 0.1
_WANTED: Final[tuple[dict[str, Any], ...]] = (
    {"gpus": 1},
    {"gpus": 2},
    {"gpus": 4},
    {"gpus": 2, "count": 3},
    {"gpu_share": 0.25},
    {"gpu_share": 0.5},
    {"cpu": 2, "memory": "4GiB"},
    {"memory": "1MiB", "region": "local"},
)


class Load:
    """Workers that share the brokers between them; use it in an `async with` statement.

    Args:
        rate: calls a second, all workers together.
        run: names this run in its request ids.
    """

    def __init__(self, endpoints: list[str], book: Book, rate: float, run: str) -> None:
        self._book = book
        self._turn_s = _WORKERS / rate
        self._run = run
        # Each half of the workers asks another broker first.
        turned = [endpoints[n % len(endpoints) :] + endpoints[: n % len(endpoints)] for n in (0, 1)]
        self._pools = [AsyncPool(",".join(each), timeout=_CALL_S) for each in turned]
        self._asked = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work(n)) for n in range(_WORKERS)]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pool in self._pools:
            await pool.close()

    def check(self) -> None:
        """Raises what a worker failed with: a bug, since failed calls are noted instead."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def release(self, id_: str) -> None:
        """Gives one back that is not held: it came back with a store, or its answer was lost."""
        await self._release(self._pools[0], id_)

    async def _work(self, number: int) -> None:
        rng = random.Random(f"{self._run}:{number}")  # noqa: S311 - no secret
        pool = self._pools[number % len(self._pools)]
        mine: deque[str] = deque()
        await asyncio.sleep(rng.random() * self._turn_s)
        turn_s = time.monotonic()
        while True:
            await self._turn(pool, rng, mine)
            turn_s = max(turn_s + self._turn_s, time.monotonic())
            await asyncio.sleep(turn_s - time.monotonic())

    async def _turn(self, pool: AsyncPool, rng: random.Random, mine: deque[str]) -> None:
        """One call: more where little is held, else a renewal or a release."""
        if rng.random() * 2 * _HELD > len(mine):
            id_ = await self._create(pool, rng.choice(_WANTED))
            if id_:
                mine.append(id_)
        elif rng.random() < 0.5:  # noqa: PLR2004 - half of the calls
            mine.rotate(-1)
            await self._renew(pool, mine[-1])
        elif mine[0] not in self._book.held:
            mine.popleft()  # the judge has given it up
        elif await self._release(pool, mine[0]):
            mine.popleft()
        else:
            mine.rotate(-1)

    async def _create(self, pool: AsyncPool, wanted: dict[str, Any]) -> str:
        """One allocation; asks again with the same request id until there is an answer."""
        self._asked += 1
        request_id = f"{self._run}-{self._asked}"
        while True:
            began_s = time.monotonic()
            try:
                lease = await pool.allocate(
                    **wanted, tenant=TENANT, request_id=request_id, ttl=_TTL_S, ack="durable"
                )
            except (errors.NoRoomError, errors.AllocationFailedError) as error:
                self._book.failed(error.reason)
                return ""
            except errors.PoolError as error:
                self._book.failed(error.reason)
                await asyncio.sleep(_PAUSE_S)
                continue
            now_s = time.monotonic()
            self._book.answered(began_s, now_s)
            self._book.acknowledged(_held(lease.allocation, began_s, now_s))
            return lease.id

    async def _renew(self, pool: AsyncPool, id_: str) -> None:
        began_s = time.monotonic()
        try:
            await pool.renew(id_)
        except errors.PoolError as error:
            self._book.failed(error.reason)
            await asyncio.sleep(_PAUSE_S)
            return
        self._book.answered(began_s, time.monotonic())
        if id_ in self._book.held:
            self._book.held[id_].valid_until_s = began_s + _TTL_S

    async def _release(self, pool: AsyncPool, id_: str) -> bool:
        """Gives one back, asks again until there is an answer; whether that was done."""
        held, first = self._book.leaving(id_), True
        while True:
            began_s = time.monotonic()
            try:
                await pool.release(id_)
            except errors.NotFoundError as error:
                self._book.failed(error.reason)
                if held is not None and first:
                    self._book.stayed(held)
                    return False
                break
            except errors.PoolError as error:
                self._book.failed(error.reason)
                first = False  # it may have been done
                await asyncio.sleep(_PAUSE_S)
                continue
            self._book.answered(began_s, time.monotonic())
            break
        self._book.given_back(id_, time.monotonic())
        return True


def _held(allocation: Allocation, began_s: float, now_s: float) -> Held:
    return Held(
        id=allocation.id,
        request_id=allocation.request_id,
        acked_s=now_s,
        valid_until_s=began_s + _TTL_S,
        centers=frozenset(part.center for part in allocation.parts),
    )
