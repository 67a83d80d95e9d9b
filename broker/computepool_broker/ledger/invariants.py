"""The invariants as code: recomputed from records, never from what is derived. Pure.

    1. A node's used amounts are the sums over its parts that are not GONE.
    2. An agent's index holds exactly the parts that are not GONE on its nodes.
    3. No device is granted beyond 1000 thousandths, unless a flagged lease is on its node.
    4. An allocation's state follows from its parts' states.
    5. The view's row of a node says what its book says.
    6. A request_id leads to an allocation that has it.

Run after each step in tests, and by the audit in production.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.model.amounts import (
    CPU,
    DEVICE_PREFIX,
    DISK,
    MEMORY,
    WHOLE_DEVICE,
    add,
)
from computepool_broker.model.records import MOVING_STATES, AllocationState, PartState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from computepool_broker.ledger.state import AgentBook, LedgerState
    from computepool_broker.model.book import NodeBook
    from computepool_broker.placement.columns import Columns


def check_agent(state: LedgerState, name: str) -> Iterator[tuple[str, str]]:
    """Invariants 1 to 3 for one agent: (node, what is wrong)."""
    agent = state.agents[name]
    sums: dict[str, dict[str, int]] = {node: {} for node in agent.nodes}
    counts = dict.fromkeys(agent.nodes, 0)
    for lease_id, ref in agent.leases.items():
        allocation = state.allocations.get(ref.allocation_id)
        if allocation is None or ref.position >= len(allocation.parts):
            yield "", f"{lease_id} leads nowhere"
            continue
        part = allocation.parts[ref.position]
        if part.lease_id(allocation.id) != lease_id or part.state is PartState.GONE:
            yield part.node, f"{lease_id} is not the part that it leads to"
        if part.node not in sums:
            yield part.node, f"{lease_id} is on a node of another agent"
            continue
        add(sums[part.node], part.amounts)
        counts[part.node] += 1
    yield from _check_gone(state, agent)
    for node, want in sums.items():
        book = state.nodes.get(node)
        if book is None:
            yield node, "listed as the agent's, and no such node is there"
            continue
        if book.used != want:
            yield node, f"used {book.used} but leases sum to {want}"
        if book.leases != counts[node]:
            yield node, f"{book.leases} leases counted, {counts[node]} are there"
        if book.conflicts:
            continue
        for key, held in want.items():
            if key.startswith(DEVICE_PREFIX) and held > WHOLE_DEVICE:
                yield node, f"{key} is granted {held}/1000"


def _check_gone(state: LedgerState, agent: AgentBook) -> Iterator[tuple[str, str]]:
    for name in agent.nodes:
        book = state.nodes.get(name)
        if book is not None and book.record.gone != (name in agent.gone):
            yield name, "gone, and not listed so, or the other way round"
    for name in agent.gone - agent.nodes:
        yield name, "listed as gone, and not the agent's"


def check_allocation(state: LedgerState, allocation_id: str) -> Iterator[str]:
    """Invariants 2, 4 and 6 for one allocation."""
    a = state.allocations[allocation_id]
    for position, part in enumerate(a.parts):
        if part.state is PartState.GONE:
            continue
        book = state.nodes.get(part.node)
        if book is None:
            yield f"part {part.index} is on unknown node {part.node}"
            continue
        agent = state.agents.get(book.record.agent)
        ref = None if agent is None else agent.leases.get(part.lease_id(a.id))
        if ref is None or ref.position != position:
            yield f"part {part.index} is not in its agent's index"
    states = {p.state for p in a.parts}
    gone_only = states <= {PartState.GONE}
    if a.state is AllocationState.ENDED and not gone_only:
        yield f"ended with parts {states}"
    if a.state is AllocationState.RELEASING and (gone_only or states - {7, 5}):
        yield f"releasing with parts {states}"
    if a.state is AllocationState.ACTIVE and not states <= {PartState.ADMITTED, PartState.STARTED}:
        yield f"active with parts {states}"
    if a.state is AllocationState.RESERVED and PartState.RELEASING in states:
        yield f"reserved with parts {states}"
    flagged = any("request_id" in flag for flag in a.flags)
    if a.request_id and not flagged and state.request_ids.get((a.tenant, a.request_id)) is None:
        yield f"request_id {a.request_id!r} leads nowhere"


def check_row(columns: Columns, book: NodeBook) -> Iterator[str]:
    """Invariant 5 for one node."""
    columns.settle()
    row = book.row
    if row < 0 or columns.books[row] is not book:
        yield "the view has no row for it"
        return
    if bool(columns.ok[row]) != (book.blockers == 0):
        yield "schedulable in the view and not in the ledger, or the other way round"
    for at, key in enumerate((CPU, MEMORY, DISK)):
        want = book.capacity.get(key, 0) - book.used.get(key, 0)
        if int(columns.free[at, row]) != want:
            yield f"{key}: free {int(columns.free[at, row])} in the view, {want} in the ledger"
    left = [
        book.capacity.get(DEVICE_PREFIX + d.id, 0) - book.used.get(DEVICE_PREFIX + d.id, 0)
        for d in book.record.devices
    ]
    if int(columns.free_milli[row]) != sum(max(0, x) for x in left):
        yield "free devices differ between view and ledger"
    whole = int(columns.free_whole[:, row].sum())
    if whole != sum(x == WHOLE_DEVICE for x in left):
        yield f"{whole} whole free devices in the view, not so in the ledger"


def check_invariants(state: LedgerState, columns: Columns | None = None) -> list[str]:
    """All of them; empty when all hold."""
    wrong = []
    for name in state.agents:
        wrong += [f"{name}/{node}: {text}" for node, text in check_agent(state, name)]
    for key in state.allocations:
        wrong += [f"{key}: {text}" for text in check_allocation(state, key)]
    for (tenant, request_id), key in state.request_ids.items():
        a = state.allocations.get(key)
        if a is None or (a.tenant, a.request_id) != (tenant, request_id):
            wrong.append(f"request_id {request_id!r} leads to {key}")
    moving = {
        p.lease_id(a.id): (a.id, position)
        for a in state.allocations.values()
        for position, p in enumerate(a.parts)
        if p.state in MOVING_STATES
    }
    if moving != state.moving:
        wrong.append("the moving leases are not what the records say")
    if columns is not None:
        for name, book in state.nodes.items():
            wrong += [f"{name}: {text}" for text in check_row(columns, book)]
    return wrong
