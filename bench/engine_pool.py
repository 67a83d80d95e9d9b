"""The broker's own tables, filled for the `engine` bench, in this process.

Imports the broker's pure core: what is timed here is that code and nothing else.
"""

from __future__ import annotations

import random
from collections import deque

from bench.fleet_nodes import DEVICES, FOREIGN_DEVICES, MODELS, ROLES, WHOLE
from bench.process import BenchError
from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.ledger import Ledger
from computepool_broker.ledger.state import LedgerState
from computepool_broker.ledger.transaction import Committed, PutAgent, PutNode, Transaction
from computepool_broker.model.amounts import Resources
from computepool_broker.model.records import (
    AgentRecord,
    AgentState,
    Allocation,
    Device,
    Devices,
    EndReason,
    NodeRecord,
)
from computepool_broker.model.request import PartSpec, Shape, Spec
from computepool_broker.placement.columns import Columns
from computepool_broker.placement.planner import Planner

CENTERS = 35
DEVICE_MEMORY_MIB = 81_920


class Engine:
    """Ledger, columns and planner, wired as the broker wires them."""

    def __init__(self, nodes: int, seed: int = 3) -> None:
        self.rng = random.Random(seed)
        self.state = LedgerState(identity="bench")
        self.columns = Columns()
        self.state.on_node = self.columns.update
        self.state.on_node_gone = self.columns.remove
        self.planner = Planner(self.columns)
        self.ledger = Ledger(self.state)
        self.names = [f"node-{number:06d}" for number in range(nodes)]
        self.live: deque[str] = deque()
        self._next_id = 0
        self._add_nodes()
        self._fill(len(self.names) * DEVICES // 4)

    # -- timed by the bench ----------------------------------------------------------------

    def decide(self, spec: Spec) -> bool:
        """Plan and commit one request in memory; False when there is no room."""
        places, _ = self.planner.plan(spec)
        if not places:
            return False
        self._next_id += 1
        draft = Allocation(f"{self._next_id:016x}", "bench", "", b"", spec, (), 0)
        self.apply(lifecycle.grant(self.state, draft, places))
        self.live.append(draft.id)
        return True

    def apply(self, tx: Transaction) -> None:
        """Commit a transaction in memory.

        Raises:
            BenchError: The ledger rejected it.
        """
        outcome = self.ledger.apply(tx)
        if not isinstance(outcome, Committed):
            raise BenchError(f"the ledger rejected a plan: {outcome}")
        self.state.take_touched()

    # -- what else happens in a pool -------------------------------------------------------

    def change_foreign(self) -> None:
        """One node's agent reports another foreign load of processor and memory."""
        name = self.names[self.rng.randrange(len(self.names))]
        record = self.state.nodes[name].record
        changed = record._replace(foreign=foreign_load(self.rng))
        self.apply(Transaction(self.state.epoch, nodes=(PutNode(name, changed),)))

    def end_oldest(self) -> None:
        """The allocation granted first ends and its amounts come back."""
        allocation = self.state.allocations[self.live.popleft()]
        every = range(len(allocation.parts))
        self.apply(lifecycle.end_and_gone(self.state, allocation, every, EndReason.RELEASED, ""))

    # -- setting up ------------------------------------------------------------------------

    def _add_nodes(self) -> None:
        for center in range(CENTERS):
            region, role = ROLES[center % len(ROLES)]
            agent = AgentRecord(f"agent-{center}", "journal", 1, f"center-{center}", region, role)
            put = PutAgent(agent.name, agent, AgentState.ACTIVE)
            self.apply(Transaction(self.state.epoch, agents=(put,)))
        puts = [PutNode(name, self._node(at, name)) for at, name in enumerate(self.names)]
        self.apply(Transaction(self.state.epoch, nodes=tuple(puts)))

    def _node(self, at: int, name: str) -> NodeRecord:
        center = at % CENTERS
        foreign = self.rng.choice(FOREIGN_DEVICES)
        model = MODELS[at % len(MODELS)]
        devices = Devices.of(
            Device(
                f"GPU-{at:06d}-{number}",
                model,
                DEVICE_MEMORY_MIB,
                foreign_milli=WHOLE if number < foreign else 0,
            )
            for number in range(DEVICES)
        )
        return NodeRecord(
            name,
            f"center-{center}",
            ROLES[center % len(ROLES)][0],
            f"agent-{center}",
            Resources(192_000, 2_097_152, 8_388_608),
            Resources(2_000, 8_192),
            foreign_load(self.rng),
            devices,
            (("fabric", "ib"),),
        )

    def _fill(self, devices_left: int) -> None:
        while devices_left > 0:
            devices = min(self.rng.choice((1, 2, 4, 8)), devices_left)
            count = max(1, min(self.rng.randint(1, 100), devices_left // devices))
            part = PartSpec(cpu_milli=8_000 * devices, memory_mib=65_536 * devices, devices=devices)
            if not self.decide(Spec(Shape(part), count)):
                raise BenchError("no room while filling the pool to the half")
            devices_left -= devices * count
        self.live.clear()


def foreign_load(rng: random.Random) -> Resources:
    """Processor and memory that others use on a node."""
    return Resources(rng.randrange(2_000, 32_000, 100), rng.randrange(8_192, 262_144, 1_024))


def some_shapes(number: int) -> list[Spec]:
    """That many different shapes: whole devices, shares, none; with models and regions or not."""
    rng = random.Random(number)
    specs: dict[Shape, Spec] = {}
    while len(specs) < number:
        kind = len(specs) % 4
        devices = rng.choice((1, 1, 2, 4)) if kind in (0, 1) else 0
        part = PartSpec(
            cpu_milli=rng.randrange(500, 8_000, 250) * max(1, devices),
            memory_mib=rng.randrange(1_024, 65_536, 1_024),
            devices=devices,
            device_milli=rng.choice((100, 200, 250, 500)) if kind == 2 else 0,
            models=tuple(sorted(rng.sample(MODELS, 2))) if rng.random() < 0.5 and kind < 3 else (),
        )
        regions = (rng.choice(ROLES)[0],) if rng.random() < 0.25 else ()
        shape = Shape(part, regions)
        specs[shape] = Spec(shape)
    return list(specs.values())
