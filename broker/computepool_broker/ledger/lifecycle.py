"""The steps in the life of an allocation, each as one transaction. Pure.

Every function takes the tables as they are and returns the transaction that makes one step (the
arrows drawn in model/records.py), or None when there is nothing to do. Nothing is changed here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from computepool_broker.ledger.transaction import NodeAmounts, PutAllocation, Transaction
from computepool_broker.model.records import (
    LIVE_STATES,
    WANTED_STATES,
    Allocation,
    AllocationState,
    EndReason,
    Part,
    PartState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.placement.places import Place

MAX_PLACEMENTS = 3
"""A part that is refused is placed anew so often, then its allocation has failed (semantics,
rule 15). Counted by part: one node that refuses all its parts of a gang does not end the gang."""


def grant(state: LedgerState, draft: Allocation, places: Sequence[Place]) -> Transaction:
    """Commit the amounts of all parts; `draft` lacks only its parts.

    With power the request says nothing of their number; the grant does.
    """
    if draft.spec.power is not None:
        draft.spec = draft.spec._replace(parts=len(places))
    draft.parts = tuple(
        [Part(i, 0, place.node, place.model, place.amounts) for i, place in enumerate(places)]
    )
    return Transaction(
        state.epoch,
        puts=(PutAllocation(draft.id, draft, 0),),
        bind=(draft.id,) if draft.request_id else (),
        reserve=tuple([NodeAmounts(place.node, place.amounts) for place in places]),
    )


def change_spec_ttl(state: LedgerState, allocation: Allocation, ttl_s: int) -> Transaction | None:
    """Renew with another TTL; a renewal that changes only time needs no commit."""
    if allocation.spec.ttl_s == ttl_s:
        return None
    record = replace(allocation, spec=allocation.spec._replace(ttl_s=ttl_s))
    return _put(state, allocation, record)


def end(
    state: LedgerState, allocation: Allocation, reason: EndReason, message: str = ""
) -> Transaction | None:
    """End a live allocation for its tenant; amounts come back as agents confirm teardown."""
    if allocation.state not in LIVE_STATES:
        return None
    parts = tuple(
        p.moved_to(PartState.RELEASING, fresh=True) if p.state in WANTED_STATES else p
        for p in allocation.parts
    )
    record = replace(
        allocation,
        state=_ending_state(parts),
        end_reason=reason,
        end_message=message,
        parts=parts,
    )
    return _put(state, allocation, record)


def progress(
    state: LedgerState, allocation: Allocation, position: int, reached: PartState
) -> Transaction | None:
    """An agent says that it has ADMITTED or STARTED a part."""
    part = allocation.parts[position]
    if part.state not in WANTED_STATES or part.state >= reached:
        return None
    parts = _with(allocation.parts, position, part.moved_to(reached, fresh=False))
    record = replace(allocation, parts=parts)
    complete = len(parts) == allocation.spec.parts
    if (
        allocation.state is AllocationState.RESERVED
        and complete
        and all(p.state in (PartState.ADMITTED, PartState.STARTED) for p in parts)
    ):
        # Every agent now has something to do: start.
        record.state = AllocationState.ACTIVE
        record.parts = tuple(p.moved_to(p.state, fresh=True) for p in parts)
    return _put(state, allocation, record)


def start_again(state: LedgerState, allocation: Allocation, position: int) -> Transaction:
    """An agent has lost a part of an ACTIVE allocation and admitted it anew: tell it to start.

    That is news to the agent, so it needs a revision of its own: an answer at one that the agent
    has applied already would be ignored.
    """
    part = allocation.parts[position].moved_to(PartState.ADMITTED, fresh=True)
    record = replace(allocation, parts=_with(allocation.parts, position, part))
    return _put(state, allocation, record)


def place_anew(
    state: LedgerState, allocation: Allocation, position: int, place: Place
) -> Transaction:
    """Move a refused part to another place: its old amounts go and its new ones come at once."""
    old = allocation.parts[position]
    new = Part(old.index, old.place_revision + 1, place.node, place.model, place.amounts)
    record = replace(
        allocation,
        parts=_with(allocation.parts, position, new),
        refusals=allocation.refusals + 1,
    )
    return _put(state, allocation, record)._replace(
        release=(NodeAmounts(old.node, old.amounts),),
        reserve=(NodeAmounts(place.node, place.amounts),),
    )


def gone(state: LedgerState, allocation: Allocation, positions: Iterable[int]) -> Transaction:
    """An agent has confirmed teardown of parts (or never held them): their amounts come back."""
    chosen = set(positions)
    parts = tuple(
        p.moved_to(PartState.GONE, fresh=False) if i in chosen else p
        for i, p in enumerate(allocation.parts)
    )
    record = replace(allocation, parts=parts)
    if allocation.state is AllocationState.RELEASING:
        record.state = _ending_state(parts)
    release = tuple(
        NodeAmounts(allocation.parts[i].node, allocation.parts[i].amounts)
        for i in sorted(chosen)
        if allocation.parts[i].state is not PartState.GONE
    )
    return _put(state, allocation, record)._replace(release=release)


def end_and_gone(
    state: LedgerState,
    allocation: Allocation,
    positions: Iterable[int],
    reason: EndReason,
    message: str,
) -> Transaction:
    """Both at once: the agent of these parts refused them, stopped them, or is struck off."""
    ended = end(state, allocation, reason, message)
    record = ended.puts[0].record if ended is not None else allocation
    if record is None:  # end() puts a record, it never deletes one
        raise AssertionError(allocation.id)
    tx = gone(state, record, positions)
    last = tx.puts[0].record
    return tx._replace(puts=(PutAllocation(allocation.id, last, allocation.revision),))


def forget_ended(state: LedgerState, allocation: Allocation) -> Transaction:
    """Drop the record of an allocation that has ended, and its request_id with it."""
    if allocation.state is not AllocationState.ENDED:
        raise AssertionError(f"{allocation.id} is {allocation.state.name}")
    return Transaction(state.epoch, puts=(PutAllocation(allocation.id, None, allocation.revision),))


def _put(state: LedgerState, old: Allocation, record: Allocation) -> Transaction:
    return Transaction(state.epoch, puts=(PutAllocation(old.id, record, old.revision),))


def _with(parts: tuple[Part, ...], position: int, part: Part) -> tuple[Part, ...]:
    return (*parts[:position], part, *parts[position + 1 :])


def _ending_state(parts: Sequence[Part]) -> AllocationState:
    if all(p.state is PartState.GONE for p in parts):
        return AllocationState.ENDED
    return AllocationState.RELEASING
