"""Best fit: among the nodes that pass, the one that is left with least. Pure.

    score = 1,000,000 - 500,000 * cpu_left / 128 cores - 500,000 * devices_left / 8

with both fractions cut at 1, in integers. The form is that of the BestFit policy of "Beware of
Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent" (USENIX ATC
2023), which weighs processor and devices alike. A request without devices thereby keeps off
nodes that have some.

The key of a node packs the score and, below it, the place of its name, so that keys are unique
and the greatest is the one answer: equal inputs give equal plans. 0 means "does not fit".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from computepool_broker.model.amounts import CPU, shortfall
from computepool_broker.placement.filters import CompiledShape, passing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from computepool_broker.placement.columns import Columns
    from computepool_broker.placement.devices import FreeDevices

FULL_SCORE = 1_000_000
HALF = FULL_SCORE // 2
CPU_REFERENCE_MILLI = 128_000
DEVICE_REFERENCE_MILLI = 8_000
RANK_BITS = 24
"""At most 16.7 million nodes."""
RANK_MASK = (1 << RANK_BITS) - 1


def keys(
    columns: Columns, compiled: CompiledShape, rows: slice | NDArray[np.int32]
) -> NDArray[np.int64]:
    """The key of every row."""
    columns.settle()
    rank = columns.rank[rows]
    ok = passing(compiled, rows)
    cpu_left = np.minimum(
        columns.free_cpu[rows] - compiled.shape.part.cpu_milli, CPU_REFERENCE_MILLI
    )
    milli_left = np.minimum(
        columns.free_milli[rows].astype(np.int64) - compiled.need_milli, DEVICE_REFERENCE_MILLI
    )
    score = (
        FULL_SCORE
        - HALF * np.maximum(cpu_left, 0) // CPU_REFERENCE_MILLI
        - HALF * np.maximum(milli_left, 0) // DEVICE_REFERENCE_MILLI
    )
    packed: NDArray[np.int64] = ((score + 1) << RANK_BITS) | (RANK_MASK - rank)
    return np.where(ok, packed, 0)


def key_of_row(columns: Columns, compiled: CompiledShape, row: int) -> int:
    """The key of one row, from its book: the same as `keys`, much faster for a few rows.

    The columns' ranks must be settled.
    """
    book = columns.books[row]
    if book is None or book.blockers:
        return 0
    if compiled.picky and not (
        compiled.center_ok.item(columns.center.item(row))
        and compiled.labels_ok.item(columns.labels.item(row))
    ):
        return 0
    capacity, used = book.capacity, book.used
    if compiled.base and shortfall(compiled.base, capacity, used) is not None:
        return 0
    cpu_left = capacity.get(CPU, 0) - used.get(CPU, 0) - compiled.shape.part.cpu_milli
    milli_left = -compiled.need_milli
    if compiled.need_milli or columns.device_keys[row]:
        free = columns.free_devices(row)
        if compiled.need_milli and not _devices_fit(compiled, free):
            return 0
        milli_left += free.milli
    score = FULL_SCORE
    if cpu_left > 0:
        cut = min(cpu_left, CPU_REFERENCE_MILLI)
        score -= HALF * cut // CPU_REFERENCE_MILLI
    if milli_left > 0:
        cut = min(milli_left, DEVICE_REFERENCE_MILLI)
        score -= HALF * cut // DEVICE_REFERENCE_MILLI
    return ((score + 1) << RANK_BITS) | (RANK_MASK - columns.rank_of_row[row])


def _devices_fit(compiled: CompiledShape, free: FreeDevices) -> bool:
    """Whether one kind of device accepted suffices."""
    part = compiled.shape.part
    for class_id in compiled.class_ids:
        if part.devices:
            if len(free.whole.get(class_id, ())) >= part.devices:
                return True
        elif free.share.get(class_id, 0) >= part.device_milli:
            return True
    return False
