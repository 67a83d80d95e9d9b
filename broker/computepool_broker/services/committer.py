"""The one writer: gathers jobs into batches, runs them, makes each batch durable once.

A job is a plain function that reads the tables and stages transactions; it runs without
awaiting, so jobs never interleave. Its result (or its refusal) is handed out only when
everything that it saw is as durable as promised: reads are jobs too.

    jobs ──gather──> run, run, run ──> store.commit() ──────> results, doorbells
                                        next batch is gathered and run meanwhile

Where brokers share a store, its verdict can say that part of a batch was not done, since others
were faster. The jobs whose transactions those were run again, in the next batch and on what the
others have done; nobody else notices. So a job may run several times, and what it changes besides
the tables must allow for that. A look (`fresh`) runs when the verdict is there: it sees everything
that was committed before it was asked for, through whichever broker.

Gathering. A commit costs about the same for one job as for fifty, and costs processor time that
the calls need. So a batch starts at once when nobody else is expected (one caller alone never
waits), and otherwise gathers until most of the callers seen lately are in it, as long as more
keep coming, for at most `gather_s`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import structlog

from computepool_broker.errors import (
    ContendedError,
    NotAcknowledgedError,
    NotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    StoppingError,
    StoreUnavailableError,
)
from computepool_broker.services.levels import Level
from computepool_broker.services.tally import WriterTally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from computepool_broker.ledger.touched import Touched
    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.services.messages import Mark
    from computepool_broker.store.base import Store, Verdict

    Stage = Callable[[Transaction], Outcome]
    Job = Callable[[Stage], Any]

T = TypeVar("T")
MAX_QUEUED = 20_000
"""Weight of the jobs waiting; more are refused."""
MAX_BATCH = 512
"""Weight of the jobs run in one go, so that the event loop breathes between batches. A job weighs
about what it costs in grants of one part; one that weighs more runs alone."""
MOST_TRIES = 20
"""Runs of one job, when others are faster each time."""
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

log = structlog.get_logger()


class _Task:
    """A job on its way.

    Attributes:
        job: What to run.
        weight: What it costs, in grants of one part.
        fresh: It looks, changes nothing, and must see all that was committed before.
        staged: First and last place, in the batch, of what it has staged.
    """

    __slots__ = (
        "came_s", "error", "fresh", "future", "job", "level", "result", "staged", "tries", "weight",
    )  # fmt: skip

    def __init__(
        self, job: Job, future: asyncio.Future[Any], weight: int, level: Level, *, fresh: bool
    ) -> None:
        self.job = job
        self.future = future
        self.weight = weight
        self.level = level
        self.fresh = fresh
        self.came_s = perf_counter()
        self.staged = (0, 0)
        self.tries = 0
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, stage: Stage) -> None:
        """Run the job, and keep what comes of it."""
        self.tries += 1
        try:
            self.result, self.error = self.job(stage), None
        except Exception as error:  # noqa: BLE001 - handed to the caller, who maps it
            self.result, self.error = None, error

    def hand_out(self) -> None:
        """Tell the caller, if he still waits."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class _Ran(NamedTuple):
    """A batch that was run, and what is to be told when its commit has ended."""

    tasks: list[_Task]
    touched: Touched
    marks: list[Mark]
    ended_s: float


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
        self._queue: deque[_Task] = deque()
        self._queued = 0
        self._wake: asyncio.Future[None] | None = None
        self._wanted = 1
        self._outstanding = 0
        self._crowd = 1.0
        # Commits under way at once: one on the disk, one planned behind it.
        self._commits = asyncio.Semaphore(store.ahead)
        self._task: asyncio.Task[None] | None = None
        self._finishing: set[asyncio.Future[Verdict | None]] = set()
        self._stopping = False
        self._failed = False
        self.marks: list[Mark] = []
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
        return self._store.up and not (
            self._queue or self._finishing or self._failed or self._stopping
        )

    @property
    def shared(self) -> bool:
        """Whether other brokers commit to the same store."""
        return self._store.shared

    def submit(
        self,
        job: Callable[[Stage], T],
        weight: int = 1,
        level: Level = Level.COMMITTED,
        *,
        fresh: bool = False,
    ) -> asyncio.Future[T]:
        """Run `job` in the next batch.

        Args:
            job: Reads the tables and stages transactions.
            weight: What it costs, in grants of one part.
            level: COMMITTED or DURABLE, which only a store that is `durable` can give.
            fresh: It stages nothing, and is to see all that was committed until now.

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
        task = _Task(job, future, weight, level, fresh=fresh and self._store.shared)
        self._queue.append(task)
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
                if self._stopping and not self._finishing:
                    return
                self._wanted = 1
                await self._sleep(None)
                continue
            await self._gather()
            await self._commits.acquire()
            self._run_batch(self._take_batch())

    def _take_batch(self) -> list[_Task]:
        batch: list[_Task] = []
        queue, weight = self._queue, 0
        while queue and (not batch or weight + queue[0].weight <= MAX_BATCH):
            batch.append(queue.popleft())
            weight += batch[-1].weight
        self._queued -= weight
        now = perf_counter()
        self.tally.queue_s.extend([now - task.came_s for task in batch])
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

    def _run_batch(self, batch: list[_Task]) -> None:
        store, began = self._store, perf_counter()
        tasks = [task for task in batch if not task.future.cancelled()]
        self._outstanding -= len(batch) - len(tasks)
        self.marks = []
        for task in tasks:
            if not task.fresh:
                first = store.staged
                task.run(store.stage)
                task.staged = (first, store.staged)
        self.batches += 1
        self.jobs += len(batch)
        touched = store.state.take_touched()
        ran = _Ran(tasks, touched, self.marks, perf_counter())
        self.tally.run_s.add(ran.ended_s - began)
        self.tally.jobs.add(len(batch))
        commit = self._commit(durable=any(task.level >= Level.DURABLE for task in tasks))
        if isinstance(commit, asyncio.Future) and commit.done() and not commit.exception():
            self._conclude(ran, commit.result())
            return
        # A callback rather than a task: one turn of the event loop less before the answers.
        ended = asyncio.ensure_future(commit)
        self._finishing.add(ended)
        ended.add_done_callback(lambda end: self._finish(end, ran))

    def _commit(self, *, durable: bool) -> Awaitable[Verdict | None]:
        try:
            return self._store.commit(durable=durable)
        except Exception as error:  # noqa: BLE001 - a bug must not leave its callers waiting
            failed: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    def _finish(self, ended: asyncio.Future[Verdict | None], ran: _Ran) -> None:
        self._finishing.discard(ended)
        if self._stopping:
            self._ring()
        self.tally.commit_s.add(perf_counter() - ran.ended_s)
        error = asyncio.CancelledError() if ended.cancelled() else ended.exception()
        if error is None:
            self._conclude(ran, ended.result())
        else:
            self._fail(ran, error)

    def _fail(self, ran: _Ran, error: BaseException) -> None:
        self._commits.release()
        told: Exception
        if isinstance(error, StoreUnavailableError):
            told = error
        else:
            # Whatever it is, the outcome is unknown.
            told = OutcomeUnknownError(str(error))
        for task in ran.tasks:
            task.error = told
        self._hand_out(ran.tasks)
        if not self._store.shared:
            self._failed = True
            self._on_failure(error)

    # -- what the verdict says -------------------------------------------------------------

    def _conclude(self, ran: _Ran, verdict: Verdict | None) -> None:
        self._commits.release()
        if verdict is None:
            self._hand_out(ran.tasks)
            self._tell(ran.touched)
            return
        again = [task for task in ran.tasks if _was_overtaken(task, verdict)]
        self._move_marks(ran.marks, verdict)
        if verdict.news is not None:
            self._tell(verdict.news)
        self._tell(_moved(ran.touched, verdict) if verdict.own is None else verdict.own)
        done = [task for task in ran.tasks if task not in again] if again else ran.tasks
        for task in done:
            if task.fresh:
                task.run(self._store.stage)
            if task.level >= Level.DURABLE and not verdict.durable and task.error is None:
                task.error = NotAcknowledgedError(
                    "it was committed, but the disks that were asked for have not confirmed it in "
                    "time; retry with the same request_id",
                    metadata={"ack_level": task.level.name},
                    retry_after_ms=200,
                )
        self._hand_out(done)
        self._run_again(again)

    def _run_again(self, tasks: list[_Task]) -> None:
        for task in reversed(tasks):
            if task.tries >= MOST_TRIES:
                task.error = ContendedError(
                    f"other brokers were faster {task.tries} times", retry_after_ms=100
                )
                task.hand_out()
                self._outstanding -= 1
            else:
                self._queue.appendleft(task)
                self._queued += task.weight
        self._ring()

    def _move_marks(self, marks: list[Mark], verdict: Verdict) -> None:
        """Say in answers to agents how far they really are.

        An agent that others have given something to do was not told of it: it is told to be no
        further than what was planned on.
        """
        for mark in marks:
            overtaken = verdict.news is not None and mark.agent in verdict.news.agents
            if overtaken:
                mark.revision = min(mark.revision, verdict.low)
            elif mark.revision > verdict.low:
                mark.revision += verdict.shift

    def _hand_out(self, tasks: list[_Task]) -> None:
        self._outstanding -= len(tasks)
        for task in tasks:
            task.hand_out()

    def _tell(self, touched: Touched) -> None:
        if touched.anything:
            self._on_durable(touched)


def _was_overtaken(task: _Task, verdict: Verdict) -> bool:
    """Whether a job must run again: part of it was not done, or it did not know enough."""
    first, last = task.staged
    if first != last and any(at in verdict.rejected for at in range(first, last)):
        return True
    # It missed what others have just made; looked at again, it may be there.
    return verdict.news is not None and first == last and isinstance(task.error, NotFoundError)


def _moved(touched: Touched, verdict: Verdict) -> Touched:
    """What was touched when it was staged, by the numbers of the verdict."""
    if verdict.shift:
        low, shift = verdict.low, verdict.shift
        touched.agents = {
            name: revision + shift if revision > low else revision
            for name, revision in touched.agents.items()
        }
    return touched
