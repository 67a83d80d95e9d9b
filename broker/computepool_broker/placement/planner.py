"""From a request and the view to places, or to the reason why not. Pure.

A part goes to the best node (score.py); there whole devices come from the class with the fewest
that suffice, a share from the fullest device that takes it. Parts of a gang are equal and the
score only grows as a node fills, so filling node after node in the order of their keys is the
same as placing part after part.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from computepool_broker.model.amounts import WHOLE_DEVICE, Amounts, add, shortfall
from computepool_broker.placement import score
from computepool_broker.placement.filters import CompiledShape, compile_shape
from computepool_broker.placement.shape_index import ShapeIndex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.records import Allocation
    from computepool_broker.model.request import Shape, Spec
    from computepool_broker.placement.columns import Columns

MAX_SHAPES = 2048
"""Indexes kept; the one used longest ago goes first."""
MAX_HELD = 200_000
"""Rows held by all indexes together, about 200 bytes each."""


class Place(NamedTuple):
    """Where one part goes."""

    node: str
    model: str
    amounts: Amounts


class Planner:
    """Plans on the columns; holds the bounded cache of indexes."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._indexes: OrderedDict[Shape, ShapeIndex] = OrderedDict()

    def plan(self, spec: Spec) -> tuple[list[Place], int]:
        """Places for all parts.

        Returns:
            The places, empty unless all parts have one; and how many parts could be placed.
        """
        shape, count = spec.shape, spec.parts
        if count == 1:
            place = self._plan_one(shape)
            return ([place], 1) if place is not None else ([], 0)
        places = self._plan_gang(shape, count)
        return (places, count) if len(places) == count else ([], len(places))

    def place_again(self, allocation: Allocation, position: int) -> Place | None:
        """Another place for one part, which its agent has refused; None when there is none."""
        del position
        return self._plan_one(allocation.spec.shape)

    def _plan_one(self, shape: Shape) -> Place | None:
        index = self._index(shape)
        while True:
            row = index.top()
            if row < 0:
                return None
            book = self.columns.books[row]
            if book is not None:
                place = place_on(self.columns, index.compiled, book, book.used)
                if place is not None:
                    return place
            index.reject(row)

    def _plan_gang(self, shape: Shape, count: int) -> list[Place]:
        columns = self.columns
        columns.rank  # noqa: B018 - settles `layout` before compiling
        compiled = compile_shape(columns, shape)
        packed = score.keys(columns, compiled, slice(0, columns.size))
        rows = np.flatnonzero(packed)
        if len(rows) > count:
            # Every row that passes takes at least one part.
            rows = rows[np.argpartition(packed[rows], len(rows) - count)[len(rows) - count :]]
        places: list[Place] = []
        for row in rows[np.argsort(packed[rows])[::-1]].tolist():
            book = columns.books[row]
            if book is None:
                continue
            used = dict(book.used)
            while len(places) < count:
                place = place_on(columns, compiled, book, used)
                if place is None:
                    break
                add(used, place.amounts)
                places.append(place)
        return places

    def _index(self, shape: Shape) -> ShapeIndex:
        index = self._indexes.get(shape)
        if index is None:
            index = self._indexes[shape] = ShapeIndex(self.columns, shape)
            held = sum(i.held for i in self._indexes.values())
            while len(self._indexes) > MAX_SHAPES or (held > MAX_HELD and len(self._indexes) > 1):
                held -= self._indexes.popitem(last=False)[1].held
        else:
            self._indexes.move_to_end(shape)
        return index


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
        return None if best is None else ([keys[best[1]]], book.record.devices[best[1]].model)
    free: dict[int, list[int]] = {}
    for at, key in enumerate(keys):
        whole = capacity.get(key, 0) - used.get(key, 0) == WHOLE_DEVICE
        if whole and classes[at] in compiled.class_ids:
            free.setdefault(classes[at], []).append(at)
    enough = [(len(ats), ats) for ats in free.values() if len(ats) >= part.devices]
    if not enough:
        return None
    _, ats = min(enough)
    return [keys[at] for at in ats[: part.devices]], book.record.devices[ats[0]].model
