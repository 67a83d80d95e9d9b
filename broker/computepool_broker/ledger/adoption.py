"""Bringing back leases that agents hold and the store has lost (semantics, rule 18). Pure.

A held lease that the ledger does not know is adopted only if this store cannot have known it:
it was granted by another store, or later than what this store surely knows of that epoch.
Otherwise the ledger has forgotten it because it ended, and it is revoked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from computepool_broker.ledger.reconcile import Held, HeldRecord, HeldState
from computepool_broker.ledger.transaction import NodeAmounts, PutAllocation, Transaction
from computepool_broker.model.amounts import WHOLE_DEVICE, devices_of, subtract
from computepool_broker.model.records import (
    LIVE_STATES,
    Allocation,
    AllocationState,
    Part,
    PartState,
)

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState

ADOPTABLE = frozenset({HeldState.ADMITTED, HeldState.STARTED})


def cannot_have_known(state: LedgerState, record: HeldRecord) -> bool:
    """Whether this store could not know the lease, so that its ignorance means nothing."""
    return (
        record.identity != state.identity
        or record.epoch > state.epoch
        or record.revision > state.known_through(record.epoch)
    )


def adopt(state: LedgerState, agent: str, held: Held, now_ms: int) -> Transaction | None:
    """The transaction that brings a held lease back, or None when it must be revoked.

    Its node must be one that the agent has reported. Nobody is evicted: what contradicts the
    ledger (a device that another lease has, a request_id bound elsewhere) is flagged, and the
    node gets no new grants while the flagged lease is there.
    """
    record = held.record
    if record is None or held.state not in ADOPTABLE or not cannot_have_known(state, record):
        return None
    book = state.nodes.get(record.node)
    if book is None or book.record.agent != agent:
        return None
    known = state.allocations.get(record.allocation_id)
    former = _former_place(known, record) if known is not None else None
    if known is not None and former is None and not _extends(known, record):
        return None
    left = (NodeAmounts(former.node, former.amounts),) if former is not None else ()
    flags = _device_conflicts(state, record, former)
    bind: tuple[str, ...] = ()
    if known is None and record.request_id:
        holder = state.request_ids.get((record.tenant, record.request_id))
        if holder is None:
            bind = (record.allocation_id,)
        else:
            flags += (f"request_id is bound to {holder}",)
    put = _adopted(known, held, record, flags, now_ms, former)
    return Transaction(
        state.epoch,
        puts=(PutAllocation(put.id, put, known.revision if known else 0),),
        bind=bind,
        reserve=(NodeAmounts(record.node, record.amounts, forced=True),),
        release=left,
    )


def _extends(known: Allocation, record: HeldRecord) -> bool:
    """Whether the lease is a part that an adopted allocation still lacks."""
    return (
        known.adopted
        and known.state in LIVE_STATES
        and known.digest == record.digest
        and all(part.index != record.part_index for part in known.parts)
    )


def _former_place(known: Allocation, record: HeldRecord) -> Part | None:
    """The part where the ledger, put back to a backup, has it; since then it was placed anew.

    Nothing has been started at the former place: that would have made the allocation ACTIVE.
    """
    if known.state is not AllocationState.RESERVED or known.digest != record.digest:
        return None
    for part in known.parts:
        older = part.index == record.part_index and part.place_revision < record.place_revision
        if older and part.state is not PartState.STARTED:
            return part
    return None


def _device_conflicts(
    state: LedgerState, record: HeldRecord, former: Part | None
) -> tuple[str, ...]:
    used = dict(state.nodes[record.node].used)
    if former is not None and former.node == record.node:
        subtract(used, former.amounts)
    return tuple(
        f"device {device_id} of {record.node} is granted twice"
        for device_id, milli in devices_of(record.amounts)
        if used.get(f"d/{device_id}", 0) + milli > WHOLE_DEVICE
    )


def _adopted(
    known: Allocation | None,
    held: Held,
    record: HeldRecord,
    flags: tuple[str, ...],
    now_ms: int,
    former: Part | None,
) -> Allocation:
    started = held.state is HeldState.STARTED
    part = Part(
        record.part_index,
        record.place_revision,
        record.node,
        record.model,
        record.amounts,
        PartState.STARTED if started else PartState.ADMITTED,
    )
    old = known or Allocation(
        record.allocation_id,
        record.tenant,
        record.request_id,
        record.digest,
        record.spec,
        (),
        now_ms,
        record.description,
        record.labels,
        adopted=True,
    )
    others = (p for p in old.parts if p is not former)
    parts = tuple(sorted((*others, part), key=lambda p: p.index))
    begun = started or old.state is AllocationState.ACTIVE or len(parts) == record.part_count
    active = begun and all(p.state in (PartState.ADMITTED, PartState.STARTED) for p in parts)
    if active and old.state is AllocationState.RESERVED:
        # Every agent now has something to do, also those whose parts came earlier: start.
        parts = tuple(p.moved_to(p.state, fresh=True) for p in parts)
    return replace(
        old,
        parts=parts,
        flags=old.flags + flags,
        state=AllocationState.ACTIVE if active else AllocationState.RESERVED,
    )
