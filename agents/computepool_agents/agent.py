"""One agent: opens sessions, reports, applies answers, keeps contact terms.

May import all of the package but session, backends (other than their interface) and the
composition root; knows the broker, the journal, the engine and the clock by their interfaces.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from computepool_agents import contact
from computepool_agents.answers import Arbiter, Verdict, continues, verdict
from computepool_agents.backends.base import BackendError
from computepool_agents.backoff import SPREAD_S, Backoff, cap_s, spread_s
from computepool_agents.book import Book
from computepool_agents.journal import JournalFullError
from computepool_agents.link import LinkError, RetryableError, SessionStaleError
from computepool_agents.model import Contact, Mark, closed
from computepool_agents.report import Reporter
from computepool_agents.talk import Talk
from computepool_agents.telling import log_plan, named
from computepool_agents.works import Surroundings, Works

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from structlog.typing import FilteringBoundLogger

    from computepool.v1 import agent_pb2 as agent
    from computepool.v1.types_pb2 import LeaseState
    from computepool_agents.answers import Plan
    from computepool_agents.backends.base import Backend
    from computepool_agents.clock import Clock
    from computepool_agents.journal import Journal
    from computepool_agents.link import Answer, Link
    from computepool_agents.model import Node
    from computepool_agents.talk import Identity

CONTACT_LOST = "CONTACT_LOST"
REFUSED_REPORTS = frozenset({"INVALID_FIELD", "REPORT_OUT_OF_ORDER"})
"""Reasons for which another difference to the same report would be refused as well."""
CONTACT_CHECK_S = 1.0
LEAST_CONTACT_CHECK_S = 0.05
MAX_PAUSE_S = 600.0
MAX_GAP_S = 60.0
MOST_BEHIND = 20
"""A broker that is still behind after so many answers is shown what we have seen anew."""


class _Stopped(Exception):  # noqa: N818 - no error: ends the task group
    """The agent was asked to stop."""


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _Stopped


@dataclass(frozen=True, slots=True)
class Wiring:
    """What an agent works with.

    Attributes:
        link: The connection to the broker.
        journal: Its journal, open.
        backend: The local engine.
        clock: For contact terms.
        rng: Jitter.
        log: Bound to the agent's name.
        on_ready: Called once, when a complete report has been answered.
    """

    link: Link
    journal: Journal
    backend: Backend
    clock: Clock
    rng: random.Random
    log: FilteringBoundLogger
    on_ready: Callable[[], None]


class Agent:
    """Runs until it is told to stop, or until only a person can help."""

    def __init__(self, identity: Identity, wiring: Wiring) -> None:
        self._identity = identity
        self._wiring = wiring
        self._log = wiring.log
        saved = wiring.journal.saved
        self._book = Book(saved.held, saved.seen, saved.contact)
        self._reporter = Reporter()
        self._wake = asyncio.Event()
        self._held_changed = asyncio.Event()
        self._talk: Talk | None = None
        self._nodes: dict[str, Node] = {}
        self._refused: Counter[str] = Counter()
        self._ready = False
        self._spread_s = SPREAD_S
        self._tasks: asyncio.TaskGroup
        self._works: Works

    @property
    def leases(self) -> Mapping[LeaseState, int]:
        """Number of leases held, by their state."""
        return self._book.by_state

    @property
    def refused(self) -> Mapping[str, int]:
        """Number of leases refused so far, by reason."""
        return self._refused

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; leases stay, in the journal and in the engine.

        Raises:
            ExceptionGroup: With a RejectedError, JournalError or BackendError in it.
        """
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await self._begin()
                await _until(stop)
        except* _Stopped:
            pass
        finally:
            await self._say_goodbye()

    async def _begin(self) -> None:
        wiring = self._wiring
        around = Surroundings(self._tasks.create_task, self._changed, wiring.rng, self._log)
        self._works = Works(self._book, wiring.journal, wiring.backend, around)
        await wiring.backend.adopt(self._book.held.values())
        self._works.resume()
        self._tasks.create_task(self._watch_contact())
        self._tasks.create_task(self._serve())

    def _changed(self) -> None:
        self._wake.set()
        self._held_changed.set()

    async def _watch_contact(self) -> None:
        """Stop leases whose contact term is over, also before the first contact."""
        while True:
            self._held_changed.clear()
            now = self._wiring.clock.now()
            held = self._book.held.values()
            for lease in contact.expired(held, self._book.contact, now):
                if self._works.end(lease, CONTACT_LOST, "the broker was silent for too long"):
                    self._log.warning("contact lost, stopping lease", **named(lease))
            until_s = contact.next_stop_s(held, self._book.contact, now.boot_id) - now.at_s
            if until_s == float("inf"):
                await self._held_changed.wait()
            else:
                await asyncio.sleep(min(max(until_s, LEAST_CONTACT_CHECK_S), CONTACT_CHECK_S))

    async def _serve(self) -> None:
        """Session after session.

        Many lose theirs at once, when a broker fails: those that it served come back over a
        while, each at its own moment.
        """
        backoff = self._backoff()
        while True:
            session, self._talk = await self._next_session(), None
            try:
                opened = await self._open(session)
                await self._talk_on(opened, session)
            except SessionStaleError as error:
                self._log.warning("session is over", session=session, why=str(error))
            if self._talk is not None and self._talk.served:
                backoff = self._backoff()
                await asyncio.sleep(self._wiring.rng.uniform(0.0, self._spread_s))
            else:
                await asyncio.sleep(backoff.next_s())

    async def _next_session(self) -> int:
        """Count a session, as soon as the journal has room for that."""
        backoff = self._backoff()
        while True:
            try:
                return await self._wiring.journal.next_session()
            except JournalFullError as error:
                if backoff.failures == 0:
                    self._log.warning("cannot begin a session, trying on", why=str(error))
                await asyncio.sleep(backoff.next_s())

    def _backoff(self) -> Backoff:
        return Backoff(self._wiring.rng, cap_s=cap_s(self._spread_s))

    async def _open(self, session: int) -> agent.OpenSessionResponse:
        """Open one session, however long it takes; a retry at the same broker keeps the number."""
        backoff = self._backoff()
        while True:
            request = self._identity.open_request(
                self._wiring.journal.saved.journal_id,
                session,
                self._book.seen,
                self._wiring.clock.now(),
                len(self._book.held),
            )
            try:
                opened = await self._wiring.link.open(request)
            except RetryableError as error:
                if backoff.failures == 0:
                    self._log.warning("cannot open a session, trying on", why=str(error))
                await asyncio.sleep(backoff.next_s())
            else:
                self._log.info(
                    "session open",
                    session=session,
                    broker=opened.broker_version,
                    epoch=opened.mark.epoch,
                    held=len(self._book.held),
                )
                return opened

    async def _talk_on(self, opened: agent.OpenSessionResponse, session: int) -> None:
        mark = Mark.of(opened.mark)
        if not continues(mark, self._book.seen):
            raise SessionStaleError("STORE_WENT_BACK", f"{mark} after {self._book.seen}")
        talk = self._talk = Talk.begun(self._identity.agent, session, opened)
        doorbell = self._tasks.create_task(self._listen(talk))
        behind = self._backoff()
        self._wake.clear()
        try:
            await self._pause(0.0, opened.next_sync_ms / 1000)
            while True:
                answer = await self._deliver(talk)
                gap_s, due_s = answer.least_gap_ms / 1000, answer.next_sync_ms / 1000
                self._spread_s = spread_s(due_s)
                if talk.behind > MOST_BEHIND:
                    raise SessionStaleError("BROKER_BEHIND", f"{Mark.of(answer.mark)}")
                if talk.behind:
                    due_s = min(due_s, gap_s + behind.next_s())
                else:
                    behind.reset()
                await self._pause(gap_s, due_s)
        finally:
            doorbell.cancel()

    async def _pause(self, gap_s: float, due_s: float) -> None:
        """Wait out the least gap, then until there is something to say or it is time."""
        gap_s = min(max(gap_s, 0.0), MAX_GAP_S)
        await asyncio.sleep(gap_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(due_s - gap_s, 0.0), MAX_PAUSE_S)):
                await self._wake.wait()

    async def _listen(self, talk: Talk) -> None:
        """Keep the doorbell's stream open; each ring, and each break, calls for a report."""
        backoff = self._backoff()
        while True:
            try:
                async for revision in self._wiring.link.doorbell(talk.watch_request()):
                    self._log.debug("doorbell", revision=revision)
                    backoff.reset()
                    self._wake.set()
            except SessionStaleError as error:
                talk.stale = error
                self._wake.set()
                return
            except RetryableError as error:
                self._log.debug("doorbell broke", why=str(error))
            if backoff.failures == 0:
                self._wake.set()
            await asyncio.sleep(backoff.next_s())

    async def _deliver(self, talk: Talk) -> agent.SyncResponse:
        """Deliver one report, however often that must be tried, and apply the answer."""
        backoff = self._backoff()
        while True:
            if talk.stale:
                raise talk.stale
            self._wake.clear()
            try:
                nodes = await self._measured()
                parts = talk.report(self._reporter, self._book.held.values(), nodes)
                answers = await self._wiring.link.report(parts)
            except (RetryableError, BackendError) as error:
                if isinstance(error, RetryableError) and error.reason in REFUSED_REPORTS:
                    talk.doubted()
                if backoff.failures == 0:
                    self._log.warning("report not delivered, trying on", why=str(error))
                await asyncio.sleep(backoff.next_s())
            else:
                if backoff.failures:
                    self._log.info("report delivered again", tries=backoff.failures + 1)
                talk.delivered(want_full=answers[0].response.want_full)
                for answer in answers:
                    await self._apply(talk, answer)
                self._say_ready()
                return answers[0].response

    async def _measured(self) -> tuple[Node, ...]:
        """The nodes as they are; they take no new work while the journal has no room for it."""
        nodes = await self._wiring.backend.nodes(self._book.held)
        self._nodes = {node.name: node for node in nodes}
        return closed(nodes) if self._wiring.journal.lack() else nodes

    async def _apply(self, talk: Talk, answer: Answer) -> None:
        response = answer.response
        sent = Contact(self._wiring.clock.now().boot_id, answer.sent_s)

        def make_plan() -> Plan | None:
            meant = verdict(response, self._book.seen, talk.identity, talk.applied_revision)
            if meant is Verdict.REOPEN:
                raise SessionStaleError("STORE_CHANGED", f"{Mark.of(response.mark)}")
            if meant is Verdict.IGNORE:
                self._log.info("old answer ignored", revision=response.mark.revision)
                talk.behind += 1
                return None
            veto, lack = self._wiring.backend.veto, self._wiring.journal.lack()
            return Arbiter(self._book, talk.refused, self._nodes, veto, lack).plan(response)

        plan = await self._works.carry_out(make_plan, sent)
        if plan is not None:
            # The rest of one that was cut, and the commands that one which asks for a whole report
            # holds back, come at this revision.
            whole = plan.kept and not (response.want_full or response.more)
            talk.applied(plan, response.mark.revision if whole else 0)
            if not plan.kept:
                talk.doubted()  # the broker says all of it again, to a whole report
            self._refused.update(lease.reason for lease in plan.refused)
            log_plan(self._log, plan)
            if response.commands:  # also when there was nothing to do: the broker wants to see that
                self._changed()

    def _say_ready(self) -> None:
        if not self._ready:
            self._ready = True
            self._wiring.on_ready()

    async def _say_goodbye(self) -> None:
        if self._talk is None:
            return
        with suppress(LinkError):
            await self._wiring.link.close(self._talk.close_request())
