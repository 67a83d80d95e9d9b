"""The tables of the ledger, and `fold`, which applies a transaction without asking. Pure.

Whoever decides (ledger/ledger.py here, a script inside Redis there) calls fold only for what
was accepted. Everything derived from the records (used amounts, indexes) is kept here and
recomputed from scratch by ledger/invariants.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.ledger.touched import Touched
from computepool_broker.ledger.transaction import Blocker, PutAgent
from computepool_broker.model.amounts import (
    add,
    subtract,
)
from computepool_broker.model.book import NodeBook, capacity_of
from computepool_broker.model.records import (
    LIVE_STATES,
    MOVING_STATES,
    NEW,
    AgentRecord,
    AgentState,
    Allocation,
    AllocationState,
    Part,
    PartState,
)
from computepool_broker.model.sorted_ids import SortedIds

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.ledger.transaction import (
        EpochStart,
        PutCenter,
        PutNode,
        SetBlockers,
        Transaction,
    )
    from computepool_broker.model.records import NodeRecord


MOST_EPOCHS = 1_000
"""Past epochs remembered. Of older ones nothing is surely known: their leases are adopted."""


class LeaseRef(NamedTuple):
    """Where a lease's part is: allocation id and place in its `parts`."""

    allocation_id: str
    position: int


@dataclass(slots=True)
class AgentBook:
    """An agent, its nodes, and every lease that is not GONE on them.

    Attributes:
        gone: Those of its nodes that are no longer in its reports.
        changed: Leases on its nodes that commits have touched, those that have left included, in
            order, since whoever compares ledger and agent has taken them (services/intake.py).
    """

    record: AgentRecord
    state: AgentState
    nodes: set[str] = field(default_factory=set)
    leases: dict[str, LeaseRef] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    changed: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class CenterBook:
    """What operators said of a center."""

    cordoned: bool = False
    message: str = ""


def _ignore(_: NodeBook) -> None:
    pass


@dataclass
class LedgerState:
    """All tables.

    Attributes:
        identity: Random name of the store.
        epoch: See semantics: raised when continuity is in doubt.
        revision: Number of durable commits.
        opened_revision: The revision when this process opened the store.
        epochs: For every past epoch the last revision of it that the store surely knows.
        forgotten_through: The highest revision of a record that was dropped: whoever has seen the
            changes up to there has missed no end of an allocation.
        renewals: How often each allocation was renewed, where brokers share a store; a number grows
            with every renewal, and says nothing else.
        moving: Leases that no report has shown yet, or that are being torn down; the view tells
            their amounts apart.
        moved: Leases that have come into `moving`, changed in it or left it since whoever follows
            it took them (services/moving.py); None while nobody does.
        by_state: Number of allocations in each state, at the state's number.
        on_node: Called with every node book that changed (the view follows it).
        on_node_gone: Called with every node book that left.
    """

    identity: str = ""
    epoch: int = 1
    revision: int = 0
    opened_revision: int = 0
    epochs: dict[int, int] = field(default_factory=dict)
    forgotten_through: int = 0
    nodes: dict[str, NodeBook] = field(default_factory=dict)
    agents: dict[str, AgentBook] = field(default_factory=dict)
    centers: dict[str, CenterBook] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    allocation_ids: SortedIds = field(default_factory=SortedIds)
    request_ids: dict[tuple[str, str], str] = field(default_factory=dict)
    renewals: dict[str, int] = field(default_factory=dict)
    moving: dict[str, LeaseRef] = field(default_factory=dict)
    moved: set[str] | None = None
    by_state: list[int] = field(default_factory=lambda: [0] * (max(AllocationState) + 1))
    touched: Touched = field(default_factory=Touched)
    on_node: Callable[[NodeBook], None] = _ignore
    on_node_gone: Callable[[NodeBook], None] = _ignore

    # -- reading ---------------------------------------------------------------------------

    @property
    def live(self) -> int:
        """Number of allocations that have not ended for their tenants."""
        return sum(self.by_state[state] for state in LIVE_STATES)

    def part(self, ref: LeaseRef) -> tuple[Allocation, Part]:
        """The allocation and the part that a lease is."""
        allocation = self.allocations[ref.allocation_id]
        return allocation, allocation.parts[ref.position]

    def known_through(self, epoch: int) -> int:
        """The last revision of `epoch` that this store surely knows.

        All of the present epoch: whoever has seen commits of it that are not this store's makes
        it begin another before anything is asked (services/agents.py).
        """
        return self.epochs.get(epoch, self.revision if epoch == self.epoch else 0)

    # -- changing --------------------------------------------------------------------------

    def fold(self, tx: Transaction, revision: int) -> None:
        """Apply an accepted transaction; `revision` is the store's after it."""
        self.revision = revision
        for put_agent in tx.agents:
            self._fold_agent(put_agent)
        for put_center in tx.centers:
            self.fold_center(put_center)
        for put_node in tx.nodes:
            self._fold_node(put_node)
        for change in tx.blockers:
            self._fold_blockers(change)
        changed: dict[str, NodeBook] = {}
        for node, amounts, _ in tx.release:
            book = changed[node] = self.nodes[node]
            subtract(book.used, amounts)
        for node, amounts, _ in tx.reserve:
            book = changed[node] = self.nodes[node]
            add(book.used, amounts)
        for put in tx.puts:
            self._put(put.id, put.record, revision)
        for allocation_id in tx.bind:
            bound = self.allocations[allocation_id]
            self.request_ids[bound.tenant, bound.request_id] = allocation_id
        for renewal in tx.renew:
            self.renewals[renewal.id] = self.renewals.get(renewal.id, 0) + 1
            self.touched.renewed.append(renewal.id)
        if tx.new_epoch is not None:
            self.start_epoch(tx.new_epoch)
        for book in changed.values():
            self.on_node(book)

    def take_touched(self) -> Touched:
        """What changed since the last call."""
        touched, self.touched = self.touched, Touched()
        return touched

    def start_epoch(self, start: EpochStart) -> None:
        """Close the present epoch's books and begin another."""
        self.epochs[self.epoch] = start.known_through
        self.epoch = start.epoch
        while len(self.epochs) > MOST_EPOCHS:
            del self.epochs[min(self.epochs)]

    def _put(self, allocation_id: str, record: Allocation | None, revision: int) -> None:
        old = self.allocations.get(allocation_id)
        if record is None:
            if old is not None:
                self.forgotten_through = max(self.forgotten_through, old.revision)
                key = (old.tenant, old.request_id)
                if self.request_ids.get(key) == allocation_id:
                    del self.request_ids[key]
                self.touched.forgotten.append(allocation_id)
            self.replace_record(allocation_id, None)
            return
        record.revision = revision
        for part in record.parts:
            if part.revision == NEW:
                part.revision = revision
        self.replace_record(allocation_id, record)
        if record.state not in LIVE_STATES:
            self.renewals.pop(allocation_id, None)
        self.touched.allocations[allocation_id] = record
        self.touched.note_step(old, record)

    def replace_record(self, allocation_id: str, record: Allocation | None) -> None:
        """Put one record in the place of another, with all that is derived from them.

        Its revisions are as they should be, and its request_id is bound or not; amounts follow
        by themselves. For fold, and for taking a fold back.
        """
        old = self.allocations.get(allocation_id)
        if old is not None:
            self._unindex(old)
        if record is not None:
            if old is None:
                self.allocation_ids.add(allocation_id)
            self.allocations[allocation_id] = record
            self._index(record)
        elif old is not None:
            del self.allocations[allocation_id]
            self.allocation_ids.leave(self.allocations.__contains__)
            self.renewals.pop(allocation_id, None)

    def _index(self, record: Allocation) -> None:
        self.by_state[record.state] += 1
        for position, part in enumerate(record.parts):
            if part.state is PartState.GONE:
                continue
            lease_id = part.lease_id(record.id)
            book = self.nodes[part.node]
            book.leases += 1
            if record.flags:
                book.conflicts += 1
                self._set_bits(book, Blocker.CONFLICT, 0)
            agent = self.agents[book.record.agent]
            ref = agent.leases[lease_id] = LeaseRef(record.id, position)
            agent.changed[lease_id] = None
            if part.revision == record.revision:
                self.touched.agents[book.record.agent] = part.revision
            if part.state in MOVING_STATES:
                self.moving[lease_id] = ref
                if self.moved is not None:
                    self.moved.add(lease_id)

    def _unindex(self, record: Allocation) -> None:
        self.by_state[record.state] -= 1
        for part in record.parts:
            if part.state is PartState.GONE:
                continue
            lease_id = part.lease_id(record.id)
            book = self.nodes[part.node]
            book.leases -= 1
            if record.flags:
                book.conflicts -= 1
                if not book.conflicts:
                    self._set_bits(book, 0, Blocker.CONFLICT)
            agent = self.agents[book.record.agent]
            del agent.leases[lease_id]
            agent.changed[lease_id] = None
            if self.moving.pop(lease_id, None) is not None and self.moved is not None:
                self.moved.add(lease_id)

    def _fold_node(self, put: PutNode) -> None:
        name, record = put
        book = self.nodes.get(name)
        if record is None:
            self.drop_node(name)
            return
        if book is None:
            book = self.nodes[name] = NodeBook(record, capacity_of(record))
            agent = self.agents[record.agent]
            agent.nodes.add(name)
            if agent.state is not AgentState.ACTIVE:
                book.blockers |= Blocker.AGENT_NOT_ACTIVE
        else:
            agent = self.agents[record.agent]
            book.follow(record)
        (agent.gone.add if record.gone else agent.gone.discard)(name)
        kept = Blocker.CORDONED | Blocker.AGENT_NOT_ACTIVE | Blocker.SUSPECT | Blocker.CONFLICT
        book.blockers = book.blockers & kept | self._bits_of(record)
        self.on_node(book)

    def _bits_of(self, record: NodeRecord) -> int:
        """Blockers that follow from a node's record and its center."""
        bits = (Blocker.UNSCHEDULABLE if record.unschedulable else 0) | (
            Blocker.GONE if record.gone else 0
        )
        center = self.centers.get(record.center)
        if center is not None and center.cordoned:
            bits |= Blocker.CENTER_CORDONED
        return bits

    def drop_node(self, name: str) -> None:
        """Take a node out of the pool, if it is there."""
        book = self.nodes.pop(name, None)
        if book is not None:
            agent = self.agents[book.record.agent]
            agent.nodes.discard(name)
            agent.gone.discard(name)
            self.on_node_gone(book)

    def restore_node(self, book: NodeBook, record: NodeRecord, bits: int, message: str) -> None:
        """Put a node back as it was before a fold; `bits` are the blockers that folds set."""
        name, agent = record.name, self.agents[record.agent]
        self.nodes[name] = book
        agent.nodes.add(name)
        book.follow(record)
        (agent.gone.add if record.gone else agent.gone.discard)(name)
        blockers = bits & (Blocker.CORDONED | Blocker.SUSPECT) | self._bits_of(record)
        if agent.state is not AgentState.ACTIVE:
            blockers |= Blocker.AGENT_NOT_ACTIVE
        if book.conflicts:
            blockers |= Blocker.CONFLICT
        book.blockers, book.message = blockers, message
        self.on_node(book)

    def restore_agent(self, book: AgentBook, record: AgentRecord, state: AgentState) -> None:
        """Put an agent back as it was before a fold."""
        self.agents[record.name] = book
        self._fold_agent(PutAgent(record.name, record, state))

    def fold_center(self, put: PutCenter) -> None:
        """Apply what an operator said of a center."""
        self.centers[put.name] = CenterBook(put.cordoned, put.message)
        self._center_blockers(put.name)

    def _fold_agent(self, put: PutAgent) -> None:
        name, record, state = put
        self.touched.sessions.append(name)
        book = self.agents.get(name)
        if record is None:
            self.agents.pop(name, None)
            return
        if book is None:
            book = self.agents[name] = AgentBook(record, state or AgentState.DISCONNECTED)
        else:
            book.record = record
            book.state = state or book.state
        active = book.state is AgentState.ACTIVE
        for node in book.nodes:
            self._set_bits(
                self.nodes[node],
                0 if active else Blocker.AGENT_NOT_ACTIVE,
                Blocker.AGENT_NOT_ACTIVE if active else 0,
            )

    def _fold_blockers(self, change: SetBlockers) -> None:
        book = self.nodes.get(change.node)
        if book is not None:
            if (change.set_bits | change.clear_bits) & Blocker.CORDONED:
                book.message = change.message
            self._set_bits(book, change.set_bits, change.clear_bits)

    def _center_blockers(self, center: str) -> None:
        cordoned = self.centers[center].cordoned
        for book in self.nodes.values():
            if book.record.center == center:
                self._set_bits(
                    book,
                    Blocker.CENTER_CORDONED if cordoned else 0,
                    0 if cordoned else Blocker.CENTER_CORDONED,
                )

    def _set_bits(self, book: NodeBook, set_bits: int, clear_bits: int) -> None:
        bits = book.blockers & ~clear_bits | set_bits
        if bits != book.blockers:
            book.blockers = bits
            book.only_blockers = True
            self.on_node(book)
            book.only_blockers = False
