"""The fields of allocations, nodes and agents that lists are filtered and ordered by.

What only the clock changes (ages, the time left) is ordered by something that it does not change:
so pages hold together while time goes by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model.amounts import CPU, DEVICE_PREFIX, DISK, MEMORY, WHOLE_DEVICE
from computepool_broker.model.records import AgentState, AllocationState, EndReason
from computepool_broker.query.fields import Field, Kind
from computepool_broker.query.stable import STABLE_FIELDS
from computepool_broker.services.pool import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from computepool_broker.ledger.state import AgentBook
    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.records import Allocation, NodeRecord
    from computepool_broker.services.pool import Pool

B = TypeVar("B")
SECOND_MS = 1_000
LONG_AGO = -(2**62)
"""What orders an age that is not known: before all others, as its -1 does."""


def allocation_fields(pool: Pool) -> dict[str, Field[Allocation]]:
    """What ListAllocations knows."""
    state = pool.state

    def records(a: Allocation) -> Iterator[NodeRecord]:
        for part in a.parts:
            book = state.nodes.get(part.node)
            if book is not None:
                yield book.record

    return {
        **STABLE_FIELDS,
        "state": Field(Kind.WORD, lambda a: a.state, AllocationState),
        "end_reason": Field(Kind.WORD, lambda a: a.end_reason, EndReason),
        "description": Field(Kind.TEXT, lambda a: a.description),
        "remaining_ttl": Field(
            Kind.DURATION,
            lambda a: pool.ttl.left_ms(a.id, pool.clock.now_ms),
            scale=SECOND_MS,
            order=lambda a: pool.ttl.at_ms(a.id),
        ),
        "adopted": Field(Kind.FLAG, lambda a: a.adopted),
        "region": Field(Kind.TEXTS, lambda a: (r.region for r in records(a))),
        "center": Field(Kind.TEXTS, lambda a: (r.center for r in records(a))),
        "node": Field(Kind.TEXTS, lambda a: (p.node for p in a.parts)),
        "model": Field(Kind.TEXTS, lambda a: (p.model for p in a.parts if p.model)),
        "devices": Field(Kind.NUMBER, _devices),
        "parts": Field(Kind.NUMBER, lambda a: len(a.parts)),
    }


def _devices(a: Allocation) -> int:
    return sum(key.startswith(DEVICE_PREFIX) for part in a.parts for key, _ in part.amounts)


def node_fields(pool: Pool) -> dict[str, Field[NodeBook]]:
    """What ListNodes knows."""

    def observed_ms(book: NodeBook) -> int:
        life = pool.lives.get(book.record.agent)
        return life.observed_ms if life else NEVER

    return {
        "name": Field(Kind.TEXT, lambda b: b.record.name),
        "region": Field(Kind.TEXT, lambda b: b.record.region),
        "center": Field(Kind.TEXT, lambda b: b.record.center),
        "agent": Field(Kind.TEXT, lambda b: b.record.agent),
        "schedulable": Field(Kind.FLAG, lambda b: b.blockers == 0),
        "blockers": Field(Kind.TEXTS, lambda b: Blocker.names(b.blockers)),
        "labels": Field(Kind.LABELS, lambda b: b.record.labels),
        "model": Field(Kind.TEXTS, lambda b: b.record.devices.models),
        "devices": Field(Kind.NUMBER, lambda b: len(b.record.devices)),
        "devices_free": Field(Kind.NUMBER, _free_devices),
        "cpu_milli": Field(Kind.NUMBER, lambda b: b.record.total.cpu_milli),
        "cpu_free_milli": Field(Kind.NUMBER, lambda b: _free(b, CPU)),
        "memory_mib": Field(Kind.NUMBER, lambda b: b.record.total.memory_mib),
        "memory_free_mib": Field(Kind.NUMBER, lambda b: _free(b, MEMORY)),
        "disk_mib": Field(Kind.NUMBER, lambda b: b.record.total.disk_mib),
        "disk_free_mib": Field(Kind.NUMBER, lambda b: _free(b, DISK)),
        "leases": Field(Kind.NUMBER, lambda b: b.leases),
        "age_ms": _age(pool, observed_ms),
    }


def _free(book: NodeBook, key: str) -> int:
    return max(0, book.capacity.get(key, 0) - book.used.get(key, 0))


def _free_devices(book: NodeBook) -> int:
    """Devices that are free as a whole: shares of several do not add up to one."""
    return sum(_free(book, key) == WHOLE_DEVICE for key in book.record.devices.keys)


def agent_fields(pool: Pool) -> dict[str, Field[AgentBook]]:
    """What ListAgents knows."""

    def heard_ms(book: AgentBook) -> int:
        life = pool.life(book.record.name)
        return life.heard_ms if life.session else NEVER

    return {
        "name": Field(Kind.TEXT, lambda b: b.record.name),
        "center": Field(Kind.TEXT, lambda b: b.record.center),
        "region": Field(Kind.TEXT, lambda b: b.record.region),
        "state": Field(Kind.WORD, lambda b: b.state, AgentState),
        "backend": Field(Kind.TEXT, lambda b: b.record.backend),
        "version": Field(Kind.TEXT, lambda b: b.record.version),
        "nodes": Field(Kind.NUMBER, lambda b: len(b.nodes)),
        "leases": Field(Kind.NUMBER, lambda b: len(b.leases)),
        "refusals": Field(Kind.NUMBER, lambda b: pool.life(b.record.name).refusals),
        "last_sync_age_ms": _age(pool, heard_ms),
    }


def _age(pool: Pool, since_ms: Callable[[B], int]) -> Field[B]:
    """An age in milliseconds; -1 when it is not known."""

    def age_ms(row: B) -> int:
        since = since_ms(row)
        return NEVER if since == NEVER else pool.clock.now_ms - since

    def order(row: B) -> int:
        since = since_ms(row)
        return LONG_AGO if since == NEVER else -since

    return Field(Kind.DURATION, age_ms, order=order)
