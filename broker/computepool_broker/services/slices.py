"""Cutting what a report says into slices that nobody should wait longer for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from computepool_broker.ledger.reconcile import Held

T = TypeVar("T")
SLICE = 2_500
"""Weight of a slice, in about 3 us each."""
NEW_NODE, GONE_NODE, RECORDED_LEASE = 20, 10, 20
"""Weights; a node or a lease that is as before weighs 1."""


def lease_weight(lease: Held) -> int:
    """Weight of a lease: one with its record may have to be adopted."""
    return 1 if lease.record is None else RECORDED_LEASE


def slices(items: Sequence[T], weigh: Callable[[T], int]) -> Iterator[list[T]]:
    """The items in order, in slices of bounded weight."""
    slice_: list[T] = []
    left = SLICE
    for item in items:
        weight = weigh(item)
        if weight > left and slice_:
            yield slice_
            slice_, left = [], SLICE
        left -= weight
        slice_.append(item)
    if slice_:
        yield slice_


def equal_slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The same, of items that weigh 1 each."""
    return (items[at : at + SLICE] for at in range(0, len(items), SLICE))
