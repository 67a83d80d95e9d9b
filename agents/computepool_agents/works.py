"""Making grants real and tearing them down, in the background where that takes long.

May import model, contact, answers, journal and the interface of the backend. The one place
that changes the book: each change is planned, made durable and adopted under one lock, so
that no plan rests on a book that changes meanwhile.

Where the journal has no room, what needs none goes on: leases are torn down, the contact counts.
That they ended is written down, and reported, when there is room again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from computepool_agents.answers import Plan
from computepool_agents.backends.base import BackendError
from computepool_agents.backoff import Backoff
from computepool_agents.journal import JournalFullError
from computepool_agents.model import ADMITTED, RELEASING, STARTED, STOPPED, Change, Contact, Held

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine, Iterable

    from structlog.typing import FilteringBoundLogger

    from computepool_agents.backends.base import Backend
    from computepool_agents.book import Book

START_FAILED = "START_FAILED"
START_GRACE_S = 0.25  # a start that takes longer gets a commit of its own
_MAX_MESSAGE = 1_000


class Durable(Protocol):
    """What the works need of the journal."""

    async def commit(self, change: Change) -> None:
        """Make a change durable, all or nothing.

        Raises:
            JournalFullError: Nothing was changed.
            JournalError: The process ends.
        """


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the works run in.

    Attributes:
        spawn: Starts a background task whose failure ends the agent.
        changed: Called when there is something new to report.
        rng: Jitter of retries.
        log: Bound to the agent.
    """

    spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]]
    changed: Callable[[], None]
    rng: random.Random
    log: FilteringBoundLogger


class Works:
    """Starts and ends leases; at most one start and one end run for each."""

    def __init__(
        self, book: Book, journal: Durable, backend: Backend, surroundings: Surroundings
    ) -> None:
        self._book = book
        self._journal = journal
        self._backend = backend
        self._around = surroundings
        self._lock = asyncio.Lock()
        self._starting: dict[str, asyncio.Task[str | None]] = {}
        self._ending: set[str] = set()
        self._ended: list[tuple[str, str, str]] = []

    def resume(self) -> None:
        """Go on with what a former process of this agent was tearing down."""
        for lease in tuple(self._book.held.values()):
            if lease.state == RELEASING:
                self.end(lease)

    async def carry_out(
        self, make_plan: Callable[[], Plan | None], contact: Contact
    ) -> Plan | None:
        """Apply an answer: plan, start what starts at once, commit once, adopt.

        Args:
            make_plan: Called under the lock; None plans nothing: only the contact counts.
            contact: When the report that was answered was sent.
        """
        async with self._lock:
            if self._ended and await self._note_ended():
                self._around.changed()
            plan = make_plan()
            if plan is None:
                await self._note(contact)
                return None
            started = await self._start(plan.starts)
            change = plan.change
            try:
                await self._commit(replace(change, puts=(*change.puts, *started), contact=contact))
            except JournalFullError as error:
                self._around.log.warning("no room to note an answer", why=str(error))
                plan = await self._without_room(make_plan() or Plan(Change()), contact)
        for lease in plan.teardowns:
            self.end(lease, lease.reason)
        return plan

    async def _without_room(self, plan: Plan, contact: Contact) -> Plan:
        """Carry out as much as there is room for; what has started stays ADMITTED.

        Args:
            plan: Made anew: of what the answer wants it admits nothing now.
            contact: See carry_out.
        """
        try:
            await self._commit(replace(plan.change, contact=contact))
        except JournalFullError:
            self._book.adopt(Change(contact=contact))
            return replace(plan, change=Change(), kept=False)
        return plan

    def end(self, lease: Held, reason: str = "", message: str = "") -> bool:
        """Tear a lease down in the background.

        A RELEASING one is forgotten when that is done, another is STOPPED with the reason.

        Returns:
            False when that is going on already.
        """
        if lease.lease_id in self._ending:
            return False
        self._ending.add(lease.lease_id)
        self._around.spawn(self._end(lease, reason, message))
        return True

    async def _start(self, leases: Iterable[Held]) -> list[Held]:
        """Start leases; give those with a new state that started within the grace."""
        fresh: dict[asyncio.Task[str | None], Held] = {}
        for lease in leases:
            if lease.lease_id not in self._starting and lease.lease_id not in self._ending:
                task = asyncio.create_task(self._try_start(lease))
                self._starting[lease.lease_id] = task
                fresh[task] = lease
        if not fresh:
            return []
        done, late = await asyncio.wait(fresh, timeout=START_GRACE_S)
        for task in late:
            self._around.spawn(self._settle(fresh[task], task))
        return [started for task in done if (started := self._outcome(fresh[task], task))]

    async def _try_start(self, lease: Held) -> str | None:
        try:
            await self._backend.start(lease.record)
        except BackendError as error:
            return _on_one_line(str(error)) or "no reason given"
        return None

    def _outcome(self, lease: Held, task: asyncio.Task[str | None]) -> Held | None:
        self._starting.pop(lease.lease_id, None)
        failure = None if task.cancelled() else task.result()
        if failure is not None:
            self._around.log.warning("start failed", lease=lease.lease_id, error=failure)
            self.end(lease, START_FAILED, failure)
        if failure is not None or task.cancelled():
            return None
        return replace(lease, state=STARTED)

    async def _settle(self, lease: Held, task: asyncio.Task[str | None]) -> None:
        await asyncio.wait([task])
        async with self._lock:
            started = self._outcome(lease, task)
            held = self._book.held.get(lease.lease_id)
            if started is not None and held is not None and held.state == ADMITTED:
                # Without room it stays ADMITTED, and the broker says START again.
                with suppress(JournalFullError):
                    await self._commit(Change(puts=(started,)))
        self._around.changed()

    async def _end(self, lease: Held, reason: str, message: str) -> None:
        starting = self._starting.get(lease.lease_id)
        if starting is not None:
            starting.cancel()
            await asyncio.wait([starting])
        await self._stop(lease)
        self._ended.append((lease.lease_id, reason, message))
        async with self._lock:
            await self._note_ended()
        self._around.changed()

    async def _note_ended(self) -> bool:
        """Commit once for all that ended while the lock was awaited: reports wait for it too.

        Returns:
            False without room: they wait for the next answer, or the next end.
        """
        ended = tuple(self._ended)
        drops: list[str] = []
        stopped: list[Held] = []
        for lease_id, reason, message in ended:
            held = self._book.held.get(lease_id)
            if held is not None and held.state == RELEASING:
                drops.append(lease_id)
            elif held is not None and held.state != STOPPED:
                stopped.append(replace(held, state=STOPPED, reason=reason, message=message))
        if drops or stopped:
            try:
                await self._commit(Change(puts=tuple(stopped), drops=tuple(drops)))
            except JournalFullError as error:
                self._around.log.warning("teardown not noted yet", why=str(error))
                return False
        self._ending.difference_update(lease_id for lease_id, _, _ in ended)
        del self._ended[: len(ended)]  # more may have ended during the commit
        return True

    async def _stop(self, lease: Held) -> None:
        backoff = Backoff(self._around.rng)
        while True:
            try:
                await self._backend.stop(lease.record)
            except BackendError as error:
                self._around.log.warning(
                    "teardown failed, will try again", lease=lease.lease_id, error=str(error)
                )
                await asyncio.sleep(backoff.next_s())
            else:
                return

    async def _note(self, contact: Contact) -> None:
        """Count an answer that is not applied as contact all the same, unless it came late."""
        last = self._book.contact
        if last is None or last.boot_id != contact.boot_id or last.at_s < contact.at_s:
            await self._commit(Change(contact=contact))

    async def _commit(self, change: Change) -> None:
        await self._journal.commit(change)
        self._book.adopt(change)


def _on_one_line(text: str) -> str:
    """Make an engine's text fit for the wire: bounded, nothing but what prints."""
    words = "".join(c if c.isprintable() else " " for c in text[:_MAX_MESSAGE])
    return " ".join(words.split())
