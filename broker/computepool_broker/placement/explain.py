"""Why there is no room: per center the first filter that left no node. Pure.

Cheap, since every refused create asks: a few passes over the columns, nothing is planned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from computepool_broker.model.refusal import CenterRefusal, Refusal
from computepool_broker.model.request import SpreadOver
from computepool_broker.placement import power, room, spread, words
from computepool_broker.placement.filters import (
    CompiledShape,
    center_reason,
    compile_shape,
    passing,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from computepool_broker.model.request import Power, Spec
    from computepool_broker.placement.columns import Columns

RULED_OUT = frozenset({"REGION_NOT_ALLOWED", "CENTER_NOT_ALLOWED"})
"""Reasons that lie in the request alone: such a center is the nearest only if all are such."""
HARD = RULED_OUT | {"LABELS", "MODEL"}
"""Reasons that waiting does not cure."""
# Where it is so at every center that is allowed, none is nearer than another.
_NOWHERE = {
    "LABELS": "no node asked for carries the labels",
    "MODEL": "no node asked for has such a device",
}
STAGES = (
    "DEVICE_SHARE",
    "DEVICES",
    "CPU",
    "MEMORY",
    "DISK",
    "EXTRA",
    "GANG",
    "SPREAD",
    "POWER",
)
"""Reasons with an amount, in the order of their filters: a center stopped late lacks little."""


class Block(NamedTuple):
    """Why a center cannot take it; as in CenterRefusal."""

    reason: str
    resource: str
    missing: int
    nodes: int


def explain(columns: Columns, spec: Spec, placeable: int, age_ms: Callable[[str], int]) -> Refusal:
    """The story of a refusal, centers that lack least first.

    Args:
        columns: The view.
        spec: What was asked for.
        placeable: Parts that would fit.
        age_ms: Age of a center's oldest number, in milliseconds.
    """
    columns.settle()
    columns.rank  # noqa: B018 - settles `layout` before compiling
    shape = spec.shape if spec.power is None else power.one_device(spec.shape)
    compiled = compile_shape(columns, shape)
    found = _first_blocks(columns, compiled)
    together = _blocks_of_all(columns, compiled, spec)
    centers = []
    nodes = np.bincount(columns.center[: columns.size][columns.live[: columns.size]])
    for name, center_id in columns.centers.items():
        if center_id >= len(nodes) or not nodes[center_id]:
            continue  # its agents were forgotten
        region = columns.center_regions[center_id]
        static = center_reason(shape, name, region)
        if static is not None:
            block = Block(static, "", 0, 0)
        else:
            block = found.get(center_id) or together(center_id)
        centers.append(CenterRefusal(name, region, *block, age_ms(name)))
    centers.sort(key=_lack)
    return Refusal(
        _summary(columns, spec, placeable, centers),
        tuple(centers),
        columns.version,
        placeable,
        beyond_pool(columns, compiled, spec),
    )


def beyond_pool(columns: Columns, compiled: CompiledShape, spec: Spec) -> bool:
    """Whether it would not fit either if the pool were empty and took grants everywhere.

    Without any node nobody has reported yet: that is no answer.
    """
    if not columns.there.any():
        return False
    if spec.power is not None:
        empty = power.supply_if_empty(columns, compiled, spec.power).bounded()
        return empty.most(empty.fit.sum(axis=1)) < spec.power.gflops
    fit = np.minimum(room.parts_if_empty(columns, compiled), spec.parts)
    if spec.spread is None or spec.parts == 1:
        return int(fit.sum()) < spec.parts
    found = spread.domains(columns, compiled, spec.spread.over)
    return spread.most_parts(found.room(fit), found.counts, spec.spread.max_skew) < spec.parts


def _lack(c: CenterRefusal) -> tuple[bool, bool, bool, int, int, str]:
    """Orders centers: those first where an amount is missing, late in the filters, and little."""
    late = STAGES.index(c.reason) if c.reason in STAGES else 0
    return c.reason in RULED_OUT, c.reason in HARD, not c.missing, -late, c.missing, c.center


def _first_blocks(columns: Columns, compiled: CompiledShape) -> dict[int, Block]:
    """By center id: the first filter that leaves none of its nodes."""
    rows = slice(0, columns.size)
    center = columns.center[rows]
    mask = columns.live[rows].copy()
    count = len(columns.centers)
    found: dict[int, Block] = {}
    before = np.bincount(center[mask], minlength=count)
    for f in compiled.filters:
        if f.reason == "CENTER":
            continue
        there = f.available(rows)
        passed = mask & (there >= f.need)
        after = np.bincount(center[passed], minlength=count)
        for center_id in np.flatnonzero((after == 0) & (before > 0)).tolist():
            missing = 0
            if f.resource:
                missing = f.need - int(there[mask & (center == center_id)].max())
            block = Block(f.reason, f.resource, missing, int(before[center_id]))
            found.setdefault(center_id, block)
        mask, before = passed, after
    return found


def _blocks_of_all(columns: Columns, compiled: CompiledShape, spec: Spec) -> Callable[[int], Block]:
    """For centers with nodes that pass every filter: what they lack to take all of it."""
    rows = slice(0, columns.size)
    center, count = columns.center[rows], len(columns.centers)
    nodes = np.bincount(center[passing(compiled, rows)], minlength=count)
    if spec.power is not None:
        have = _power_by_center(columns, compiled, spec.power)
        reason, resource, want = "POWER", "gflops", spec.power.gflops
    else:
        reason, have = _parts_by_center(columns, compiled, spec)
        resource, want = "parts", spec.parts

    def block(center_id: int) -> Block:
        missing = max(want - int(have[center_id]), 1)
        return Block(reason, resource, missing, int(nodes[center_id]))

    return block


def _parts_by_center(
    columns: Columns, compiled: CompiledShape, spec: Spec
) -> tuple[str, NDArray[np.int64]]:
    """The parts that each center could take, and what keeps them from being enough."""
    center, count = columns.center[: columns.size], len(columns.centers)
    fit = np.minimum(room.parts_by_row(columns, compiled), spec.parts)
    by_center = np.bincount(center, weights=fit, minlength=count).astype(np.int64)
    if spec.spread is None or spec.parts == 1 or int(fit.sum()) < spec.parts:
        return "GANG", by_center
    found = spread.domains(columns, compiled, spec.spread.over)
    most = found.room(fit)
    least = int(most[found.counts].min()) if found.counts.any() else 0
    most = np.minimum(most, least + spec.spread.max_skew)
    if spec.spread.over is SpreadOver.NODES:
        by_center = np.bincount(center, weights=most, minlength=count).astype(np.int64)
    else:
        of_center = np.zeros(count, dtype=np.int64)
        of_center[center] = found.of_row
        by_center = np.minimum(by_center, most[of_center])
    return "SPREAD", by_center


def _power_by_center(columns: Columns, compiled: CompiledShape, wanted: Power) -> NDArray[np.int64]:
    """GFLOPS that each center could give."""
    center, count = columns.center[: columns.size], len(columns.centers)
    have = power.supply(columns, compiled, wanted)
    by_model = np.zeros((len(have.models), count), dtype=np.int64)
    for at, fit in enumerate(have.fit):
        by_model[at] = np.bincount(center, weights=fit, minlength=count)
    return np.array([have.most(by_model[:, at]) for at in range(count)], dtype=np.int64)


def _summary(columns: Columns, spec: Spec, placeable: int, centers: list[CenterRefusal]) -> str:
    what = words.request(spec)
    if not centers:
        one = words.request(spec._replace(parts=1, spread=None))
        return f"no room for {one}: no agent has reported a node yet"
    if centers[0].reason in RULED_OUT:
        one = words.request(spec._replace(parts=1, spread=None))
        return f"no room for {one}: the pool has no center in the regions and centers asked for"
    if spec.power is not None:
        compiled = compile_shape(columns, power.one_device(spec.shape))
        have = power.supply(columns, compiled, spec.power).bounded()
        most = have.most(have.fit.sum(axis=1))
        return f"no room for {what}: at most {words.power(most)} can be had now"
    if spec.parts > 1:
        parts = f"only {words.counted(placeable, 'part')}" if placeable else "none of the parts"
        return f"no room for {what}: {parts} can be placed now"
    nearest = centers[0]
    if {c.reason for c in centers} - RULED_OUT == {nearest.reason} and nearest.reason in _NOWHERE:
        return f"no room for {what}: {_NOWHERE[nearest.reason]}"
    lack = f" ({words.missing(nearest.resource, nearest.missing)} missing)"
    lack = lack if nearest.missing else ""
    return f"no room for {what}: nearest is {nearest.center}, {nearest.reason}{lack}"
