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
from computepool_broker.model.records import LIVE_STATES, AgentState, AllocationState
from computepool_broker.placement.columns import Columns
from computepool_broker.placement.planner import Planner
from computepool_broker.services.messages import Mark
from computepool_broker.services.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from computepool_broker.config import Config
    from computepool_broker.ledger.reconcile import Held
    from computepool_broker.ledger.touched import Touched
    from computepool_broker.model.records import Allocation
    from computepool_broker.services.committer import Committer
    from computepool_broker.services.fellows import Fellows

NEVER = -1
ROWS_A_GRANT = 100
"""Looking at so many nodes, once for each filter, costs as much as a grant of one part."""
FEW_AGENTS = 100
"""Looking at so many takes 0.1 ms."""


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
        calls: Reports and parts of reports so far.
        turn: Complete reports begun so far: a later one ends an earlier one's slices.
        complete: Number of the last complete report, same_since: of the first of those that
            say the same as it. Deltas to any of them are deltas to what is known; to none
            while same_since is above complete.
        held: Leases as of the last complete report.
        fresh: Leases that reports have shown anew and that are not settled yet.
        todo: Leases that the last answer had a command for, or no room for one.
        strays: Leases that the last report held against the ledger's will; old_strays: the
            one before.
        applied_revision: As in the last complete report.
        answered: The mark that it was last answered with; None before the first.
        suspects: Nodes where it refused a lease, until its next complete report; old_suspects:
            those that the report on its way in clears.
        gap_ms: Least time between two reports that it was told, in milliseconds.
        bell: Set when the agent should call; each doorbell stream has its own, the last is heard.
    """

    heard_ms: int
    session: int = 0
    sequence: int = 0
    observed_ms: int = NEVER
    reconciled: bool = False
    calls: int = 0
    turn: int = 0
    complete: int = 0
    same_since: int = 1
    held: dict[str, Held] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)
    todo: list[str] = field(default_factory=list)
    strays: frozenset[str] = frozenset()
    old_strays: frozenset[str] = frozenset()
    applied_revision: int = 0
    answered: Mark | None = None
    refusals: int = 0
    last_refusal: str = ""
    suspects: set[str] = field(default_factory=set)
    old_suspects: set[str] = field(default_factory=set)
    gap_ms: int = 0
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, session: int, now_ms: int) -> None:
        """Another session begins: nothing of what the last one said counts."""
        self.session, self.sequence, self.heard_ms = session, 0, now_ms
        self.reconciled = False
        self.turn += 1
        self.answered = None
        self.held, self.todo = {}, []
        self.fresh.clear()
        self.strays = frozenset()
        self.lose_base()

    def end(self) -> None:
        """Its session is with another broker, or belongs to another life of the store."""
        self.session = 0
        self.reconciled = False
        self.turn += 1
        self.lose_base()
        self.bell.set()

    def new_bell(self) -> asyncio.Event:
        """The bell of another stream; whoever listened to the last one is woken, to end."""
        last, self.bell = self.bell, asyncio.Event()
        if last.is_set():
            self.bell.set()
        last.set()
        return self.bell

    def lose_base(self) -> None:
        """From now on no delta is one to what is known."""
        self.complete, self.same_since = 0, 1

    def has_base(self, sequence: int) -> bool:
        """Whether what is known is what that report said."""
        return self.same_since <= sequence <= self.complete


class Pool:
    """The broker's memory. Built once by app.py.

    Attributes:
        instance: Random name of this life of the broker; empty with a store of its own.
        closing: Set when the broker stops: streams end, since nothing else would before their
            clients do.
        followers: Told of what became durable, in the order in which it did.
        mourners: Told of allocations that the store has lost and no agent holds.
        fellows: The brokers of this pool.
    """

    def __init__(
        self, config: Config, monotonic_ms: int, wall_ms: Callable[[], int], instance: str = ""
    ) -> None:
        self.config = config
        self.instance = instance
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
        self._ages_at_ms = NEVER
        self._ages_ms: dict[str, int] = {}
        self.followers: list[Callable[[Touched], None]] = []
        self.mourners: list[Callable[[Sequence[Allocation]], None]] = []
        self.missing: dict[str, Allocation] = {}
        self.tally = Tally()
        self._warm_until_ms = int(config.warm_up_s * 1000)
        self.committer: Committer
        self.fellows: Fellows

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
        if self.clock.now_ms >= self._warm_until_ms:
            self.expected_agents.clear()
        return bool(self.expected_agents)

    def mark(self, agent: str) -> Mark:
        """The store's mark for an answer to an agent; to be called in a job."""
        state = self.state
        mark = Mark(state.identity, state.epoch, state.revision, agent)
        self.committer.marks.append(mark)
        return mark

    @property
    def look_weight(self) -> int:
        """What a look at all nodes costs the writer, in grants of one part."""
        return 1 + self.columns.size // ROWS_A_GRANT

    def center_ages_ms(self) -> dict[str, int]:
        """Age of the oldest node report by center; -1 when one has not reported yet.

        All at once: every refusal asks, and there can be thousands of agents. Of many agents it
        is worked out once a tick, so it may say a tick too much.
        """
        now = self.clock.now_ms
        if self._ages_at_ms == now and len(self.state.agents) > FEW_AGENTS:
            return self._ages_ms
        ages: dict[str, int] = {}
        for name, book in self.state.agents.items():
            if book.nodes:
                life = self.lives.get(name)
                center, oldest = book.record.center, ages.get(book.record.center, 0)
                if oldest == NEVER or life is None or life.observed_ms == NEVER:
                    ages[center] = NEVER
                else:
                    ages[center] = max(oldest, now - life.observed_ms)
        self._ages_at_ms, self._ages_ms = now, ages
        return ages

    # -- what became durable ---------------------------------------------------------------

    def on_durable(self, touched: Touched) -> None:
        """Ring doorbells, wake waiters, keep deadlines in step."""
        self.tally.durable(touched, self.wall_ms())
        self._keep_told(touched)

    def on_news(self, news: Touched) -> None:
        """Other brokers have done this; see Listener."""
        self._keep_told(news)

    def _keep_told(self, touched: Touched) -> None:
        for name in touched.sessions:
            self._judge_session(name)
        for name, revision in touched.agents.items():
            life = self.lives.get(name)
            if life is not None and (life.answered is None or revision > life.answered.revision):
                life.bell.set()
        allocations, now = self.state.allocations, self.clock.now_ms
        for allocation_id in touched.begun:
            begun = allocations.get(allocation_id)
            if begun is not None and begun.state in LIVE_STATES:
                self.start_clocks(begun)
        for allocation_id in touched.renewed:
            renewed = allocations.get(allocation_id)
            if renewed is not None and renewed.state in LIVE_STATES:
                self.ttl.set(allocation_id, now + renewed.spec.ttl_s * 1000)
        for allocation_id, allocation in touched.allocations.items():
            if allocation.state is not AllocationState.RESERVED:
                self.admission.drop(allocation_id)
                for waiter in self.waiters.pop(allocation_id, ()):
                    if not waiter.done():
                        waiter.set_result(allocation)
            self.missing.pop(allocation_id, None)
            self.follow(allocation)
        for allocation_id in touched.forgotten:
            self.retention.drop(allocation_id)
            self.ttl.drop(allocation_id)
        for follower in self.followers:
            follower(touched)

    def _judge_session(self, agent: str) -> None:
        """An agent's record was put: is its session still with this broker?"""
        life, book = self.lives.get(agent), self.state.agents.get(agent)
        if life is None or not life.session:
            return
        if book is None or (book.record.session, book.record.broker) != (
            life.session,
            self.instance,
        ):
            life.end()

    def on_new_life(self, lost: Sequence[Allocation], news: Touched) -> None:
        """The store has begun another term; see Listener.

        No session of the one before counts: each agent comes back with all that it holds. Until
        then, and for a bounded time, what the store has lost is only missing.
        """
        for life in self.lives.values():
            life.end()
        self.expected_agents = set(self.state.agents)
        self._warm_until_ms = self.clock.now_ms + int(self.config.warm_up_s * 1000)
        for allocation in lost:
            if allocation.state in LIVE_STATES:
                self.missing[allocation.id] = allocation
            self.ttl.drop(allocation.id)
            self.admission.drop(allocation.id)
            self.retention.drop(allocation.id)
        self._keep_told(news)
        for allocation in self.state.allocations.values():
            if allocation.state in LIVE_STATES:
                self.start_clocks(allocation)

    def mourn(self) -> None:
        """Give up what the store has lost and no agent has brought back, once all had their time.

        Whoever waits for it is not answered: his own time ends the wait.
        """
        if self.missing and not self.warming_up:
            gone = list(self.missing.values())
            self.missing.clear()
            for mourner in self.mourners:
                mourner(gone)

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
        # Those that another broker speaks with are not awaited.
        self.expected_agents = {
            name
            for name, book in self.state.agents.items()
            if book.state is not AgentState.ACTIVE
        }

    def start_clocks(self, allocation: Allocation) -> None:
        """Give a live allocation its full TTL, and its full time to be admitted."""
        now = self.clock.now_ms
        self.ttl.set(allocation.id, now + allocation.spec.ttl_s * 1000)
        if allocation.state is AllocationState.RESERVED:
            self.admission.set(allocation.id, now + int(self.config.admit_timeout_s * 1000))

    def active_agents(self) -> int:
        """Number of agents that report in time."""
        return sum(book.state is AgentState.ACTIVE for book in self.state.agents.values())
