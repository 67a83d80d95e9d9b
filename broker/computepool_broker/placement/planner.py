"""From a request and the view to places, or to the reason why not. Pure.

A part goes to the best node (score.py). Parts of a gang are equal and the score only grows as a
node fills, so filling node after node in the order of their keys is the same as placing part
after part. Parts that shall lie evenly are filled level by level (spread.py); power is turned into
devices first (power.py).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from computepool_broker.model.amounts import add, devices_of
from computepool_broker.model.records import PartState
from computepool_broker.placement import power, room, score, spread
from computepool_broker.placement.filters import CompiledShape, compile_shape
from computepool_broker.placement.places import place_on
from computepool_broker.placement.shape_index import MOST_HELD, ShapeIndex

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from computepool_broker.model.records import Allocation
    from computepool_broker.model.request import Shape, Spec, Spread
    from computepool_broker.placement.columns import Columns
    from computepool_broker.placement.places import Place
    from computepool_broker.placement.spread import Domains

MAX_SHAPES = 2048
"""Indexes kept; the one used longest ago goes first."""
MOST_ALIKE = MOST_HELD // 2
"""So many rows can be full at once, and the index still holds others."""
MAX_HELD = 200_000
"""Rows held by all indexes together, about 200 bytes each."""


class Planner:
    """Plans on the columns; holds the bounded cache of indexes."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._indexes: OrderedDict[Shape, ShapeIndex] = OrderedDict()

    def plan(self, spec: Spec) -> tuple[list[Place], int]:
        """Places for all parts.

        Returns:
            The places, empty unless all parts have one (with power: unless it is all there); and
            how many parts could be placed.
        """
        if spec.power is not None:
            places = power.plan(self.columns, spec)
            return places, len(places)
        if spec.parts == 1:
            place = self._plan_one(spec.shape)
            return ([place], 1) if place is not None else ([], 0)
        if spec.spread is not None:
            return self._plan_spread(spec, spec.spread)
        places = self._plan_gang(spec.shape, spec.parts)
        return (places, spec.parts) if len(places) == spec.parts else ([], len(places))

    def plan_alike(self, shape: Shape, count: int) -> list[Place]:
        """Places for up to `count` requests of one part each, as if planned one after the other.

        For what is committed at once: a row that is full by then is looked at again only when
        it has changed.

        Args:
            shape: Of all of them.
            count: At most MOST_ALIKE.
        """
        index = self._index(shape)
        places: list[Place] = []
        taken: set[int] = set()
        while len(places) < count:
            row = index.top()
            if row < 0:
                break
            if row not in taken:  # it comes back when the index is made anew
                taken.add(row)
                places += self._on_row(index.compiled, row, count - len(places))
            if len(places) < count:
                index.reject(row)
        return places

    def place_again(self, allocation: Allocation, position: int) -> Place | None:
        """Another place for one part, which its agent has refused; None when there is none.

        It keeps what was asked for: with a spread the parts lie as evenly as before or better,
        with power the part keeps its model and number of devices.
        """
        spec, part = allocation.spec, allocation.parts[position]
        if spec.power is None and (spec.spread is None or spec.parts == 1):
            return self._plan_one(spec.shape)
        shape, model = spec.shape, ""
        if spec.power is not None:
            shape = power.part_shape(shape, len(devices_of(part.amounts)))
            model = part.model
        compiled, packed = self.judged(shape, model)
        if spec.spread is not None and spec.parts > 1:
            found = spread.domains(self.columns, compiled, spec.spread.over)
            others, former = self._domains_of(found, allocation, position)
            allowed = spread.allowed_again(found, others, former, spec.spread)
            packed = np.where(allowed[found.of_row], packed, 0)
        for row in best_first(packed):
            places = self._on_row(compiled, row, 1)
            if places:
                return places[0]
        return None

    def fits(self, spec: Spec) -> str:
        """The center of its first part if the request would be granted now, or an empty text.

        As `plan`, by the same arithmetic, but no places are written out and no index is kept:
        for looking at many requests once.
        """
        if spec.power is not None:
            return next((center for center, _ in self.look(spec)), "")
        compiled, packed = self.judged(spec.shape)
        best = int(packed.argmax()) if len(packed) else 0
        if not len(packed) or not packed[best]:
            return ""
        if spec.parts > 1 and self._most(compiled, spec) < spec.parts:
            return ""
        record = self.columns.records[best]
        return record.center if record is not None else ""

    def look(self, spec: Spec) -> list[tuple[str, str]]:
        """Center and model of each part as `plan` would place them, keeping no index."""
        if spec.power is not None:
            names, center = list(self.columns.centers), self.columns.center
            chosen = power.choose(self.columns, spec)
            return [(names[center.item(filling.row)], filling.model) for filling in chosen]
        if spec.parts == 1:
            compiled, packed = self.judged(spec.shape)
            row = int(packed.argmax()) if len(packed) else 0
            places = self._on_row(compiled, row, 1) if packed.any() else []
        else:
            places, _ = self.plan(spec)
        centers = self._centers_of(places)
        return [(center, p.model) for center, p in zip(centers, places, strict=True)]

    def roomiest(self, shape: Shape) -> list[str]:
        """Centers with room for parts of a shape, those with most first."""
        columns = self.columns
        compiled, _ = self.judged(shape)
        fit, center = room.parts_by_row(columns, compiled), columns.center[: columns.size]
        parts = np.bincount(center, weights=fit, minlength=len(columns.centers)).tolist()
        found = [(-have, name) for name, have in zip(columns.centers, parts, strict=True) if have]
        return [name for _, name in sorted(found)]

    def judged(self, shape: Shape, model: str = "") -> tuple[CompiledShape, NDArray[np.int64]]:
        """A shape compiled, and the key of every row."""
        columns = self.columns
        columns.rank  # noqa: B018 - settles `layout` before compiling
        compiled = compile_shape(columns, shape, model)
        return compiled, score.keys(columns, compiled, slice(0, columns.size))

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
        compiled, packed = self.judged(shape)
        rows = np.flatnonzero(packed)
        if len(rows) > count:
            # Every row that passes takes at least one part.
            rows = rows[np.argpartition(packed[rows], len(rows) - count)[len(rows) - count :]]
        places: list[Place] = []
        for row in rows[np.argsort(packed[rows])[::-1]].tolist():
            places += self._on_row(compiled, row, count - len(places))
            if len(places) == count:
                break
        return places

    def _plan_spread(self, spec: Spec, wanted: Spread) -> tuple[list[Place], int]:
        compiled, packed = self.judged(spec.shape)
        found = spread.domains(self.columns, compiled, wanted.over)
        fit = np.minimum(room.parts_by_row(self.columns, compiled), spec.parts)
        most = found.room(fit)
        best = found.best(packed)
        left = spread.fill(most, found.counts, best, spec.parts, wanted.max_skew)
        if left is None:
            return [], spread.most_parts(most, found.counts, wanted.max_skew)
        places: list[Place] = []
        for row in best_first(np.where(left[found.of_row] > 0, packed, 0)):
            domain = found.of_row.item(row)
            here = self._on_row(compiled, row, left.item(domain))
            left[domain] -= len(here)
            places += here
        return (places, spec.parts) if len(places) == spec.parts else ([], len(places))

    def _most(self, compiled: CompiledShape, spec: Spec) -> int:
        fit = np.minimum(room.parts_by_row(self.columns, compiled), spec.parts)
        if spec.spread is None:
            return int(fit.sum())
        found = spread.domains(self.columns, compiled, spec.spread.over)
        return spread.most_parts(found.room(fit), found.counts, spec.spread.max_skew)

    def _on_row(self, compiled: CompiledShape, row: int, most: int) -> list[Place]:
        """Places of as many parts as the node takes, at most so many."""
        book = self.columns.books[row]
        if book is None:
            return []
        used = dict(book.used)
        places: list[Place] = []
        while len(places) < most:
            place = place_on(self.columns, compiled, book, used)
            if place is None:
                break
            add(used, place.amounts)
            places.append(place)
        return places

    def _domains_of(
        self, found: Domains, allocation: Allocation, position: int
    ) -> tuple[list[int], int]:
        """Domains of an allocation's other parts, and of the one; -1 when it does not count."""
        rows = self._rows_of({part.node for part in allocation.parts})
        others = [
            found.of_row.item(rows[part.node])
            for at, part in enumerate(allocation.parts)
            if at != position and part.state is not PartState.GONE and part.node in rows
        ]
        row = rows.get(allocation.parts[position].node, -1)
        former = found.of_row.item(row) if row >= 0 else -1
        return others, former if former >= 0 and found.counts[former] else -1

    def _rows_of(self, nodes: set[str]) -> dict[str, int]:
        records = enumerate(self.columns.records)
        return {r.name: row for row, r in records if r is not None and r.name in nodes}

    def _centers_of(self, places: list[Place]) -> list[str]:
        columns = self.columns
        rows = self._rows_of({place.node for place in places})
        names = list(columns.centers)
        return [names[columns.center.item(rows[place.node])] for place in places]

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


def best_first(packed: NDArray[np.int64]) -> Iterable[int]:
    """Rows that fit, the one with the greatest key first."""
    rows = np.flatnonzero(packed)
    ordered: list[int] = rows[np.argsort(packed[rows])[::-1]].tolist()
    return ordered
