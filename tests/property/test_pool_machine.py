"""Any interleaving of grants, reports, refusals, releases, expiry, crashes, lost stores, restored
backups, silent, restarted and forgotten agents, and lost, doubled and late messages.

A real broker without its wire, and real agents without their waiting, in a world that carries
the messages (tests/support/pool_world.py). After every step all invariants are recomputed; at the
end all may speak until nothing changes, and nothing may be missing (tests/support/pool_rest.py).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from computepool_agents.admission import Refusal
from computepool_broker.errors import (
    AgentAliveError,
    LeaseEndedError,
    NotFoundError,
    OutcomeUnknownError,
)
from computepool_broker.model.records import LIVE_STATES, AllocationState
from computepool_broker.model.request import Power, Spread, SpreadOver
from support.builders import make_spec
from support.pool_client import create
from support.pool_rest import come_to_rest
from support.pool_world import World

if TYPE_CHECKING:
    from pathlib import Path

    from support.sim_agent import SimAgent

SPECS = (
    make_spec(gpus=1, cpu=1),
    make_spec(gpus=2),
    make_spec(milli=400, ttl_s=60),
    make_spec(cpu=2, ttl_s=60),
    make_spec(gpus=1, count=2),
    make_spec(gpus=1, cpu=1, count=3, stop_after_s=60),
    make_spec(cpu=1, stop_after_s=30),
    make_spec(gpus=1, count=2, spread=Spread(SpreadOver.NODES, 1)),
    make_spec(cpu=1, power=Power(3 * 989_400 - 1)),
)
WHAT = st.integers(0, len(SPECS) - 1)
FATES = ("delivered",) * 4 + ("lost", "doubled", "late", "answer_lost", "answer_late")
SHAPES = ("whole", "whole", "smaller", "sick", "foreign", "gone")
WORST = ("messages", "nodes", "processes", "stores")
"""What can go wrong in a run, each with all before it."""
NODES, PROCESSES, STORES = 1, 2, 3


class PoolMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
        self.world: World | None = None
        self.known: list[str] = []
        self.old_journals: dict[str, tuple[Path, int]] = {}
        self.copies = 0

    @initialize(
        agents=st.integers(2, 4),
        devices=st.integers(1, 2),
        joined=st.booleans(),
        worst=st.sampled_from(WORST),
    )
    def begin(self, agents: int, devices: int, joined: bool, worst: str) -> None:
        self.w = self.world = World(agents, devices)
        self.worst = WORST.index(worst)
        if joined:
            self.all_agents_report()
            self.the_pool_is_at_work([0, 4], 3)

    def teardown(self) -> None:
        if self.world is not None:
            try:
                come_to_rest(self.world)
            finally:
                self.world.close()
        structlog.reset_defaults()

    def ask(self, what: int, request_id: str = "") -> None:
        self.w.run(create(self.w, SPECS[what], request_id, self.known))

    def agent(self, at: int) -> SimAgent:
        return list(self.w.agents.values())[at % len(self.w.agents)]

    # -- clients ---------------------------------------------------------------------------

    @rule(what=WHAT, request_id=st.sampled_from(("", "", "r1", "r2", "r3")))
    def a_client_asks(self, what: int, request_id: str) -> None:
        self.ask(what, request_id)

    @rule(whats=st.lists(WHAT, min_size=1, max_size=4), rounds=st.integers(1, 3))
    def the_pool_is_at_work(self, whats: list[int], rounds: int) -> None:
        for what in whats:
            self.ask(what)
        for _ in range(rounds):
            self.all_agents_report()

    @precondition(lambda self: self.known)
    @rule(at=st.integers(0, 20))
    def a_client_releases(self, at: int) -> None:
        self.release(self.known[at % len(self.known)])

    @precondition(lambda self: self.known)
    @rule(at=st.integers(0, 20))
    def a_tenant_leaves_and_another_comes(self, at: int) -> None:
        live = [k for k, a in self.w.kit.pool.state.allocations.items() if a.state in LIVE_STATES]
        if live:
            self.release(live[at % len(live)])
        self.all_agents_report()
        self.a_client_asks(at % len(SPECS), "")

    def release(self, key: str) -> None:
        async def work() -> None:
            try:
                done = await self.w.kit.allocations.release(key, "", "")
            except (NotFoundError, OutcomeUnknownError):
                return
            assert done.state in (AllocationState.RELEASING, AllocationState.ENDED)

        self.w.run(work())

    @precondition(lambda self: self.known)
    @rule(at=st.integers(0, 20), ttl_s=st.sampled_from((0, 0, 40, 600)))
    def a_client_renews(self, at: int, ttl_s: int) -> None:
        key = self.known[at % len(self.known)]

        async def work() -> None:
            asked_ms = self.w.kit.pool.clock.now_ms
            try:
                renewed = await self.w.kit.allocations.renew(key, "", ttl_s)
            except (NotFoundError, LeaseEndedError, OutcomeUnknownError):
                return
            _, before_ms = self.w.oracle.promised.get(key, (0, renewed.spec.ttl_s * 1000))
            self.w.oracle.promise(renewed, asked_ms, ttl_s or before_ms // 1000)

        self.w.run(work())

    # -- time and messages -----------------------------------------------------------------

    @rule(ticks=st.integers(1, 3))
    def time_passes(self, ticks: int) -> None:
        for _ in range(ticks):
            self.w.tick()

    @rule(at=st.integers(0, 3), fate=st.sampled_from(FATES), only_wholes=st.booleans())
    def an_agent_reports(self, at: int, fate: str, only_wholes: bool) -> None:
        self.agent(at).only_wholes = only_wholes
        self.w.report(self.agent(at).name, fate)

    @rule()
    def all_agents_report(self) -> None:
        for name in self.w.agents:
            self.w.report(name)

    @precondition(lambda self: self.w.late_requests)
    @rule(at=st.integers(0, 20))
    def a_late_request_arrives(self, at: int) -> None:
        self.w.deliver_late_request(at)

    @precondition(lambda self: self.w.late_answers)
    @rule(at=st.integers(0, 20), twice=st.booleans())
    def a_late_answer_arrives(self, at: int, twice: bool) -> None:
        self.w.deliver_late_answer(at, twice=twice)

    @precondition(lambda self: self.worst >= NODES)
    @rule(at=st.integers(0, 3), place=st.integers(0, 1), shape=st.sampled_from(SHAPES))
    def a_report_is_overtaken(self, at: int, place: int, shape: str) -> None:
        name = self.agent(at).name
        self.w.report(name, "late")
        self.w.reshape(name, place, shape)
        self.w.report(name)
        while self.w.late_requests:
            self.w.deliver_late_request(0)

    @rule(at=st.integers(0, 3), what=WHAT, released=st.booleans(), fate=st.sampled_from(FATES))
    def an_answer_is_overtaken(self, at: int, what: int, released: bool, fate: str) -> None:
        name = self.agent(at).name
        self.a_client_asks(what, "")
        self.w.report(name, "answer_late")
        if released and self.known:
            self.release(self.known[-1])
        self.w.report(name, fate)
        while self.w.late_answers:
            self.w.deliver_late_answer(0, twice=False)
        self.w.report(name)

    # -- agents ----------------------------------------------------------------------------

    @precondition(lambda self: self.worst >= PROCESSES)
    @rule(at=st.integers(0, 3), stays_away=st.booleans())
    def an_agent_dies(self, at: int, stays_away: bool) -> None:
        agent = self.agent(at)
        if agent.up:
            self.w.kill_agent(agent.name)
            if not stays_away:
                self.w.start_agent(agent.name)
        else:
            self.w.start_agent(agent.name)

    @precondition(lambda self: self.worst >= PROCESSES)
    @rule(at=st.integers(0, 3))
    def an_agent_says_goodbye(self, at: int) -> None:
        agent = self.agent(at)
        if agent.up and not agent.busy and agent.talk is not None:
            self.w.goodbye(agent.name)

    @precondition(lambda self: self.worst >= NODES)
    @rule(at=st.integers(0, 3), place=st.integers(0, 1), shape=st.sampled_from(SHAPES))
    def a_node_changes(self, at: int, place: int, shape: str) -> None:
        self.w.reshape(self.agent(at).name, place, shape)

    @rule(at=st.integers(0, 3), refuses=st.booleans(), what=WHAT)
    def an_engine_refuses(self, at: int, refuses: bool, what: int) -> None:
        self.agent(at).engine.refusal = Refusal("ENGINE", "not now") if refuses else None
        self.a_client_asks(what, "")
        self.w.report(self.agent(at).name)

    @precondition(lambda self: self.worst >= PROCESSES)
    @rule(at=st.integers(0, 3), hangs=st.booleans())
    def teardowns_hang(self, at: int, hangs: bool) -> None:
        self.w.hang_teardowns(self.agent(at).name, hangs=hangs)

    @precondition(lambda self: self.worst >= PROCESSES)
    @rule(at=st.integers(0, 3), ticks=st.integers(1, 3), later=st.sampled_from((0, 5)))
    def an_agent_is_forgotten(self, at: int, ticks: int, later: int) -> None:
        agent = self.agent(at)
        if agent.up:
            self.w.kill_agent(agent.name)
        self.time_passes(ticks)
        self.w.run(self._forget(agent))
        self.time_passes(later)
        self.w.start_agent(agent.name)
        self.w.report(agent.name)

    async def _forget(self, agent: SimAgent) -> None:
        struck_off = agent.name in self.w.oracle.struck_off
        self.w.oracle.forgotten(agent)
        try:
            await self.w.kit.inventory.forget(agent.name)
        except (AgentAliveError, NotFoundError):
            self.w.oracle.forgotten(agent, really=struck_off)
        except OutcomeUnknownError:
            return

    @precondition(lambda self: self.worst >= PROCESSES)
    @rule(at=st.integers(0, 3))
    def a_journal_is_copied(self, at: int) -> None:
        agent = self.agent(at)
        if not agent.up:
            self.copies += 1
            copy = self.w.copy_journal(agent.name, self.copies)
            self.old_journals[agent.name] = (copy, agent.session)

    @precondition(lambda self: self.old_journals)
    @rule(at=st.integers(0, 3))
    def an_old_journal_is_used(self, at: int) -> None:
        names = sorted(self.old_journals)
        name = names[at % len(names)]
        copy, session = self.old_journals[name]
        book = self.w.kit.pool.state.agents.get(name)
        if book is not None and not self.w.store.hold and session + 1 < book.record.session:
            del self.old_journals[name]
            self.w.try_old_journal(name, copy)

    # -- the broker and its disk -----------------------------------------------------------

    @precondition(lambda self: self.worst >= PROCESSES)
    @rule()
    def the_broker_crashes(self) -> None:
        self.w.restart_broker()

    @precondition(lambda self: self.worst >= PROCESSES)
    @rule()
    def the_disk_hangs(self) -> None:
        self.w.store.hold = True

    @precondition(lambda self: self.w.store.hold)
    @rule()
    def the_disk_goes_on(self) -> None:
        self.w.let_go()

    @precondition(lambda self: self.worst >= PROCESSES)
    @rule(what=WHAT)
    def the_disk_fails(self, what: int) -> None:
        self.w.store.fail = True
        self.ask(what)
        self.w.restart_broker()

    @precondition(lambda self: self.worst >= STORES)
    @rule()
    def a_backup_is_taken(self) -> None:
        self.w.take_backup()

    @precondition(lambda self: self.w.backup)
    @rule()
    def the_backup_is_restored(self) -> None:
        self.w.restore_backup()

    @precondition(lambda self: self.worst >= STORES)
    @rule(whats=st.lists(WHAT, min_size=1, max_size=3), late=st.integers(0, 3))
    def an_older_store_is_put_back(self, whats: list[int], late: int) -> None:
        self.w.take_backup()
        self.the_pool_is_at_work(whats, 2)
        self.w.restore_backup()
        for name in sorted(self.w.agents, key=lambda name: name == self.agent(late).name):
            self.w.report(name)
            self.w.report(name)

    @precondition(lambda self: self.worst >= STORES)
    @rule(often=st.integers(0, 3))
    def the_store_is_lost(self, often: int) -> None:
        if not often:
            self.w.lose_store()

    @precondition(lambda self: self.worst >= NODES)
    @rule(at=st.integers(0, 3), place=st.integers(1, 2), on=st.booleans(), center=st.booleans())
    def an_operator_cordons(self, at: int, place: int, on: bool, center: bool) -> None:
        async def work() -> None:
            agent, inventory = self.agent(at), self.w.kit.inventory
            try:
                if center:
                    await inventory.cordon_center(agent.identity.center, "why", on=on)
                else:
                    await inventory.cordon_node(f"{agent.name}-n{place}", "why", on=on)
            except (NotFoundError, OutcomeUnknownError):
                return

        self.w.run(work())


THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"  # an hour or two
PoolMachine.TestCase.settings = settings(
    max_examples=10_000 if THOROUGH else 120,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestPoolMachine = pytest.mark.timeout(7200 if THOROUGH else 300)(PoolMachine.TestCase)
