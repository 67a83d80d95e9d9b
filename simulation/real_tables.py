"""The broker's own tables and planner, filled with a simulated pool.

What chooses, checks and folds here is the broker's code: filters, score, devices of a node,
ledger.check, fold. Of the ways to differ (choice.POLICIES) only "best" is the planner's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.ledger import Ledger
from computepool_broker.ledger.state import LedgerState
from computepool_broker.ledger.transaction import (
    Committed,
    PutAgent,
    PutNode,
    Rejected,
    Transaction,
)
from computepool_broker.model.amounts import (
    CPU,
    DEVICE_PREFIX,
    WHOLE_DEVICE,
    Resources,
    add,
    subtract,
)
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
from computepool_broker.placement.places import Place, place_on
from computepool_broker.placement.planner import Planner
from simulation.choice import CPU_A_DEVICE_MILLI, Policy, Request
from simulation.pool import DEVICES, Held, Nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEVICE_MEMORY_MIB = 81_920


class Tables:
    """One broker's replica, or the truth."""

    def __init__(self, pool: Nodes, lives: list[Held]) -> None:
        self.state = LedgerState(identity="lockstep")
        self.columns = Columns()
        self.state.on_node = self.columns.update
        self.ledger = Ledger(self.state)
        self.planner = Planner(self.columns)
        self._assumed: list[Place] = []
        self._put(Transaction(1, agents=(agent(),)))
        self._put(Transaction(1, nodes=tuple(nodes(pool, lives))))
        for number, held in enumerate(lives):
            draft = drafted(f"life-{number}", Request(held.mask.bit_count()))
            self._put(lifecycle.grant(self.state, draft, [place_of(held)]))

    def _put(self, tx: Transaction) -> None:
        outcome = self.ledger.apply(tx)
        if isinstance(outcome, Rejected):
            raise AssertionError(f"what was simulated does not fit into the tables: {outcome}")  # noqa: TRY004 - no matter of types

    # -- a planner -------------------------------------------------------------------------

    def choose(
        self,
        request: Request,
        policy: Policy,
        rng: np.random.Generator,
        mine: NDArray[np.bool_],
    ) -> Place | None:
        """Where it goes by this view; held back until `fold`."""
        if policy.few == 1 and not policy.slices:
            places, _ = self.planner.plan(spec_of(request))
            place = places[0] if places else None
        else:
            place = self._among(request, policy, rng, mine)
        if place is not None:
            self._assume(place)
        return place

    def _among(
        self,
        request: Request,
        policy: Policy,
        rng: np.random.Generator,
        mine: NDArray[np.bool_],
    ) -> Place | None:
        compiled, packed = self.planner.judged(spec_of(request).shape)
        few = policy.few
        if policy.slices and (own := np.where(mine, packed, 0)).any():
            packed, few = own, 1
        rows = np.flatnonzero(packed)
        if not len(rows):
            return None
        best = rows[np.argsort(packed[rows])[::-1][:few]]
        book = self.columns.books[int(best[rng.integers(len(best))])]
        return place_on(self.columns, compiled, book, book.used) if book is not None else None

    def _assume(self, place: Place) -> None:
        book = self.state.nodes[place.node]
        add(book.used, place.amounts)
        self.columns.update(book)
        self._assumed.append(place)

    def fold(self, accepted: list[Transaction]) -> None:
        """Forget what was held back; take in what the truth has accepted."""
        for place in self._assumed:
            book = self.state.nodes[place.node]
            subtract(book.used, place.amounts)
            self.columns.update(book)
        self._assumed.clear()
        for tx in accepted:
            self.state.fold(tx, self.state.revision + 1)
        self.state.take_touched()

    # -- the truth -------------------------------------------------------------------------

    def grant(self, name: str, request: Request, place: Place) -> Transaction | None:
        """Commit a plan; None when it was rejected."""
        tx = lifecycle.grant(self.state, drafted(name, request), [place])
        return tx if isinstance(self.ledger.apply(tx), Committed) else None

    def end(self, name: str) -> Transaction:
        """End an allocation and take its devices back."""
        tx = lifecycle.end_and_gone(
            self.state, self.state.allocations[name], (0,), EndReason.RELEASED, ""
        )
        self._put(tx)
        return tx


def agent() -> PutAgent:
    """One for all nodes."""
    record = AgentRecord("agent", "journal", 1, "center-0", "region", "core")
    return PutAgent("agent", record, AgentState.ACTIVE)


def nodes(pool: Nodes, lives: list[Held]) -> list[PutNode]:
    """The nodes as their agent reports them: what others use is what nobody here does."""
    granted = np.zeros(len(pool.free), dtype=np.int64)
    for row, mask in lives:
        granted[row] += mask.bit_count() * CPU_A_DEVICE_MILLI
    return [node(pool, row, int(pool.cpu[row] + granted[row])) for row in range(len(pool.free))]


def node(pool: Nodes, row: int, cpu_milli: int) -> PutNode:
    """One with eight devices."""
    model = f"M{pool.model.item(row)}"
    devices = Devices.of(
        Device(device_id(row, at), model, DEVICE_MEMORY_MIB) for at in range(DEVICES)
    )
    record = NodeRecord(
        name_of(row),
        f"center-{pool.center.item(row)}",
        "region",
        "agent",
        Resources(cpu_milli, 0, 0),
        Resources(),
        Resources(),
        devices,
    )
    return PutNode(record.name, record)


def name_of(row: int) -> str:
    """In the order of the rows."""
    return f"node-{row:06d}"


def device_id(row: int, at: int) -> str:
    """One of a node's devices."""
    return f"{row:06d}-{at}"


def place_of(held: Held) -> Place:
    """The devices of a simulated life as a place."""
    keys = [DEVICE_PREFIX + device_id(held.row, at) for at in range(DEVICES) if held.mask >> at & 1]
    amounts = ((CPU, len(keys) * CPU_A_DEVICE_MILLI), *((key, WHOLE_DEVICE) for key in keys))
    return Place(name_of(held.row), "", amounts)


def spec_of(request: Request) -> Spec:
    """As a caller would ask."""
    part = PartSpec(
        cpu_milli=request.devices * CPU_A_DEVICE_MILLI,
        devices=request.devices,
        models=(f"M{request.model}",) if request.model >= 0 else (),
    )
    return Spec(Shape(part, centers=(f"center-{request.center}",) if request.center >= 0 else ()))


def drafted(name: str, request: Request) -> Allocation:
    """Without its parts."""
    return Allocation(name, "lockstep", "", b"", spec_of(request), (), 0)
