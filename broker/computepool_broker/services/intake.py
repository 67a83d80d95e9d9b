"""Taking reports into the tables: whole ones and deltas, large ones slice by slice.

    parts ──Reports──> one report ──> check ──> nodes ──> leases ──> conclude: the answer

A small report is one job of the writer. A large one is a row of jobs, a slice each, with other
jobs between them, so that nobody waits for a center of 20,000 nodes; one such report is under way
at a time. What a report leaves out counts only in its last slices (nodes that are gone), and the
agent is active only after the last. Between two slices its session may end or a later report of it
may come: then the rest does not count, and the next must be whole.

What an agent holds is remembered from report to report, and what a commit changes is noted by
agent (AgentBook.changed). So a delta is compared with the ledger only where either has moved: a
report that has nothing to say costs the same whether the agent holds ten leases or 100,000.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.errors import (
    InvalidArgumentError,
    NodeOwnedError,
    ReportOutOfOrderError,
)
from computepool_broker.ledger import reconcile
from computepool_broker.ledger.transaction import PutAgent, Transaction
from computepool_broker.model.records import AgentState
from computepool_broker.services.committer import MAX_BATCH
from computepool_broker.services.messages import Answer
from computepool_broker.services.pacing import next_sync_ms
from computepool_broker.services.reports import Reports
from computepool_broker.services.settle import Settler
from computepool_broker.services.slices import (
    GONE_NODE,
    NEW_NODE,
    SLICE,
    equal_slices,
    lease_weight,
    slices,
)
from computepool_broker.services.variety import Kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from computepool_broker.ledger.reconcile import Command, Held
    from computepool_broker.ledger.state import AgentBook
    from computepool_broker.ledger.transaction import Outcome
    from computepool_broker.model.records import NodeRecord
    from computepool_broker.services.messages import Idle, Mark, Report
    from computepool_broker.services.pacing import Pacer
    from computepool_broker.services.pool import AgentLife, Pool

    Stage = Callable[[Transaction], Outcome]
    Steps = Generator[None, None, Answer]

MOST_COMMANDS = 10_000
"""Commands worked out for one answer; the rest comes with the next."""


class Surroundings(NamedTuple):
    """What the intake needs of the service that it belongs to.

    Attributes:
        present: The agent's book, while a session is its present one.
        mark: The store's mark now.
        jitter: From 0 to 1.
        pacer: Says how close reports may follow on each other.
    """

    present: Callable[[str, int], AgentBook]
    mark: Callable[[], Mark]
    jitter: Callable[[], float]
    pacer: Pacer


class _Work(NamedTuple):
    """One report on its way in."""

    report: Report
    life: AgentLife
    turn: int
    large: bool
    steps: list[Steps]


class Intake:
    """See the module."""

    def __init__(self, pool: Pool, around: Surroundings) -> None:
        self._pool = pool
        self._around = around
        self._reports = Reports()
        self._settler = Settler(pool)
        self._large = asyncio.Lock()

    def forget(self, agent: str) -> None:
        """Drop what has come of an agent's unfinished report."""
        self._reports.forget(agent)

    def take_idle(self, life: AgentLife, book: AgentBook, idle: Idle) -> Answer | None:
        """Answer a report that has nothing to say, when nobody has anything to say to its agent.

        Such a report needs no job of the writer while all that the tables show is durable. None
        when it needs one, or is to be refused: `take` says how.
        """
        quiet = (
            life.has_base(idle.base_sequence)
            and idle.sequence >= life.sequence
            and book.state is AgentState.ACTIVE
            and not (book.changed or book.gone or life.todo or life.suspects or life.old_suspects)
            and self._pool.committer.at_rest
        )
        if not quiet:
            return None
        self._reports.forget(idle.agent)
        self._around.pacer.count(self._pool.clock.now_ms)
        life.calls += 1
        life.turn += 1
        life.sequence = life.complete = idle.sequence
        return self._answer(life, idle.applied_revision, [])

    async def take(self, life: AgentLife, report: Report) -> Answer:
        """Take a report or a part of one; answer a complete one with what to do.

        Raises:
            SessionStaleError: The session has ended meanwhile.
            ReportOutOfOrderError: A part out of its turn, or a later report overtook it.
            NodeOwnedError: It reports another agent's node.
            InvalidArgumentError: A node or a lease twice, too many, or gone without having been.
        """
        if report.sequence < life.sequence:
            # It was overtaken on its way: what it says is no longer so.
            raise ReportOutOfOrderError(
                f"report {report.sequence} came after report {life.sequence}; make a new one"
            )
        life.sequence = report.sequence
        whole = self._reports.take(report)
        if whole is None:
            return Answer(self._around.mark(), [], 0, 0, part_accepted=True)
        self._around.pacer.count(self._pool.clock.now_ms)
        life.turn += 1
        weight = self._weight(whole)
        work = _Work(whole, life, life.turn, weight > SLICE, [])
        if not work.large:
            answer = await self._submit(work, 1 + weight // 64)
        else:
            async with self._large:
                while (answer := await self._submit(work, MAX_BATCH)) is None:
                    pass
        if answer is None:
            raise AssertionError("a small report is taken in one step")
        return answer

    def _weight(self, report: Report) -> int:
        weight = len(report.nodes) + len(report.held)
        if weight > SLICE:
            return weight
        weight = sum(map(lease_weight, report.held)) + len(report.leases_gone)
        weight += sum(map(self._node_weight, report.nodes)) + GONE_NODE * len(report.nodes_gone)
        book = self._pool.state.agents.get(report.agent)
        if report.delta or book is None:
            return weight
        # A whole report says something of all that it leaves out.
        lacking = 0 if report.nodes_unchanged else len(book.nodes) - len(report.nodes)
        return weight + len(book.leases) + GONE_NODE * max(0, lacking)

    def _node_weight(self, record: NodeRecord) -> int:
        book = self._pool.state.nodes.get(record.name)
        return 1 if book is not None and book.record is record else NEW_NODE

    # -- steps -----------------------------------------------------------------------------

    async def _submit(self, work: _Work, weight: int) -> Answer | None:
        return await self._pool.committer.submit(partial(self._step, work), weight)

    def _step(self, work: _Work, stage: Stage) -> Answer | None:
        """One slice; gives the answer after the last."""
        book = self._around.present(work.report.agent, work.report.session)
        if not work.steps:
            work.steps.append(self._steps(work, book, stage))
        elif work.life.turn != work.turn or self._pool.life(work.report.agent) is not work.life:
            raise ReportOutOfOrderError(f"report {work.report.sequence} was overtaken")
        try:
            next(work.steps[0])
        except StopIteration as done:
            answer: Answer = done.value
            return answer
        return None

    def _steps(self, work: _Work, book: AgentBook, stage: Stage) -> Steps:
        report, life = work.report, work.life
        incomplete = not life.reconciled and report.incomplete
        if incomplete or (report.delta and not life.has_base(report.base_sequence)):
            # Nothing of it counts. It is contact all the same: the agent takes any answer for
            # contact and lets its terms run on (rule 13), so it is not silent (rule 10), and
            # what it was asked for, a whole report, is on its way.
            life.heard_ms = self._pool.clock.now_ms
            gap_ms = self._gap_ms(life, 0)
            return Answer(self._around.mark(), [], gap_ms, gap_ms, want_full=True)
        yield from self._check(work, book)
        since = life.same_since
        life.lose_base()  # until it is all in: nothing is the difference to half a report
        yield from self._take_nodes(work, book, stage)
        among = yield from self._take_leases(work, book, stage)
        life.complete = report.sequence
        life.same_since = since if report.says_nothing_new else report.sequence
        return self._conclude(work, book, stage, among)

    def _check(self, work: _Work, book: AgentBook) -> Generator[None]:
        """Refuse the whole report for what any of it says, before anything is changed."""
        report, state = work.report, self._pool.state
        for at, name in enumerate(report.nodes_gone):
            if name not in book.nodes or name in book.gone:
                raise InvalidArgumentError(f"nodes_gone[{at}]", f"{name!r} was not there")
        for at, name in enumerate(report.leases_gone):
            if name not in work.life.held:
                raise InvalidArgumentError(f"leases_gone[{at}]", f"{name!r} was not held")
        kinds = Kinds(self._pool.columns)
        for some in slices(report.nodes, self._node_weight):
            for record in some:
                owner = state.nodes.get(record.name)
                if owner is not None and owner.record.agent != report.agent:
                    raise NodeOwnedError(
                        f"node {record.name!r} belongs to agent {owner.record.agent!r}",
                        metadata={"node": record.name, "agent": owner.record.agent},
                    )
            kinds.add(record for record in some if self._node_weight(record) > 1)
            if work.large:
                yield

    def _take_nodes(self, work: _Work, book: AgentBook, stage: Stage) -> Generator[None]:
        report, state = work.report, self._pool.state
        if report.nodes_unchanged:
            return
        for some in slices(report.nodes, self._node_weight):
            changes = reconcile.node_changes(state, some)
            if changes:
                stage(Transaction(state.epoch, nodes=changes))
            if work.large:
                yield
        gone = report.nodes_gone
        if not report.delta:
            gone = sorted(book.nodes - {record.name for record in report.nodes})
        for names in slices(gone, lambda _: GONE_NODE):
            changes = reconcile.vanished(state, names)
            if changes:
                stage(Transaction(state.epoch, nodes=changes))
            if work.large:
                yield

    def _take_leases(
        self, work: _Work, book: AgentBook, stage: Stage
    ) -> Generator[None, None, Iterable[str]]:
        """Settle leases with the ledger; gives those that may need a command."""
        report, life = work.report, work.life
        life.old_suspects |= life.suspects
        life.suspects = set()
        changed, book.changed = book.changed, {}
        before, held = life.held, life.held if report.delta else {}
        for lease_id in report.leases_gone:
            del held[lease_id]
        for some in equal_slices(report.held):
            life.fresh.update(h.lease_id for h in some if h.lease_id not in before)
            held.update((h.lease_id, h.bare) for h in some)
            if work.large:
                yield
        life.held = held
        known = (*life.todo, *changed, *report.leases_gone) if report.delta else book.leases
        among = list(dict.fromkeys((*known, *(h.lease_id for h in report.held))))
        for names in equal_slices(among):
            self._settler.tear_down(stage, book, held, report.applied_revision, names)
            if work.large:
                yield
        for some in slices(report.held, lease_weight):
            for lease in some:
                self._settler.settle(stage, book, lease, fresh=lease.lease_id in life.fresh)
            if work.large:
                yield
        life.fresh.clear()
        if not work.large:
            return among
        return (yield from self._open_among(book, held, among))

    def _open_among(
        self, book: AgentBook, held: dict[str, Held], among: Sequence[str]
    ) -> Generator[None, None, list[str]]:
        out: list[str] = []
        for names in equal_slices(among):
            found = reconcile.commands(self._pool.state, book, held, names)
            out += [line.lease_id for line in found]
            yield
        return out

    # -- the answer ------------------------------------------------------------------------

    def _conclude(self, work: _Work, book: AgentBook, stage: Stage, among: Iterable[str]) -> Answer:
        pool, report, life = self._pool, work.report, work.life
        self._settler.forget_emptied(stage, book)
        self._settler.clear_suspects(stage, life.old_suspects - life.suspects)
        life.old_suspects = set()
        self._activate(stage, book, life)
        look = list(dict.fromkeys((*among, *book.changed)))
        book.changed.clear()
        todo = reconcile.commands(pool.state, book, life.held, look[:MOST_COMMANDS])
        rest = look[MOST_COMMANDS:]
        life.todo = rest + [line.lease_id for line in todo]
        life.old_strays = life.strays
        life.strays = frozenset(
            name for name in life.todo if name in life.held and name not in book.leases
        )
        answer = self._answer(
            life, report.applied_revision, todo, report.oldest_ms, len(report.held)
        )
        return answer._replace(next_sync_ms=answer.least_gap_ms) if rest else answer

    def _answer(
        self,
        life: AgentLife,
        applied_revision: int,
        todo: list[Command],
        oldest_ms: int = 0,
        leases: int = 0,
    ) -> Answer:
        """The answer to a complete report, and what is remembered of it."""
        pool, now = self._pool, self._pool.clock.now_ms
        life.heard_ms, life.observed_ms = now, now - oldest_ms
        life.applied_revision = applied_revision
        life.answered_revision = pool.state.revision
        gap_ms = self._gap_ms(life, leases)
        agents, jitter = len(pool.state.agents), self._around.jitter()
        due_ms = next_sync_ms(pool.config.report_interval_s, agents, jitter)
        return Answer(self._around.mark(), todo, due_ms, gap_ms)

    def _gap_ms(self, life: AgentLife, leases: int) -> int:
        life.gap_ms = self._around.pacer.gap_ms(leases, len(self._pool.state.agents))
        return life.gap_ms

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
