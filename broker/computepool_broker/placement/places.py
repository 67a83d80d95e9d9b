"""One part on one node: which amounts and devices it takes there. Pure.

Whole devices come from the class with the fewest that suffice, a share from the fullest device
that takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.model.amounts import WHOLE_DEVICE, Amounts, shortfall
from computepool_broker.placement.devices import free_devices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from computepool_broker.model.book import NodeBook
    from computepool_broker.placement.columns import Columns
    from computepool_broker.placement.filters import CompiledShape


class Place(NamedTuple):
    """Where one part goes."""

    node: str
    model: str
    amounts: Amounts


def place_on(
    columns: Columns, compiled: CompiledShape, book: NodeBook, used: Mapping[str, int]
) -> Place | None:
    """One part's amounts and devices on a node with `used` taken, or None when it does not fit."""
    amounts, model = compiled.base, ""
    if compiled.need_milli:
        found = _pick_devices(columns, compiled, book, used)
        if found is None:
            return None
        keys, model = found
        milli = compiled.shape.part.device_milli or WHOLE_DEVICE
        amounts = amounts + tuple((key, milli) for key in keys)
    if shortfall(amounts, book.capacity, used) is not None:
        return None
    return Place(book.record.name, model, amounts)


def _pick_devices(
    columns: Columns, compiled: CompiledShape, book: NodeBook, used: Mapping[str, int]
) -> tuple[list[str], str] | None:
    part = compiled.shape.part
    keys, classes = columns.device_keys[book.row], columns.device_classes[book.row]
    capacity = book.capacity
    if part.device_milli:
        best: tuple[int, int] | None = None
        for at, key in enumerate(keys):
            left = capacity.get(key, 0) - used.get(key, 0)
            fits = left >= part.device_milli and classes[at] in compiled.class_ids
            if fits and (best is None or left < best[0]):
                best = (left, at)
        return None if best is None else ([keys[best[1]]], book.record.devices.models[best[1]])
    if used is book.used:
        whole = columns.free_devices(book.row).whole
    else:
        whole = free_devices(keys, classes, capacity, used).whole
    chosen: list[int] = []
    for class_id in compiled.class_ids:
        ats = whole.get(class_id, chosen)
        if len(ats) >= part.devices and (not chosen or (len(ats), ats) < (len(chosen), chosen)):
            chosen = ats
    if not chosen:
        return None
    return [keys[at] for at in chosen[: part.devices]], book.record.devices.models[chosen[0]]
