"""Sessions and reports of agents: the broker's half of the lease protocol."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from computepool_broker.errors import (
    AgentNameTakenError,
    InvalidArgumentError,
    NodeOwnedError,
    OverloadedError,
    ProtocolUnsupportedError,
    ReportOutOfOrderError,
    SessionStaleError,
)
from computepool_broker.ledger import adoption, reconcile
from computepool_broker.ledger.transaction import PutAgent, Transaction
from computepool_broker.model.records import AgentRecord, AgentState
from computepool_broker.services.continuity import Continuity
from computepool_broker.services.messages import Answer, Mark, Open, Report
from computepool_broker.services.pacing import least_gap_ms, next_sync_ms
from computepool_broker.services.reports import Reports
from computepool_broker.services.settle import Settler
from computepool_broker.services.variety import check_variety

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from computepool_broker.ledger.state import AgentBook
    from computepool_broker.ledger.transaction import Outcome
    from computepool_broker.services.pool import AgentLife, Pool

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
        self._reports = Reports()
        self._settler = Settler(pool)
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
        life.session, life.sequence = record.session, 0
        life.heard_ms = pool.clock.now_ms
        life.reconciled = False
        life.answered_revision = 0
        life.held = {}
        life.strays = frozenset()
        self._reports.forget(record.name)
        life.bell.set()
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

        Ends with the session, or when the broker stops.

        Rings no oftener than the agent may report.

        Raises:
            SessionStaleError: Not the present session, or no longer.
        """
        book = self._present(agent, session)
        life = self._pool.life(agent)
        while True:
            await life.bell.wait()
            if self._hung_up:
                return
            self._present(agent, session)  # before the ring is taken: it may be another session's
            life.bell.clear()
            yield self._pool.state.revision
            gap_ms = least_gap_ms(len(book.leases), len(self._pool.state.agents))
            await asyncio.sleep(gap_ms / 1000)

    def hang_up(self) -> None:
        """End all doorbells, now and from now on: nothing else would before the agents do."""
        self._hung_up = True
        for life in self._pool.lives.values():
            life.bell.set()

    # -- reports ---------------------------------------------------------------------------

    async def sync(self, report: Report) -> Answer:
        """Take a report or a part of one; answer a complete one with what to do.

        Raises:
            SessionStaleError: Not the present session.
            ReportOutOfOrderError: A part out of its turn, or a report that a later one overtook.
            NodeOwnedError: It reports another agent's node.
            InvalidArgumentError: A node or a lease twice.
        """
        self._present(report.agent, report.session)
        life = self._pool.life(report.agent)
        before_ms, life.heard_ms = life.heard_ms, self._pool.clock.now_ms
        try:
            return await self._take(life, report)
        except (InvalidArgumentError, NodeOwnedError, ReportOutOfOrderError):
            # No contact: it would keep nodes open for grants that can never reach their agent.
            life.heard_ms = before_ms
            raise

    async def _take(self, life: AgentLife, report: Report) -> Answer:
        if report.sequence < life.sequence:
            # It was overtaken on its way: what it says is no longer so.
            raise ReportOutOfOrderError(
                f"report {report.sequence} came after report {life.sequence}; make a new one"
            )
        life.sequence = report.sequence
        whole = self._reports.take(report)
        if whole is None:
            return Answer(self.mark(), [], 0, 0, part_accepted=True)
        return await self._pool.committer.submit(lambda stage: self._sync(stage, whole))

    def _sync(self, stage: Stage, report: Report) -> Answer:
        pool = self._pool
        state = pool.state
        book = self._present(report.agent, report.session)
        life = pool.life(report.agent)
        gap = least_gap_ms(len(book.leases), len(state.agents))
        if not life.reconciled and self._incomplete_first(report):
            return Answer(self.mark(), [], gap, gap, want_full=True)
        held = {h.lease_id: h for h in report.held}
        if not report.nodes_unchanged:
            self._take_nodes(stage, book, report)
        suspects, life.suspects = life.suspects, set()
        self._settler.settle(stage, report.agent, held, report.applied_revision)
        self._settler.clear_suspects(stage, suspects - life.suspects)
        life.heard_ms = pool.clock.now_ms
        life.observed_ms = pool.clock.now_ms - report.oldest_ms
        life.applied_revision = report.applied_revision
        self._activate(stage, book, life)
        todo = reconcile.commands(state, book, held)
        life.answered_revision = state.revision
        life.old_strays = life.strays
        life.strays = frozenset(h for h in held if h not in book.leases)
        life.held = held
        interval = next_sync_ms(pool.config.report_interval_s, len(state.agents), self._jitter())
        return Answer(self.mark(), todo, interval, gap)

    def _incomplete_first(self, report: Report) -> bool:
        # The first report of a session must say everything: it is what is reconciled.
        return report.nodes_unchanged or any(
            h.record is None and h.state in adoption.ADOPTABLE for h in report.held
        )

    def _take_nodes(self, stage: Stage, book: AgentBook, report: Report) -> None:
        state = self._pool.state
        for record in report.nodes:
            owner = state.nodes.get(record.name)
            if owner is not None and owner.record.agent != report.agent:
                raise NodeOwnedError(
                    f"node {record.name!r} belongs to agent {owner.record.agent!r}",
                    metadata={"node": record.name, "agent": owner.record.agent},
                )
        changes = reconcile.node_changes(state, book, report.nodes)
        if changes:
            check_variety(self._pool.columns, [c.record for c in changes if c.record is not None])
            stage(Transaction(state.epoch, nodes=changes))

    def _activate(self, stage: Stage, book: AgentBook, life: AgentLife) -> None:
        life.reconciled = True
        pool, name = self._pool, book.record.name
        pool.expected_agents.discard(name)
        if book.state is not AgentState.ACTIVE:
            stage(
                Transaction(
                    pool.state.epoch, agents=(PutAgent(name, book.record, AgentState.ACTIVE),)
                )
            )


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
