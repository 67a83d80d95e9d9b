"""Why a part is where it is: the nodes that could take it, by the score that chose. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from computepool_broker.model.amounts import WHOLE_DEVICE, devices_of, subtract
from computepool_broker.model.records import PartState
from computepool_broker.placement import power, score, words
from computepool_broker.placement.columns import Columns
from computepool_broker.placement.filters import compile_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from computepool_broker.model.amounts import Amounts
    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.records import Part
    from computepool_broker.model.request import Shape, Spec
    from computepool_broker.placement.places import Place

MOST_PARTS = 8
"""Parts explained, the first of each node."""
MOST_OTHERS = 5


class Step(NamedTuple):
    """Nodes that pass a filter and all before it."""

    reason: str
    nodes: int


class Candidate(NamedTuple):
    """A node and what a part leaves free on it; `score` as in score.py, 0 where it does not fit."""

    node: str
    center: str
    region: str
    score: int
    cpu_milli_left: int
    device_milli_left: int


class PartReasons(NamedTuple):
    """Why a part is at its place.

    Attributes:
        part: Which, from 0.
        place: Where it is, or would be.
        rank: Of the place among the nodes that could take the part now; 0 when it could not.
        candidates: Number of such nodes.
        others: The best of the others.
        state: How far its lease has come; None for a part that is only thought of.
    """

    part: int
    place: Candidate
    model: str
    rank: int
    candidates: int
    others: tuple[Candidate, ...]
    summary: str
    state: PartState | None = None


class Supposed(NamedTuple):
    """A node as if some of its grants were free, alone in a view of its own.

    Attributes:
        row: Its row in the whole view; in its own view it is row 0.
    """

    row: int
    view: Columns


def suppose(book: NodeBook, amounts: Amounts) -> Supposed:
    """A node without these amounts of its grants."""
    used = dict(book.used)
    subtract(used, amounts)
    view = Columns(capacity=1)
    view.update(replace(book, used=used, row=-1))
    return Supposed(book.row, view)


def funnel(
    columns: Columns, shape: Shape, model: str = "", supposed: Supposed | None = None
) -> list[Step]:
    """How all nodes come down to the candidates, filter by filter."""
    steps = []
    alone = [] if supposed is None else _masks(supposed.view, shape, model)
    for at, (reason, mask) in enumerate(_masks(columns, shape, model)):
        nodes = int(mask.sum())
        if supposed is not None:
            nodes += int(alone[at][1][0]) - int(mask[supposed.row])
        steps.append(Step(reason, nodes))
    return steps


def _masks(columns: Columns, shape: Shape, model: str) -> list[tuple[str, NDArray[np.bool_]]]:
    """By filter: the rows that pass it and all before it."""
    columns.settle()
    columns.rank  # noqa: B018 - settles `layout` before compiling
    compiled = compile_shape(columns, shape, model)
    rows = slice(0, columns.size)
    mask = columns.live[rows].copy()
    out = []
    for reason, names, of_center in (
        ("REGION_NOT_ALLOWED", shape.regions, columns.center_regions),
        ("CENTER_NOT_ALLOWED", shape.centers, list(columns.centers)),
    ):
        if names:
            allowed = np.array([name in names for name in of_center], dtype=np.bool_)
            mask = mask & allowed[columns.center[rows]]
            out.append((reason, mask))
    for f in compiled.filters:
        if f.reason != "CENTER":
            mask = mask & (f.available(rows) >= f.need)
            out.append((f.reason, mask))
    return out


def of_places(columns: Columns, spec: Spec, places: Sequence[Place]) -> list[PartReasons]:
    """Why a request's parts would go where they would go: at most 8, the first of each node."""
    out = []
    rows = _rows_of(columns, {place.node for place in places})
    for index in _first_of_each([place.node for place in places]):
        place = places[index]
        shape, model = shape_of(spec, place.amounts, place.model)
        judged = Judged(columns, shape, model)
        out.append(judged.reasons(index, rows[place.node], place.model))
    return out


def of_parts(columns: Columns, spec: Spec, parts: Sequence[Part]) -> list[PartReasons]:
    """Why an allocation's parts are where they are: at most 8, the first of each node.

    Each is judged as if its own amounts were free. A part whose node has left is not told.
    """
    out = []
    rows = _rows_of(columns, {part.node for part in parts})
    for at in _first_of_each([part.node for part in parts]):
        part = parts[at]
        book = columns.books[rows[part.node]] if part.node in rows else None
        if book is None:
            continue
        shape, model = shape_of(spec, part.amounts, part.model)
        held = () if part.state is PartState.GONE else part.amounts
        judged = Judged(columns, shape, model, suppose(book, held))
        told = judged.reasons(part.index, book.row, part.model)
        out.append(told._replace(state=part.state))
    return out


def funnel_of_part(columns: Columns, spec: Spec, parts: Sequence[Part]) -> list[Step]:
    """How all nodes come down to the candidates for an allocation's first part."""
    if not parts:
        return []
    part = parts[0]
    rows = _rows_of(columns, {part.node})
    book = columns.books[rows[part.node]] if rows else None
    held = () if part.state is PartState.GONE else part.amounts
    supposed = None if book is None else suppose(book, held)
    return funnel(columns, *shape_of(spec, part.amounts, part.model), supposed)


def shape_of(spec: Spec, amounts: Amounts, model: str) -> tuple[Shape, str]:
    """What one part asks for, and the only model for it: with power that depends on the part."""
    if spec.power is None:
        return spec.shape, ""
    return power.part_shape(spec.shape, len(devices_of(amounts))), model


def _first_of_each(nodes: Sequence[str]) -> list[int]:
    first: dict[str, int] = {}
    for at, node in enumerate(nodes):
        first.setdefault(node, at)
    return list(first.values())[:MOST_PARTS]


def _rows_of(columns: Columns, nodes: set[str]) -> dict[str, int]:
    records = enumerate(columns.records)
    return {r.name: row for row, r in records if r is not None and r.name in nodes}


class Judged:
    """A shape judged on all rows, one of them perhaps as supposed."""

    def __init__(
        self, columns: Columns, shape: Shape, model: str, supposed: Supposed | None = None
    ) -> None:
        self._columns = columns
        self._supposed = supposed
        columns.rank  # noqa: B018 - settles `layout` before compiling
        self._compiled = compile_shape(columns, shape, model)
        self._keys = score.keys(columns, self._compiled, slice(0, columns.size))
        if supposed is not None:
            view, row = supposed.view, supposed.row
            view.rank  # noqa: B018 - settles `layout` before compiling
            alone = score.keys(view, compile_shape(view, shape, model), slice(0, 1)).item(0)
            ranked = alone - score.RANK_MASK + (score.RANK_MASK - columns.rank.item(row))
            self._keys[row] = ranked if alone else 0

    def reasons(self, part: int, row: int, model: str) -> PartReasons:
        """Why a row."""
        keys = self._keys
        candidates = int(np.count_nonzero(keys))
        rank = int((keys > keys[row]).sum()) + 1 if keys[row] else 0
        best = np.argpartition(-keys, min(len(keys) - 1, MOST_OTHERS))[: MOST_OTHERS + 1]
        best = best[np.argsort(-keys[best])]
        others = [self._candidate(r) for r in best.tolist() if r != row and keys[r]]
        place = self._candidate(row)
        told = _sentence(place, rank, candidates)
        return PartReasons(part, place, model, rank, candidates, tuple(others[:MOST_OTHERS]), told)

    def _candidate(self, row: int) -> Candidate:
        columns, at, asked = self._columns, row, self._compiled.shape.part
        record = columns.records[row]
        if record is None:
            raise AssertionError(row)
        if self._supposed is not None and self._supposed.row == row:
            columns, at = self._supposed.view, 0
        key = self._keys.item(row)
        return Candidate(
            record.name,
            record.center,
            record.region,
            (key >> score.RANK_BITS) - 1 if key else 0,
            max(0, columns.free_cpu.item(at) - asked.cpu_milli),
            max(0, columns.free_milli.item(at) - self._compiled.need_milli),
        )


def _sentence(place: Candidate, rank: int, candidates: int) -> str:
    if not rank:
        return (
            f"{place.node} could not take it now; {words.counted(candidates, 'other node')} could"
        )
    devices = f"{place.device_milli_left / WHOLE_DEVICE:g} devices"
    left = f"it leaves {words.cores(place.cpu_milli_left)} and {devices} free there"
    if candidates == 1:
        return f"{place.node} is the only node that can take it; {left}"
    which = "the best" if rank == 1 else f"number {rank}"
    return f"{place.node} is {which} of {candidates} nodes that can take it; {left}"
