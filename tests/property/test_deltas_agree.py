"""Differences leave the ledger in exactly the state that whole reports would.

Two brokers are given the same commands. In one the agents report whole each time, in the other by
differences to the last report that was answered; messages are lost, doubled, and their answers
lost. After each report tables, answers and what is known of the agents are compared.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from computepool_broker.errors import NotFoundError
from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.reconcile import Action, Held, HeldState
from computepool_broker.services.ids import AllocationIds
from support.broker_kit import BrokerKit
from support.builders import make_agent, make_config, make_node, make_resources, make_spec
from support.memory_store import MemoryStore
from support.state_text import everything

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from computepool_broker.model.records import NodeRecord
    from computepool_broker.services.messages import Answer

AGENTS = ("a1", "a2")
SPECS = (make_spec(gpus=1), make_spec(milli=400), make_spec(cpu=2), make_spec(gpus=1, count=2))
FATES = ("delivered",) * 4 + ("lost", "doubled", "answer_lost")
KINDS = ("usual", "usual", "busy", "small", "gone")


class Agent:
    """What an agent has, and what its last answered report said."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes = {f"{name}-n{at}": make_node(f"{name}-n{at}", agent=name) for at in range(3)}
        self.held: dict[str, Held] = {}
        self.applied = 0
        self.answer: Answer | None = None
        self.base = 0
        self.base_nodes: dict[str, NodeRecord] = {}
        self.base_held: dict[str, Held] = {}

    def shape(self, at: int, kind: str) -> None:
        """Another state of a node."""
        name = f"{self.name}-n{at}"
        shapes = {
            "usual": make_node(name, agent=self.name),
            "busy": make_node(name, agent=self.name, foreign=make_resources(cpu=50)),
            "small": make_node(name, agent=self.name, gpus=1, cpu=1),
        }
        self.nodes.pop(name, None)
        if kind in shapes:
            self.nodes[name] = shapes[kind]

    def obey(self, *, refuses: bool) -> None:
        """Do what the last answer said; torn down is what was RELEASING before."""
        for key in [k for k, h in self.held.items() if h.state is HeldState.RELEASING]:
            del self.held[key]
        if self.answer is None:
            return
        for line in self.answer.commands:
            has = self.held.get(line.lease_id)
            if line.action is Action.ADMIT and has is None:
                state = HeldState.REFUSED if refuses else HeldState.ADMITTED
                self.held[line.lease_id] = Held(line.lease_id, state, "ENGINE" if refuses else "")
            elif line.action is Action.START and has is not None:
                self.held[line.lease_id] = Held(line.lease_id, HeldState.STARTED)
            elif line.action is Action.REVOKE and has is not None:
                if has.state in (HeldState.REFUSED, HeldState.STOPPED):
                    del self.held[line.lease_id]
                else:
                    self.held[line.lease_id] = Held(line.lease_id, HeldState.RELEASING)
        self.applied, self.answer = self.answer.mark.revision, None

    def changes(self) -> dict[str, Any]:
        """The difference to the base, as an argument list of BrokerKit.report."""
        return {
            "nodes": [n for k, n in self.nodes.items() if self.base_nodes.get(k) != n],
            "held": [h for k, h in self.held.items() if self.base_held.get(k) != h],
            "nodes_gone": [k for k in self.base_nodes if k not in self.nodes],
            "leases_gone": [k for k in self.base_held if k not in self.held],
            "base": self.base,
        }

    def whole(self) -> dict[str, Any]:
        """Everything, as an argument list of BrokerKit.report."""
        return {"nodes": list(self.nodes.values()), "held": list(self.held.values())}


class DeltasAgree(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
        self.runner = asyncio.Runner()
        self.agents = [Agent(name) for name in AGENTS]
        self.known: list[str] = []

    @initialize()
    def begin(self) -> None:
        async def work() -> None:
            self.kits = [
                BrokerKit(MemoryStore(), make_config(), AllocationIds(lambda _: 5))
                for _ in range(2)
            ]
            for kit in self.kits:
                await kit.start()
                for name in AGENTS:
                    await kit.open(make_agent(name))

        self.run(work())
        self.whole, self.differences = self.kits
        for at in range(len(AGENTS)):
            self.an_agent_reports(at, "delivered")

    def teardown(self) -> None:
        async def work() -> None:
            for kit in self.kits:
                await kit.stop()

        self.run(work())
        self.runner.close()
        structlog.reset_defaults()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    # -- commands ----------------------------------------------------------------------------

    @rule(what=st.integers(0, len(SPECS) - 1))
    def a_client_asks(self, what: int) -> None:
        async def ask(kit: BrokerKit) -> str:
            try:
                return (await kit.create(SPECS[what])).id
            except Exception as error:  # noqa: BLE001 - both must fail alike
                return type(error).__name__

        made = [self.run(ask(kit)) for kit in self.kits]
        assert made[0] == made[1]
        if made[0] in self.whole.pool.state.allocations:
            self.known.append(made[0])

    @precondition(lambda self: self.known)
    @rule(at=st.integers(0, 20))
    def a_client_releases(self, at: int) -> None:
        key = self.known[at % len(self.known)]
        for kit in self.kits:
            try:
                self.run(kit.allocations.release(key, "", ""))
            except NotFoundError:
                assert key not in self.whole.pool.state.allocations

    @rule()
    def time_passes(self) -> None:
        for kit in self.kits:
            self.run(kit.tick())

    @rule(who=st.integers(0, 1), at=st.integers(0, 2), kind=st.sampled_from(KINDS))
    def a_node_changes(self, who: int, at: int, kind: str) -> None:
        self.agents[who].shape(at, kind)

    @rule(who=st.integers(0, 1), refuses=st.sampled_from((False, False, True)))
    def an_agent_obeys(self, who: int, refuses: bool) -> None:
        self.agents[who].obey(refuses=refuses)

    @rule(who=st.integers(0, 1))
    def an_agent_stops_a_lease(self, who: int) -> None:
        held = self.agents[who].held
        for key, lease in held.items():
            if lease.state is HeldState.STARTED:
                held[key] = Held(key, HeldState.STOPPED, "START_FAILED")
                return

    @rule(who=st.integers(0, 1), fate=st.sampled_from(FATES))
    def an_agent_reports(self, who: int, fate: str) -> None:
        agent = self.agents[who]
        if fate != "lost":
            self.run(self._report(agent, fate))
            self.compare(agent)

    async def _report(self, agent: Agent, fate: str) -> None:
        common: dict[str, Any] = {"agent": agent.name, "applied": agent.applied}
        got = None
        if agent.base:
            got = await self.differences.report(**agent.changes(), **common)
            if got.want_full:
                self.skip(self.whole, agent)
        if got is None or got.want_full:
            got = await self.differences.report(**agent.whole(), **common)
        want = await self.whole.report(**agent.whole(), **common)
        assert lines(got) == lines(want)
        assert got.mark == want.mark
        if fate == "doubled" and agent.base:
            for kit in self.kits:
                self.skip(kit, agent, -1)
            if (await self.differences.report(**agent.changes(), **common)).want_full:
                self.skip(self.whole, agent)
            else:
                await self.whole.report(**agent.whole(), **common)
        if fate != "answer_lost":
            agent.answer, agent.base = want, self.whole._sequences[agent.name]
            agent.base_nodes, agent.base_held = dict(agent.nodes), dict(agent.held)

    def skip(self, kit: BrokerKit, agent: Agent, by: int = 1) -> None:
        """Count a report that the other broker alone has had."""
        kit._sequences[agent.name] += by

    # -- what must agree ---------------------------------------------------------------------

    def compare(self, agent: Agent) -> None:
        want, got = (shown(kit) for kit in self.kits)
        assert got == want
        lives = [kit.pool.life(agent.name) for kit in self.kits]
        assert lives[0].held == lives[1].held == agent.held
        for what in ("strays", "suspects", "observed_ms", "heard_ms", "applied_revision"):
            assert getattr(lives[0], what) == getattr(lives[1], what), what
        assert not check_invariants(self.differences.pool.state, self.differences.pool.columns)


def lines(answer: Answer) -> set[tuple[str, Action, str]]:
    return {(line.lease_id, line.action, line.reason) for line in answer.commands}


def shown(kit: BrokerKit) -> dict[str, Any]:
    """All tables, but for which of several leases that a report moves went first."""
    tables = everything(kit.pool.state)
    texts = {
        key: re.sub(r",\d+(?=[,\]])", ",n", text) for key, text in tables["allocations"].items()
    }
    return tables | {"allocations": texts}


THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
DeltasAgree.TestCase.settings = settings(
    max_examples=3_000 if THOROUGH else 60, stateful_step_count=40, deadline=None
)
TestDeltasAgree = pytest.mark.timeout(7200 if THOROUGH else 200)(DeltasAgree.TestCase)
