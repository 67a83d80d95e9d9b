"""Any interleaving of answers, late, doubled and old ones, restarts and crashes, at one agent.

Its disk may be full at any time: what cannot be written down then is done without, or done later.

The broker of this machine is as bad as can be: it sends any commands under any mark. The
agent's real book, arbiter, works and journal must keep their promises all the same.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from computepool.v1 import agent_pb2, types_pb2
from computepool_agents import contact
from computepool_agents.admission import overfull
from computepool_agents.answers import Arbiter, Verdict, verdict
from computepool_agents.book import Book
from computepool_agents.journal import Journal
from computepool_agents.model import ADMITTED, RELEASING, STARTED, Contact, Mark
from computepool_agents.talk import Talk
from computepool_agents.works import Surroundings, Works
from fakes.agent_builders import admit, make_answer, make_node, make_record, revoke, start
from fakes.agent_runner import SmallEngine

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from computepool_agents.answers import Plan
    from computepool_agents.model import Change

NODES = {name: make_node(name, cpu=4, memory=8, devices=2) for name in ("n1", "n2")}
LEASES = [f"a{number}.0.0" for number in range(5)]


RECORDS = st.builds(
    lambda lease, node, cpu, devices, milli, stop_after_s: make_record(
        lease,
        node,
        cpu=cpu,
        devices={f"{node}-d{place}": milli for place in devices},
        stop_after_s=stop_after_s,
    ),
    st.sampled_from(LEASES),
    st.sampled_from(["n1", "n1", "n1", "n2", "n2", "n9"]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([(), (), (0,), (0, 1), (2,)]),
    st.sampled_from([400, 1000]),
    st.sampled_from([None, 30]),
)
COMMANDS = st.lists(
    st.one_of(
        RECORDS.map(admit),
        RECORDS.map(admit),
        st.sampled_from(LEASES).map(start),
        st.sampled_from(LEASES).map(revoke),
    ),
    min_size=1,
    max_size=6,
)


class SmallJournal(Journal):
    """A journal whose disk can be full."""

    full = False

    def _write(self, change: Change) -> None:
        if self.full:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        super()._write(change)


class AgentMachine(RuleBasedStateMachine):
    """One agent without its network."""

    answers = Bundle("answers")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._tasks: set[asyncio.Task[None]] = set()
        self._now = Contact("boot-1", 1_000.0)
        self._engine = SmallEngine(*NODES.values())
        self._told_to_start: set[str] = set()
        self._highest_epoch = 0
        self._was_full = False
        self._mark = types_pb2.StoreMark(identity="store-1", epoch=1, revision=1)
        self._open()

    def teardown(self) -> None:
        self._runner.run(self._journal.close())
        self._runner.close()
        self._folder.cleanup()

    def _open(self) -> None:
        self._journal = SmallJournal.open(Path(self._folder.name), "agent-1")
        saved = self._journal.saved
        self._book = Book(saved.held, saved.seen, saved.contact)
        around = Surroundings(self._spawn, lambda: None, random.Random(1), structlog.get_logger())
        self._works = Works(self._book, self._journal, self._engine, around)
        self._talk = Talk("agent-1", 1, self._mark.identity)
        self._run(self._engine.adopt(self._book.held.values()))
        self._run(self._resume())

    async def _resume(self) -> None:
        self._works.resume()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        return task

    def _run(self, work: Coroutine[None, None, object]) -> None:
        async def run_all() -> None:
            await work
            while self._tasks:
                done, self._tasks = self._tasks, set()
                await asyncio.gather(*done)

        self._runner.run(run_all())

    @rule(target=answers, commands=COMMANDS, at_once=st.booleans())
    def the_broker_answers(
        self, commands: list[agent_pb2.LeaseCommand], at_once: bool
    ) -> agent_pb2.SyncResponse:
        self._mark.revision += 1
        for command in commands:
            if command.action == agent_pb2.LEASE_ACTION_ADMIT:
                command.record.mark.CopyFrom(self._mark)
        answer = make_answer(*commands)
        answer.mark.CopyFrom(self._mark)
        if at_once:
            self.an_answer_arrives(answer)
        return answer

    @rule(epoch=st.integers(-1, 1))
    def the_store_is_another_or_an_old_copy(self, epoch: int) -> None:
        other = "store-2" if self._mark.identity == "store-1" else "store-1"
        self._mark.identity = self._mark.identity if epoch < 0 else other
        self._mark.epoch = max(1, self._mark.epoch + epoch)
        self._mark.revision = max(1, self._mark.revision - 3)
        self.a_session_begins()

    @rule(answer=answers)
    def an_answer_arrives(self, answer: agent_pb2.SyncResponse) -> None:
        before = self._talk.applied_revision
        self._run(self._carry_out(answer))
        if self._talk.applied_revision > before:
            revoked = {
                command.lease_id
                for command in answer.commands
                if command.action == agent_pb2.LEASE_ACTION_REVOKE
            }
            admitted = {c.lease_id for c in answer.commands if c.HasField("record")}
            assert not (revoked - admitted) & self._book.held.keys()

    @rule(answer=answers)
    def the_agent_dies_between_commit_and_memory(self, answer: agent_pb2.SyncResponse) -> None:
        plan = self._plan(answer)
        if plan is not None and not self._journal.full:
            self._run(self._journal.commit(replace(plan.change, contact=self._now)))
            self._note(plan, answer)
        self._reopen()

    @rule()
    def the_disk_fills(self) -> None:
        self._journal.full = self._was_full = True

    @rule()
    def there_is_room(self) -> None:
        self._journal.full = False
        self._run(self._works.carry_out(lambda: None, self._now))
        assert not self._works._ended
        assert not self._works._ending

    @rule()
    def the_agent_restarts(self) -> None:
        before = dict(self._book.held)
        self._reopen()
        assert {held.lease_id: held for held in self._journal.saved.held} == before
        assert self._book.held == before

    @rule()
    def a_session_begins(self) -> None:
        self._talk = Talk("agent-1", self._talk.session + 1, self._mark.identity)

    @rule(silence_s=st.integers(1, 40))
    def the_broker_is_silent(self, silence_s: int) -> None:
        self._now = Contact(self._now.boot_id, self._now.at_s + silence_s)
        self._keep_contact_terms()
        for held in self._book.held.values():
            if held.lease_id in self._works._ending:
                assert self._journal.full, "it is torn down, and could be written down"
            elif held.state in {ADMITTED, STARTED} and held.record.spec.contact.after_s:
                assert self._book.contact is not None
                assert self._now.at_s - self._book.contact.at_s <= 30

    @rule()
    def the_machine_reboots(self) -> None:
        self._now = Contact(self._now.boot_id + "+", 10.0)
        self._reopen()
        self._keep_contact_terms()
        assert not any(
            held.record.spec.contact.after_s and held.state in {ADMITTED, STARTED}
            for held in self._book.held.values()
        )

    def _keep_contact_terms(self) -> None:
        async def keep() -> None:
            held = list(self._book.held.values())
            for lease in contact.expired(held, self._book.contact, self._now):
                self._works.end(lease, "CONTACT_LOST")

        self._run(keep())

    def _reopen(self) -> None:
        self._run(self._journal.close())
        self._open()

    async def _carry_out(self, answer: agent_pb2.SyncResponse) -> None:
        plan = await self._works.carry_out(lambda: self._plan(answer), self._now)
        if plan is not None:
            assert plan.kept or self._journal.full
            self._note(plan, answer)

    def _note(self, plan: Plan, answer: agent_pb2.SyncResponse) -> None:
        self._talk.applied(plan, answer.mark.revision if plan.kept else 0)
        if plan.kept:
            self._highest_epoch = max(self._highest_epoch, answer.mark.epoch)

    def _plan(self, answer: agent_pb2.SyncResponse) -> Plan | None:
        talk = self._talk
        if (
            verdict(answer, self._book.seen, talk.identity, talk.applied_revision)
            is not Verdict.APPLY
        ):
            return None
        assert answer.mark.epoch >= self._highest_epoch
        assert not answer.commands or answer.mark.revision > talk.applied_revision
        plan = Arbiter(self._book, talk.refused, NODES, lambda _: None).plan(answer)
        assert not {lease.lease_id for lease in plan.change.puts} & (
            talk.refused.keys() - set(plan.forgotten)
        )
        self._told_to_start |= {
            c.lease_id for c in answer.commands if c.action == agent_pb2.LEASE_ACTION_START
        }
        return plan

    @invariant()
    def never_more_than_there_is(self) -> None:
        for name, node in NODES.items():
            assert overfull(node, self._book.on_node(name).values()) == {}

    @invariant()
    def by_node_is_by_id(self) -> None:
        by_node = [held for name in NODES for held in self._book.on_node(name).values()]
        assert {held.lease_id: held for held in by_node} == self._book.held

    @invariant()
    def real_is_what_is_started_or_could_not_be_written_down(self) -> None:
        started = {i for i, held in self._book.held.items() if held.state == STARTED}
        admitted = {i for i, held in self._book.held.items() if held.state == ADMITTED}
        assert self._engine.real - started <= (admitted if self._was_full else set())
        assert started - self._engine.real <= self._works._ending
        assert self._engine.real <= self._told_to_start

    @invariant()
    def nothing_stays_half_torn_down_where_there_is_room(self) -> None:
        half = {i for i, held in self._book.held.items() if held.state == RELEASING}
        assert half <= self._works._ending
        assert self._journal.full or not self._works._ending

    @invariant()
    def the_highest_mark_never_falls(self) -> None:
        seen = self._book.seen or Mark("", 0, 0)
        assert seen.epoch == self._highest_epoch


AgentMachine.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAgentMachine = AgentMachine.TestCase
