"""What must be so in a pool after every step, whatever came before: the machine's memory.

It remembers what was promised to clients (acknowledged grants and their time), what each lease
was granted by, and which lives of the store are in the history of the present one. From these,
not from the broker's own reckoning, follows what must still be there.

    history    [(life, revision)]: the commits of that life up to there are in this store
    excused    allocations that a lost store may have taken with it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from computepool.v1 import agent_pb2
from computepool_agents.model import ADMITTED, STARTED
from computepool_broker.ledger import reconcile
from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.model import codec
from computepool_broker.model.records import (
    LIVE_STATES,
    Allocation,
    AllocationState,
    EndReason,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.broker_kit import BrokerKit
    from support.memory_store import MemoryDisk
    from support.sim_agent import SimAgent

FOREVER = 1 << 62
BEGUN = frozenset({AllocationState.ACTIVE, AllocationState.RELEASING, AllocationState.ENDED})


class Watch(NamedTuple):
    """What a report must lead to: leases that must come back, and that must not."""

    must: frozenset[str]
    must_not: frozenset[str]
    first: bool


class Oracle:
    """See the module."""

    def __init__(self) -> None:
        self.life = 0
        self.losses = 0
        self.history: list[tuple[int, int]] = []
        self.granted: dict[str, tuple[int, int]] = {}
        self.seen: dict[str, tuple[int, int]] = {}
        self.promised: dict[str, tuple[int, int]] = {}
        self.acked: set[str] = set()
        self.ended: set[str] = set()
        self.excused: set[str] = set()
        self.blind: set[str] = set()
        self.expired: set[str] = set()
        self.struck_off: set[str] = set()
        self.reshaped = False
        self._detected = True
        self._copy_detected = True
        self._fresh = True

    # -- the store's lives -----------------------------------------------------------------

    def broker_started(self, kit: BrokerKit, disk: MemoryDisk) -> None:
        """A broker begins on a disk, whose history was told before when it is another one."""
        self.kit, self.disk = kit, disk
        if not self.history:
            self.life += 1
            self.history = [(self.life, FOREVER)]
        elif not self._fresh and not self._detected:
            # Nothing tells this process from one that has always gone on with this disk.
            self.blind |= {key for key in self.granted if not self._known(key)}
        self._fresh = False
        self._opened_epoch = disk.epoch
        for key, (_, ttl_ms) in self.promised.items():
            self.promised[key] = (ttl_ms, ttl_ms)

    def history_through(self, revision: int) -> list[tuple[int, int]]:
        """The history of a copy of the disk taken now."""
        self._copy_detected = self._detected
        return [(life, min(end, revision)) for life, end in self.history]

    def store_lost(
        self, history: Iterable[tuple[int, int]], backup: MemoryDisk | None = None
    ) -> None:
        """The next broker begins on an empty disk, or on a copy with this history."""
        self.losses += 1
        self.life += 1
        self.history = [*history, (self.life, FOREVER)]
        left = backup.tables().allocations if backup else []
        there = {a.id for a in left}
        self.excused = (self.excused | self.acked) - there
        self.ended = {a.id for a in left if a.state is AllocationState.ENDED}
        if backup is not None and not self._copy_detected:
            # The copy is of a store that had been put back itself, before any agent had told it.
            self.blind |= {key for key in self.granted if not self._known(key)}
        self._detected, self._fresh = False, True

    def _known(self, lease_id: str) -> bool:
        return self._holds(*self.granted[lease_id])

    def _holds(self, life: int, revision: int) -> bool:
        """Whether that commit of that life is in the present store."""
        return any(life == one and revision <= end for one, end in self.history)

    # -- agents ----------------------------------------------------------------------------

    def opened(self, agent: SimAgent) -> None:
        """It did. Whoever has seen what this store lacks has made it raise its epoch."""
        state = self.kit.pool.state
        seen = self.seen.get(agent.name)
        strange = seen is not None and not self._holds(*seen)
        if strange and not self._detected and agent.book.seen is not None:
            ahead = agent.book.seen.revision > state.opened_revision
            if ahead or agent.book.seen.identity != state.identity:
                assert state.epoch > agent.book.seen.epoch, "a store that went back was believed"
        if state.epoch > self._opened_epoch:
            self._detected = True
        assert self.disk.epoch == state.epoch

    def reporting(self, agent: SimAgent) -> Watch:
        """What the report that is about to be delivered must lead to."""
        state = self.kit.pool.state
        life = self.kit.pool.life(agent.name)
        here = {node.name for node in agent.engine.measured}
        must, must_not = set(), set()
        for lease_id, held in agent.book.held.items():
            if held.state not in (ADMITTED, STARTED) or held.record.node not in here:
                continue
            if held.record.allocation_id in state.allocations or lease_id in self.blind:
                continue
            if not self._known(lease_id):
                must.add(lease_id)
            elif not self.losses:
                must_not.add(lease_id)
        return Watch(frozenset(must), frozenset(must_not), first=not life.reconciled)

    def reported(self, agent: SimAgent, watch: Watch, answer: agent_pb2.SyncResponse) -> None:
        """The answer to it has come."""
        if answer.want_full or not watch.first:
            return
        leases = self.kit.pool.state.agents[agent.name].leases
        assert watch.must <= leases.keys(), f"lost: {watch.must - leases.keys()}"
        assert not watch.must_not & leases.keys(), f"resurrected: {watch.must_not & leases.keys()}"

    def settled(self, agent: SimAgent, answer: agent_pb2.SyncResponse) -> None:
        """What a report said is known whole, and nothing that it leads to was left out.

        Whether it was whole or a difference: compared with all leases, not with those that moved.
        """
        state = self.kit.pool.state
        if answer.want_full or answer.mark.revision != state.revision:
            return  # nothing of it counts, or the ledger has gone on since
        assert agent.talk is not None
        assert agent.talk.sent is not None
        said, held = agent.talk.sent, self.kit.pool.life(agent.name).held
        assert {k: int(h.state) for k, h in held.items()} == {
            k: int(h.state) for k, h in said.leases.items()
        }
        book = state.agents[agent.name]
        assert book.nodes - book.gone == said.nodes.keys()
        every = book.leases.keys() | held.keys()
        want = {
            (line.lease_id, int(line.action))
            for line in reconcile.commands(state, book, held, every)
        }
        assert {(c.lease_id, int(c.action)) for c in answer.commands} == want
        applied = self.kit.pool.life(agent.name).applied_revision
        assert not reconcile.torn_down(state, book, held, applied, every)

    def answered(self, answer: agent_pb2.SyncResponse) -> None:
        """An agent is told only what is on the disk."""
        assert answer.mark.revision <= self.disk.revision
        durable = self.durable()
        for command in answer.commands:
            if command.action == agent_pb2.LEASE_ACTION_ADMIT:
                record = command.record
                there = {p.lease_id(a.id) for a in durable.values() for p in a.parts}
                assert record.lease_id in there, f"{record.lease_id} is not durable"
            elif command.action == agent_pb2.LEASE_ACTION_START:
                allocation = durable[command.lease_id.partition(".")[0]]
                assert allocation.state in BEGUN, f"{command.lease_id} starts too early"

    def applied(self, agent: SimAgent, answer: agent_pb2.SyncResponse) -> None:
        """The agent has applied it, or not: by its own book."""
        for command in answer.commands:
            held = agent.book.held.get(command.lease_id)
            admit = command.action == agent_pb2.LEASE_ACTION_ADMIT
            if admit and held is not None and held.record.mark == command.record.mark:
                self.granted[command.lease_id] = (self.life, command.record.mark.revision)
        seen = agent.book.seen
        if seen is not None and seen.message() == answer.mark:
            self.seen[agent.name] = (self.life, seen.revision)

    def forgotten(self, agent: SimAgent, *, really: bool = True) -> None:
        """An operator strikes it off, or could not; then what it holds is not the ledger's."""
        (self.struck_off.add if really else self.struck_off.discard)(agent.name)

    # -- clients ---------------------------------------------------------------------------

    def durable(self) -> dict[str, Allocation]:
        """All allocations on the disk."""
        return {a.id: a for a in self.disk.tables().allocations}

    def acknowledged(self, made: Allocation, asked_ms: int = 0) -> None:
        """A client was told of a grant that it had asked for then, by the service clock."""
        assert made.id in self.disk.allocations, f"{made.id} was told and is not durable"
        self.acked.add(made.id)
        self.excused.discard(made.id)
        self.promise(made, asked_ms)

    def promise(self, made: Allocation, asked_ms: int, ttl_s: int = 0) -> None:
        """A client was told that it has its whole TTL from its call on."""
        ttl_ms = (ttl_s or made.spec.ttl_s) * 1000
        self.promised[made.id] = (asked_ms + ttl_ms, ttl_ms)

    # -- after each step -------------------------------------------------------------------

    def check(self, agents: Iterable[SimAgent]) -> None:
        """Everything that must hold now."""
        state = self.kit.pool.state
        assert check_invariants(state, self.kit.pool.columns) == []
        self.check_presence()
        self._check_ends()
        bound: dict[tuple[str, str], str] = {}
        for a in state.allocations.values():
            if a.request_id and a.state in LIVE_STATES and not a.flags:
                other = bound.setdefault((a.tenant, a.request_id), a.id)
                assert other == a.id, f"{a.id} and {other} live with {a.request_id!r}"
        for agent in agents:
            for device, milli in agent.started_milli().items():
                assert milli <= 1000, f"{device} runs {milli}/1000"

            if not self.losses:
                self._check_held(agent)
        if not self.losses and not self.reshaped:
            for name, book in state.nodes.items():
                for key, used in book.used.items():
                    assert used <= book.capacity.get(key, 0), f"{name}: {key} is given out twice"

    def _check_held(self, agent: SimAgent) -> None:
        """Whatever an agent holds is the ledger's, until the agent has let go of it."""
        book = self.kit.pool.state.agents.get(agent.name)
        leases = set(book.leases) if book is not None else set()
        if agent.name in self.struck_off:
            if not agent.book.held:
                self.struck_off.discard(agent.name)
            return
        orphans = agent.book.held.keys() - leases
        assert not orphans, f"{agent.name} holds {orphans}, which the ledger has given away"

    def check_presence(self) -> None:
        """What clients were told of is there, or has ended."""
        there = self.kit.pool.state.allocations
        durable = self.disk.allocations
        for key in self.acked - self.excused:
            if key in durable:
                if codec.Decoder().allocation(durable[key]).state is AllocationState.ENDED:
                    self.ended.add(key)
                else:
                    self.ended.discard(key)
            else:
                assert key in self.ended, f"{key} was acknowledged and is gone"
                assert key not in there, f"{key} is shown and not on the disk"

    def _check_ends(self) -> None:
        now = self.kit.pool.clock.now_ms
        for a in self.kit.pool.state.allocations.values():
            over = a.state in (AllocationState.RELEASING, AllocationState.ENDED)
            assert over == (a.end_reason is not EndReason.NONE), a
            until, _ = self.promised.get(a.id, (0, 0))
            if a.end_reason is EndReason.EXPIRED and a.id not in self.ended and a.id in self.acked:
                assert now >= until or a.id in self.expired, f"{a.id} expired too early"
                self.expired.add(a.id)
