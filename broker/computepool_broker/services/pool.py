"""What all services share.

The tables, the view, the writer, and what the broker knows only while it lives: deadlines,
waiters, how agents are doing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from computepool_broker.control.clock import ServiceClock
from computepool_broker.control.ttl import Deadlines
from computepool_broker.ledger.state import LedgerState
from computepool_broker.model.records import AgentState, AllocationState
from computepool_broker.placement.columns import Columns
from computepool_broker.placement.planner import Planner
from computepool_broker.services.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.config import Config
    from computepool_broker.ledger.reconcile import Held
    from computepool_broker.ledger.state import Touched
    from computepool_broker.model.records import Allocation
    from computepool_broker.services.committer import Committer

NEVER = -1


@dataclass(slots=True)
class AgentLife:
    """What the broker knows of an agent only while it lives.

    Attributes:
        heard_ms: Service clock at the last answered call; at the broker's start for agents
            that have not called yet.
        observed_ms: Service clock at the last complete report with looked-at nodes; NEVER
            before the first.
        session: The session opened in this life of the broker; 0 before the first.
        sequence: Number of the newest report of the session of which anything has come.
        reconciled: The session has had a complete report.
        held: Leases in the last complete report.
        strays: Leases that the last report held against the ledger's will; old_strays: the
            one before.
        applied_revision: As in the last complete report.
        answered_revision: The ledger's revision that it was last answered at.
        suspects: Nodes where it refused a lease, until its next complete report.
        bell: Set when the agent should call.
    """

    heard_ms: int
    session: int = 0
    sequence: int = 0
    observed_ms: int = NEVER
    reconciled: bool = False
    held: dict[str, Held] = field(default_factory=dict)
    strays: frozenset[str] = frozenset()
    old_strays: frozenset[str] = frozenset()
    applied_revision: int = 0
    answered_revision: int = 0
    refusals: int = 0
    last_refusal: str = ""
    suspects: set[str] = field(default_factory=set)
    bell: asyncio.Event = field(default_factory=asyncio.Event)


class Pool:
    """The broker's memory. Built once by app.py.

    Attributes:
        closing: Set when the broker stops: streams end, since nothing else would before their
            clients do.
        followers: Told of what became durable, in the order in which it did.
    """

    def __init__(self, config: Config, monotonic_ms: int, wall_ms: Callable[[], int]) -> None:
        self.config = config
        self.state = LedgerState()
        self.columns = Columns()
        self.state.on_node = self.columns.update
        self.state.on_node_gone = self.columns.remove
        self.planner = Planner(self.columns)
        self.clock = ServiceClock(config.tick_ms, monotonic_ms)
        self.wall_ms = wall_ms
        self.ttl = Deadlines()
        self.admission = Deadlines()
        self.retention = Deadlines()
        self.lives: dict[str, AgentLife] = {}
        self.waiters: dict[str, list[asyncio.Future[Allocation]]] = {}
        self.expected_agents: set[str] = set()
        self.mass_silence = False
        self.audit_findings = NEVER
        self.grants = 0
        self.refusals = 0
        self.closing = asyncio.Event()
        self.followers: list[Callable[[Touched], None]] = []
        self.tally = Tally()
        self.committer: Committer

    # -- agents ----------------------------------------------------------------------------

    def life(self, agent: str) -> AgentLife:
        """The agent's life, begun now when there is none."""
        life = self.lives.get(agent)
        if life is None:
            life = self.lives[agent] = AgentLife(self.clock.now_ms)
        return life

    @property
    def warming_up(self) -> bool:
        """Whether known agents have yet to reconcile, for at most the warm-up window."""
        if not self.expected_agents:
            return False
        if self.clock.now_ms >= self.config.warm_up_s * 1000:
            self.expected_agents.clear()
        return bool(self.expected_agents)

    def center_ages_ms(self) -> dict[str, int]:
        """Age of the oldest node report by center; -1 when one has not reported yet.

        All at once: every refusal asks, and there can be thousands of agents.
        """
        ages: dict[str, int] = {}
        now = self.clock.now_ms
        for name, book in self.state.agents.items():
            if book.nodes:
                life = self.lives.get(name)
                center, oldest = book.record.center, ages.get(book.record.center, 0)
                if oldest == NEVER or life is None or life.observed_ms == NEVER:
                    ages[center] = NEVER
                else:
                    ages[center] = max(oldest, now - life.observed_ms)
        return ages

    # -- what became durable ---------------------------------------------------------------

    def on_durable(self, touched: Touched) -> None:
        """Ring doorbells, wake waiters, keep deadlines in step."""
        self.tally.durable(touched, self.wall_ms())
        for name, revision in touched.agents.items():
            life = self.lives.get(name)
            if life is not None and revision > life.answered_revision:
                life.bell.set()
        for allocation_id, allocation in touched.allocations.items():
            if allocation.state is not AllocationState.RESERVED:
                self.admission.drop(allocation_id)
                for waiter in self.waiters.pop(allocation_id, ()):
                    if not waiter.done():
                        waiter.set_result(allocation)
            self.follow(allocation)
        for follower in self.followers:
            follower(touched)

    def follow(self, allocation: Allocation) -> None:
        """Set or drop an allocation's deadlines by its state."""
        now = self.clock.now_ms
        if allocation.state in (AllocationState.RELEASING, AllocationState.ENDED):
            self.ttl.drop(allocation.id)
        if allocation.state is AllocationState.ENDED:
            self.retention.set(allocation.id, now + int(self.config.retention_s * 1000))

    def opened(self) -> None:
        """After the store was opened: every lease gets its full time anew."""
        for allocation in self.state.allocations.values():
            if allocation.state in (AllocationState.RESERVED, AllocationState.ACTIVE):
                self.start_clocks(allocation)
            else:
                self.follow(allocation)
        for name in self.state.agents:
            self.life(name)
        self.expected_agents = set(self.state.agents)

    def start_clocks(self, allocation: Allocation) -> None:
        """Give a live allocation its full TTL, and its full time to be admitted."""
        now = self.clock.now_ms
        self.ttl.set(allocation.id, now + allocation.spec.ttl_s * 1000)
        if allocation.state is AllocationState.RESERVED:
            self.admission.set(allocation.id, now + int(self.config.admit_timeout_s * 1000))

    def active_agents(self) -> int:
        """Number of agents that report in time."""
        return sum(book.state is AgentState.ACTIVE for book in self.state.agents.values())
