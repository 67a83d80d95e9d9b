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

from computepool_broker.model.amounts import CPU, WHOLE_DEVICE, shortfall
from computepool_broker.placement.filters import CompiledShape, passing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from computepool_broker.model.book import NodeBook
    from computepool_broker.placement.columns import Columns

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
    """The key of one row, from its book: the same as `keys`, much faster for a few rows."""
    book = columns.books[row]
    if book is None or book.blockers:
        return 0
    capacity, used = book.capacity, book.used
    if compiled.base and shortfall(compiled.base, capacity, used) is not None:
        return 0
    if not (
        compiled.center_ok.item(columns.center.item(row))
        and compiled.labels_ok.item(columns.labels.item(row))
    ):
        return 0
    cpu_left = capacity.get(CPU, 0) - used.get(CPU, 0) - compiled.shape.part.cpu_milli
    milli_left = 0
    if compiled.need_milli or columns.device_keys[row]:
        fits, milli_left = _devices_of_row(columns, compiled, book)
        if not fits:
            return 0
        milli_left -= compiled.need_milli
    score = FULL_SCORE
    if cpu_left > 0:
        score -= HALF * min(cpu_left, CPU_REFERENCE_MILLI) // CPU_REFERENCE_MILLI
    if milli_left > 0:
        score -= HALF * min(milli_left, DEVICE_REFERENCE_MILLI) // DEVICE_REFERENCE_MILLI
    return ((score + 1) << RANK_BITS) | (RANK_MASK - columns.rank.item(row))


def _devices_of_row(columns: Columns, compiled: CompiledShape, book: NodeBook) -> tuple[bool, int]:
    """Whether the devices suffice, and the thousandths free on all of them."""
    part, accepted = compiled.shape.part, compiled.class_ids
    capacity, used = book.capacity, book.used
    share = part.device_milli or WHOLE_DEVICE
    free = 0
    able: dict[int, int] = {}
    for key, class_id in zip(
        columns.device_keys[book.row], columns.device_classes[book.row], strict=True
    ):
        left = capacity.get(key, 0) - used.get(key, 0)
        if left > 0:
            free += left
            if left >= share and class_id in accepted:
                able[class_id] = able.get(class_id, 0) + 1
    need = part.devices or (1 if part.device_milli else 0)
    return not need or max(able.values(), default=0) >= need, free
