"""Sessions of agents, their doorbells, and who may report (see intake for what a report does)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from computepool_broker.errors import (
    AgentNameTakenError,
    InvalidArgumentError,
    NodeOwnedError,
    OverloadedError,
    PoolError,
    ProtocolUnsupportedError,
    ReportOutOfOrderError,
    SessionStaleError,
)
from computepool_broker.ledger.transaction import PutAgent, Transaction
from computepool_broker.model.records import AgentRecord, AgentState
from computepool_broker.services.continuity import Continuity
from computepool_broker.services.intake import Intake, Surroundings
from computepool_broker.services.messages import Mark
from computepool_broker.services.pacing import Pacer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from computepool_broker.ledger.state import AgentBook
    from computepool_broker.ledger.transaction import Outcome
    from computepool_broker.services.messages import Answer, Idle, Open, Report
    from computepool_broker.services.pool import Pool

    Stage = Callable[[Transaction], Outcome]

PROTOCOL_VERSION = 1
LIVING = (AgentState.ACTIVE, AgentState.RECONCILING)
MAX_AGENTS = 10_000
"""Known agents, silent ones included."""

log = structlog.get_logger()


class AgentService:
    """What an agent can say."""

    def __init__(self, pool: Pool, jitter: Callable[[], float]) -> None:
        self._pool = pool
        self._jitter = jitter
        self._pacer = Pacer()
        self._intake = Intake(pool, Surroundings(self._present, self.mark, jitter, self._pacer))
        self._continuity = Continuity(pool.state)
        self._hung_up = False

    def mark(self) -> Mark:
        """The store's mark now."""
        state = self._pool.state
        return Mark(state.identity, state.epoch, state.revision)

    # -- sessions --------------------------------------------------------------------------

    async def open_session(self, call: Open) -> tuple[Mark, int]:
        """Begin a session, end the older ones.

        Returns:
            The mark, and when to send the first report, in milliseconds.

        Raises:
            ProtocolUnsupportedError: Another protocol version.
            AgentNameTakenError: Another journal under a live agent's name.
            OverloadedError: Too many agents are known.
            SessionStaleError: A lower session than the last.
            EpochImplausibleError: An epoch too far ahead.
            InvalidArgumentError: Another region than that of its center's living agents.
        """
        if call.protocol_version != PROTOCOL_VERSION:
            raise ProtocolUnsupportedError(
                f"this broker speaks protocol {PROTOCOL_VERSION}, not {call.protocol_version}",
                metadata={"supported": str(PROTOCOL_VERSION)},
            )
        return await self._pool.committer.submit(lambda stage: self._open(stage, call))

    def _open(self, stage: Stage, call: Open) -> tuple[Mark, int]:
        pool, record = self._pool, call.record
        state = pool.state
        book = state.agents.get(record.name)
        if book is not None:
            awaited = pool.warming_up and record.name in pool.expected_agents
            _check_successor(book, record, awaited=awaited)
        elif len(state.agents) >= MAX_AGENTS:
            raise OverloadedError(
                f"{MAX_AGENTS} agents are known; forget those that are gone", retry_after_ms=60_000
            )
        self._check_region(record)
        self._continuity.doubt(stage, call)
        stage(
            Transaction(
                state.epoch, agents=(PutAgent(record.name, record, AgentState.RECONCILING),)
            )
        )
        life = pool.life(record.name)
        life.begin(record.session, pool.clock.now_ms)
        self._intake.forget(record.name)
        life.bell.set()
        pool.tally.sessions += 1
        log.info(
            "session_opened",
            agent=record.name,
            session=record.session,
            center=record.center,
            held_leases=call.held_leases,
            backend=record.backend,
        )
        return self.mark(), int(self._jitter() * 200)

    def _check_region(self, record: AgentRecord) -> None:
        # One agent with a slip in its settings would move a whole center to another region.
        columns = self._pool.columns
        at = columns.centers.get(record.center)
        if at is None or columns.center_regions[at] == record.region:
            return
        for name, book in self._pool.state.agents.items():
            there, lives = book.record, book.state in LIVING
            if lives and name != record.name and there.center == record.center:
                raise InvalidArgumentError(
                    "region",
                    f"center {record.center!r} is in region {there.region!r} by the word of agent "
                    f"{name!r}, not in {record.region!r}",
                )

    async def close_session(self, agent: str, session: int) -> None:
        """The agent stops in good order.

        Raises:
            SessionStaleError: Not its present session.
        """

        def job(stage: Stage) -> None:
            book = self._present(agent, session)
            stage(
                Transaction(
                    self._pool.state.epoch,
                    agents=(PutAgent(agent, book.record, AgentState.CLOSED),),
                )
            )
            self._pool.expected_agents.discard(agent)
            log.info("session_closed", agent=agent, session=session)

        await self._pool.committer.submit(job)

    def _present(self, agent: str, session: int) -> AgentBook:
        # Only sessions opened with this process count: OpenSession is where an agent's mark
        # shows whether this store is still the one that it knows.
        book = self._pool.state.agents.get(agent)
        last = self._pool.life(agent).session if book is not None else 0
        if book is None or last != session:
            raise SessionStaleError(
                f"agent {agent!r} has session {last}, not {session}",
                metadata={"last_session": str(last)},
            )
        if book.state is AgentState.CLOSED:
            raise SessionStaleError(
                f"session {session} of agent {agent!r} was closed",
                metadata={"last_session": str(session)},
            )
        return book

    async def rings(self, agent: str, session: int) -> AsyncIterator[int]:
        """Yields the store's revision whenever the agent should call.

        Ends with the session, when another stream of it begins, or when the broker stops.

        Rings no oftener than the agent may report.

        Raises:
            SessionStaleError: Not the present session, or no longer.
        """
        self._present(agent, session)
        life = self._pool.life(agent)
        bell = life.new_bell()
        while True:
            await bell.wait()
            if self._hung_up:
                return
            self._present(agent, session)  # before the ring is taken: it may be another session's
            if life.bell is not bell:
                return
            bell.clear()
            yield self._pool.state.revision
            await asyncio.sleep(max(life.gap_ms, self._pacer.gap_ms()) / 1000)

    def hang_up(self) -> None:
        """End all doorbells, now and from now on: nothing else would before the agents do."""
        self._hung_up = True
        for life in self._pool.lives.values():
            life.bell.set()

    # -- reports ---------------------------------------------------------------------------

    def sync_idle(self, idle: Idle) -> Answer | None:
        """Answer a report that has nothing to say at once; None when it must go through `sync`."""
        pool = self._pool
        book, life = pool.state.agents.get(idle.agent), pool.lives.get(idle.agent)
        if book is None or life is None or life.session != idle.session:
            return None
        answer = self._intake.take_idle(life, book, idle)
        if answer is not None:
            pool.tally.reported("delta", 0)
        return answer

    async def sync(self, report: Report) -> Answer:
        """Take a report or a part of one; answer a complete one with what to do.

        Raises:
            SessionStaleError: Not the present session.
            ReportOutOfOrderError: A part out of its turn, or a report that a later one overtook.
            NodeOwnedError: It reports another agent's node.
            InvalidArgumentError: A node or a lease twice, too many, or gone without having been.
        """
        try:
            answer = await self._sync(report)
        except PoolError:
            self._pool.tally.reports.add("rejected")
            raise
        self._pool.tally.reported(kind_of(report, answer), len(report.nodes))
        return answer

    async def _sync(self, report: Report) -> Answer:
        self._present(report.agent, report.session)
        life = self._pool.life(report.agent)
        before_ms, life.heard_ms = life.heard_ms, self._pool.clock.now_ms
        life.calls += 1
        call = life.calls
        try:
            return await self._intake.take(life, report)
        except (InvalidArgumentError, NodeOwnedError, ReportOutOfOrderError):
            # No contact: it would keep nodes open for grants that can never reach their agent.
            if life.calls == call:
                life.heard_ms = before_ms
            raise


def kind_of(report: Report, answer: Answer) -> str:
    """What became of a report, in the words of tally.REPORTS."""
    if answer.part_accepted:
        return "part"
    if answer.want_full:
        return "want_full"
    if report.delta:
        return "delta"
    return "unchanged" if report.nodes_unchanged else "full"


def _check_successor(book: AgentBook, record: AgentRecord, *, awaited: bool) -> None:
    last = book.record
    if record.journal_id != last.journal_id:
        if awaited or book.state in LIVING:
            # After a restart nobody is known to be alive: the name is its owner's to take first.
            lives = "is awaited" if awaited else "is alive"
            raise AgentNameTakenError(
                f"agent {record.name!r} {lives} with another journal; choose another name, or "
                "stop that agent",
                metadata={"agent": record.name},
            )
    elif record.session < last.session:
        raise SessionStaleError(
            f"agent {record.name!r} had session {last.session} already, {record.session} is older",
            metadata={"last_session": str(last.session)},
        )
