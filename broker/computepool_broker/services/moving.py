"""What is moving, kept up rather than added up: for whoever looks at the view again and again.

A busy pool has tens of thousands of leases on their way. The ledger notes which of them have
changed since the last look, and only those are looked at.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.model.records import PartState
from computepool_broker.services.view import Moving, amounts_of, no_amounts

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState

FEW = 64
"""Below it entries of a heap that have left are not worth removing."""


class _Lease(NamedTuple):
    center: str
    pending: bool
    created_ms: int
    amounts: list[tuple[str, int]]


class MovingSums:
    """Follows one ledger between `begin` and `end`; all in jobs of the committer."""

    def __init__(self, state: LedgerState) -> None:
        self._state = state
        self._reset()

    def _reset(self) -> None:
        self._leases: dict[str, _Lease] = {}
        self._moving = Moving(no_amounts(), no_amounts(), {})
        self._heaps: dict[str, list[tuple[int, str]]] = {}
        self._pending: dict[str, int] = {}

    def begin(self) -> None:
        """Look at all that moves; from now on only at what changes."""
        self._reset()
        self._state.moved = set()
        for lease_id in self._state.moving:
            self._take(lease_id)

    def end(self) -> None:
        """Follow no more."""
        self._state.moved = None
        self._reset()

    def look(self) -> Moving:
        """What is moving now; good until the next look. Begins by itself."""
        moved = self._state.moved
        if moved is None:
            self.begin()
            moved = set()
        else:
            self._state.moved = set()
        for lease_id in moved:
            self._leave(lease_id)
            self._take(lease_id)
        for center in self._heaps:
            self._tell_oldest(center)
        return self._moving

    def _take(self, lease_id: str) -> None:
        ref = self._state.moving.get(lease_id)
        if ref is None:
            return
        allocation, part = self._state.part(ref)
        center = self._state.nodes[part.node].record.center
        pending = part.state is PartState.PENDING
        lease = _Lease(center, pending, allocation.created_ms, amounts_of(part))
        self._leases[lease_id] = lease
        self._add(lease, 1)
        if pending:
            self._pending[center] = self._pending.get(center, 0) + 1
            heapq.heappush(self._heaps.setdefault(center, []), (lease.created_ms, lease_id))

    def _leave(self, lease_id: str) -> None:
        lease = self._leases.pop(lease_id, None)
        if lease is not None:
            self._add(lease, -1)
            if lease.pending:
                self._pending[lease.center] -= 1

    def _add(self, lease: _Lease, sign: int) -> None:
        moving = self._moving
        by_key = (moving.in_flight if lease.pending else moving.releasing)[lease.center]
        for key, amount in lease.amounts:
            by_key[key] += sign * amount

    def _is_there(self, center: str, entry: tuple[int, str]) -> bool:
        """Whether a heap's entry is a lease that still is in flight there."""
        created_ms, lease_id = entry
        lease = self._leases.get(lease_id)
        return lease is not None and lease[:3] == (center, True, created_ms)

    def _tell_oldest(self, center: str) -> None:
        heap = self._heaps[center]
        if len(heap) > FEW + 2 * self._pending[center]:
            heap = self._heaps[center] = [x for x in heap if self._is_there(center, x)]
            heapq.heapify(heap)
        while heap and not self._is_there(center, heap[0]):
            heapq.heappop(heap)
        if heap:
            self._moving.oldest[center] = heap[0][0]
        else:
            self._moving.oldest.pop(center, None)
