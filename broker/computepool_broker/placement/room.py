"""How many parts of a shape the nodes could take, all rows at once. Pure.

The same arithmetic as placing part after part, without writing out the places: what `place_on`
would place on a node until it refuses is what `parts_by_row` says of its row. tests/property
holds them against each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from computepool_broker.model.amounts import WHOLE_DEVICE
from computepool_broker.placement.filters import CompiledShape, eligible, passing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from computepool_broker.placement.columns import Columns

MOST = 1 << 30
"""No row counts for more: its sums stay exact."""


class Amounts(NamedTuple):
    """What there is of each resource besides devices, by row."""

    fixed: NDArray[np.int64]
    extras: Mapping[str, NDArray[np.int64]]


def parts_by_row(columns: Columns, compiled: CompiledShape) -> NDArray[np.int64]:
    """Parts that each row can take now, together on that row; 0 where a filter refuses."""
    columns.settle()
    out = np.zeros(columns.size, dtype=np.int64)
    rows = np.flatnonzero(passing(compiled, slice(0, columns.size)))
    now = Amounts(columns.free, columns.extras)
    out[rows] = np.minimum(
        besides_devices(compiled, now, rows), _by_devices(columns, compiled, rows)
    )
    return out


def parts_if_empty(columns: Columns, compiled: CompiledShape) -> NDArray[np.int64]:
    """Parts that each row could take if nobody used anything of it, and it took grants."""
    out = np.zeros(columns.size, dtype=np.int64)
    rows = np.flatnonzero(eligible(columns, compiled))
    most = besides_devices(compiled, amounts_if_empty(columns), rows)
    part = compiled.shape.part
    if compiled.need_milli:
        by_devices = np.zeros(len(rows), dtype=np.int64)
        for class_id in compiled.class_ids:
            count = columns.class_count[class_id, rows].astype(np.int64)
            if part.device_milli:
                by_devices += count * (WHOLE_DEVICE // part.device_milli)
            else:
                by_devices += count // part.devices
        most = np.minimum(most, by_devices)
    out[rows] = most
    return out


def amounts_if_empty(columns: Columns) -> Amounts:
    """All that nodes have but what is reserved for the system."""
    return Amounts(columns.total - columns.reserved, columns.extras_empty)


def besides_devices(
    compiled: CompiledShape, have: Amounts, rows: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Parts that the rows could take by all but their devices."""
    part = compiled.shape.part
    most = np.full(len(rows), MOST, dtype=np.int64)
    needs = (part.cpu_milli, part.memory_mib, part.disk_mib)
    for column, need in zip(have.fixed, needs, strict=True):
        if need:
            most = np.minimum(most, column[rows] // need)
    for name, need in part.extras:
        extra = have.extras.get(name)
        most = np.minimum(most, 0 if extra is None else extra[rows] // need)
    return np.maximum(most, 0)


def _by_devices(
    columns: Columns, compiled: CompiledShape, rows: NDArray[np.intp]
) -> NDArray[np.int64]:
    part = compiled.shape.part
    if part.device_milli:
        shares = _shares(columns, compiled)
        return shares[rows]
    if not part.devices:
        return np.full(len(rows), MOST, dtype=np.int64)
    # Every part takes its devices from one class; which one, leaves the others as they are.
    most = np.zeros(len(rows), dtype=np.int64)
    for class_id in compiled.class_ids:
        most += columns.free_whole[class_id, rows] // part.devices
    return most


def _shares(columns: Columns, compiled: CompiledShape) -> NDArray[np.int64]:
    """By row: shares of the size asked for that its devices still have, each within one device."""
    table = columns.devices
    accepted = np.zeros(len(columns.classes), dtype=np.bool_)
    accepted[list(compiled.class_ids)] = True
    span = slice(0, table.size)
    at = np.flatnonzero((table.node[span] >= 0) & accepted[table.kind[span]])
    left = table.total[at].astype(np.int64) - table.foreign[at] - table.granted[at]
    shares = np.maximum(left, 0) // compiled.shape.part.device_milli
    summed = np.bincount(table.node[at], weights=shares, minlength=columns.size)
    return summed.astype(np.int64)
