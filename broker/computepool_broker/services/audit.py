"""The audit: recomputes everything from leases and reports and names what disagrees.

Runs in slices of one agent or a few thousand rows; each slice sees one consistent state, since
nothing else runs on the event loop meanwhile, and between slices the calls go on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import IntEnum
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import structlog

from computepool_broker.ledger.invariants import check_agent, check_allocation, check_row
from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.model.records import AgentState, PartState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from computepool_broker.services.pool import Pool

SLICE = 1_000
log = structlog.get_logger()


class FindingKind(IntEnum):
    """Numbers as on the wire."""

    BOOKS = 1
    PHANTOM = 2
    ORPHAN = 3
    OVERCOMMIT = 4
    CONFLICT = 5
    VIEW = 6


class Finding(NamedTuple):
    """One disagreement."""

    kind: FindingKind
    node: str
    lease_id: str
    message: str


class Audited(NamedTuple):
    """What an audit found, and how much it looked at."""

    findings: list[Finding]
    nodes: int
    leases: int


class Auditor:
    """Runs audits over the pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run(self) -> Audited:
        """One audit."""
        began = perf_counter()
        findings: list[Finding] = []
        leases = 0
        for slice_ in self._slices():
            findings.extend(slice_)
            await asyncio.sleep(0)
        leases = sum(len(a.leases) for a in self._pool.state.agents.values())
        serious = [f for f in findings if f.kind is not FindingKind.OVERCOMMIT]
        for finding in serious[:20]:
            log.error("audit_finding", **finding._asdict() | {"kind": finding.kind.name})
        self._pool.audit_findings = len(findings)
        found = Counter(finding.kind for finding in findings)
        kinds = {kind.name: found[kind] for kind in FindingKind}
        self._pool.tally.audited(kinds, self._pool.wall_ms(), perf_counter() - began)
        return Audited(findings, len(self._pool.state.nodes), leases)

    def _slices(self) -> Iterator[list[Finding]]:
        state = self._pool.state
        for name in list(state.agents):
            if name in state.agents:
                yield [
                    Finding(FindingKind.BOOKS, node, "", text)
                    for node, text in check_agent(state, name)
                ] + list(self._agreement(name))
        ids = list(state.allocations)
        for start in range(0, len(ids), SLICE):
            yield [
                Finding(FindingKind.BOOKS, "", key, text)
                for key in ids[start : start + SLICE]
                if key in state.allocations
                for text in check_allocation(state, key)
            ]
        names = list(state.nodes)
        for start in range(0, len(names), SLICE):
            yield list(self._nodes(names[start : start + SLICE]))

    def _agreement(self, name: str) -> Iterator[Finding]:
        """Ledger and agent, but for what is in flight."""
        pool = self._pool
        book, life = pool.state.agents[name], pool.life(name)
        if book.state is not AgentState.ACTIVE:
            return
        for lease_id, ref in book.leases.items():
            allocation = pool.state.allocations.get(ref.allocation_id)
            if allocation is None or ref.position >= len(allocation.parts):
                continue  # a false book, and named as one
            part = allocation.parts[ref.position]
            if (
                part.state is PartState.STARTED
                and lease_id not in life.held
                and part.revision <= life.applied_revision
            ):
                yield Finding(
                    FindingKind.PHANTOM, part.node, lease_id, f"agent {name} does not hold it"
                )
        for lease_id in sorted(life.strays & life.held.keys()):
            if lease_id in life.old_strays and life.held[lease_id].state is not HeldState.RELEASING:
                yield Finding(
                    FindingKind.ORPHAN, "", lease_id, f"agent {name} holds it against the ledger"
                )

    def _nodes(self, names: list[str]) -> Iterator[Finding]:
        state, columns = self._pool.state, self._pool.columns
        for name in names:
            book = state.nodes.get(name)
            if book is None:
                continue
            for key, held in book.used.items():
                over = held - book.capacity.get(key, 0)
                if over > 0:
                    yield Finding(
                        FindingKind.OVERCOMMIT, name, "", f"{key}: {over} more than there is"
                    )
            if book.conflicts:
                yield Finding(FindingKind.CONFLICT, name, "", "an adopted lease is flagged")
            for text in check_row(columns, book):
                yield Finding(FindingKind.VIEW, name, "", text)
