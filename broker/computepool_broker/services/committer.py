"""The one writer: gathers jobs into batches, runs them, makes each batch durable once.

A job is a plain function that reads the tables and stages transactions; it runs without
awaiting, so jobs never interleave. Its result (or its refusal) is handed out only when
everything that it saw is as durable as promised: reads are jobs too.

    jobs ──gather──> run, run, run ──> store.commit() ──────> results, doorbells
                                        next batch is gathered and run meanwhile

Gathering. A commit costs about the same for one job as for fifty, and costs processor time that
the calls need. So a batch starts at once when nobody else is expected (one caller alone never
waits), and otherwise gathers until most of the callers seen lately are in it, as long as more
keep coming, for at most `gather_s`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from computepool_broker.errors import OutcomeUnknownError, OverloadedError, StoppingError
from computepool_broker.services.levels import Level
from computepool_broker.services.tally import WriterTally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from computepool_broker.ledger.touched import Touched
    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.store.base import Store

    Stage = Callable[[Transaction], Outcome]
    Job = Callable[[Stage], Any]

T = TypeVar("T")
MAX_QUEUED = 20_000
"""Weight of the jobs waiting; more are refused."""
MAX_BATCH = 512
"""Weight of the jobs run in one go, so that the event loop breathes between batches. A job weighs
about what it costs in grants of one part; one that weighs more runs alone."""
CROWD_SHARE = 0.6
"""Part of the callers seen lately that a batch waits for: the rest are on their way with the
batch before, or think."""
CROWD_FADES = 0.97
FEW = 3
PROBE_EVERY = 16
"""Calls that wait before the server are not seen: small batches make a small crowd, and stay
small. So now and then, unless there are only one or two callers, everybody is waited for."""
LULL_S = 0.001
"""When nobody new has come for so long, nobody is waited for."""
COMMITS_AHEAD = 2
"""Commits under way at once: one on the disk, one planned behind it."""

log = structlog.get_logger()


class Committer:
    """Runs jobs in batches on one store."""

    def __init__(
        self,
        store: Store,
        on_durable: Callable[[Touched], None],
        on_failure: Callable[[BaseException], None],
        gather_s: float,
    ) -> None:
        self._store = store
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._gather_s = gather_s
        self._queue: deque[tuple[Job, asyncio.Future[Any], int, float, Level]] = deque()
        self._queued = 0
        self._wake: asyncio.Future[None] | None = None
        self._wanted = 1
        self._outstanding = 0
        self._crowd = 1.0
        self._commits = asyncio.Semaphore(COMMITS_AHEAD)
        self._task: asyncio.Task[None] | None = None
        self._finishing: set[asyncio.Future[None]] = set()
        self._stopping = False
        self._failed = False
        self.batches = 0
        self.jobs = 0
        self.tally = WriterTally()

    def start(self) -> None:
        """Begin to run jobs."""
        self._task = asyncio.create_task(self._run(), name="committer")

    async def stop(self) -> None:
        """Refuse new jobs, finish those that were taken."""
        self._stopping = True
        self._ring()
        if self._task is not None:
            await self._task
        if self._finishing:
            await asyncio.gather(*self._finishing, return_exceptions=True)

    @property
    def at_rest(self) -> bool:
        """Whether all that the tables show is durable, and nothing waits.

        Whoever then only looks, and changes nothing, needs no job.
        """
        return not (self._queue or self._finishing or self._failed or self._stopping)

    def submit(
        self, job: Callable[[Stage], T], weight: int = 1, level: Level = Level.COMMITTED
    ) -> asyncio.Future[T]:
        """Run `job` in the next batch.

        Args:
            job: Reads the tables and stages transactions.
            weight: What it costs, in grants of one part.
            level: COMMITTED or DURABLE, which only a store that is `durable` can give.

        Returns:
            What it returns or raises, once that, and all that it has seen, is at the level.

        Raises:
            OverloadedError: Jobs that weigh MAX_QUEUED wait already.
            StoppingError: The broker is going down.
        """
        if self._stopping:
            raise StoppingError("the broker is stopping", retry_after_ms=1000)
        if self._queued >= MAX_QUEUED:
            raise OverloadedError("too many calls are waiting", retry_after_ms=1000)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append((job, future, weight, perf_counter(), level))
        self._queued += weight
        self._outstanding += 1
        if len(self._queue) >= self._wanted:
            self._ring()
        return future

    @property
    def queued(self) -> int:
        """Weight of the jobs that wait."""
        return self._queued

    @property
    def under_way(self) -> int:
        """Commits that are on their way to the disk."""
        return len(self._finishing)

    def _ring(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _run(self) -> None:
        while True:
            if not self._queue:
                if self._stopping:
                    return
                self._wanted = 1
                await self._sleep(None)
                continue
            await self._gather()
            await self._commits.acquire()
            self._run_batch(self._take_batch())

    def _take_batch(self) -> list[tuple[Job, asyncio.Future[Any]]]:
        batch: list[tuple[Job, asyncio.Future[Any]]] = []
        queue, weight = self._queue, 0
        came: list[float] = []
        while queue and (not batch or weight + queue[0][2] <= MAX_BATCH):
            # Each commit of these stores is at the highest level that they can give.
            job, future, own, came_s, _ = queue.popleft()
            batch.append((job, future))
            came.append(came_s)
            weight += own
        self._queued -= weight
        now = perf_counter()
        self.tally.queue_s.extend([now - each for each in came])
        return batch

    async def _gather(self) -> None:
        # The crowd is remembered across batches, and fades when the callers are gone.
        self._crowd = max(self._outstanding, self._crowd * CROWD_FADES)
        self._wanted = max(1, int(self._crowd * CROWD_SHARE))
        if self._crowd >= FEW and self.batches % PROBE_EVERY == 0:
            self._wanted = MAX_BATCH
        now = asyncio.get_running_loop().time
        began = now()
        while len(self._queue) < self._wanted and not self._stopping:
            before, slept = len(self._queue), now()
            await self._sleep(LULL_S)
            late = now() - slept > 2 * LULL_S  # the loop was busy: with calls, or their answers
            if now() - began >= self._gather_s or (len(self._queue) == before and not late):
                break
        self._crowd = max(self._crowd, self._outstanding)

    async def _sleep(self, timeout_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        timer = None if timeout_s is None else loop.call_later(timeout_s, self._ring)
        await self._wake
        if timer is not None:
            timer.cancel()

    def _run_batch(self, batch: list[tuple[Job, asyncio.Future[Any]]]) -> None:
        stage, began = self._store.stage, perf_counter()
        done: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        for job, future in batch:
            if future.cancelled():
                continue
            try:
                done.append((future, job(stage), None))
            except Exception as error:  # noqa: BLE001 - handed to the caller, who maps it
                done.append((future, None, error))
        self.batches += 1
        self.jobs += len(batch)
        touched = self._store.state.take_touched()
        ran = perf_counter()
        self.tally.run_s.add(ran - began)
        self.tally.jobs.add(len(batch))
        commit = self._commit()
        if isinstance(commit, asyncio.Future) and commit.done() and not commit.exception():
            self._hand_out(done, touched, len(batch))
            return
        # A callback rather than a task: one turn of the event loop less before the answers.
        ended = asyncio.ensure_future(commit)
        self._finishing.add(ended)
        ended.add_done_callback(lambda end: self._finish(end, done, touched, len(batch), ran))

    def _commit(self) -> Awaitable[None]:
        try:
            return self._store.commit()
        except Exception as error:  # noqa: BLE001 - a bug must not leave its callers waiting
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    def _finish(
        self,
        ended: asyncio.Future[None],
        done: list[tuple[asyncio.Future[Any], Any, BaseException | None]],
        touched: Touched,
        count: int,
        ran: float,
    ) -> None:
        self._finishing.discard(ended)
        self.tally.commit_s.add(perf_counter() - ran)
        error = asyncio.CancelledError() if ended.cancelled() else ended.exception()
        if error is None:
            self._hand_out(done, touched, count)
            return
        # Whatever it is, the outcome is unknown.
        self._failed = True
        unknown = OutcomeUnknownError(str(error))
        self._hand_out([(f, None, unknown) for f, _, _ in done], None, count)
        self._on_failure(error)

    def _hand_out(
        self,
        done: list[tuple[asyncio.Future[Any], Any, BaseException | None]],
        touched: Touched | None,
        count: int,
    ) -> None:
        self._outstanding -= count
        self._commits.release()
        for future, result, error in done:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        if touched is not None and (touched.allocations or touched.agents):
            self._on_durable(touched)
