"""Why there is no room: per center the first filter that left no node. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from computepool_broker.model.amounts import add
from computepool_broker.model.refusal import CenterRefusal, Refusal
from computepool_broker.placement.filters import (
    CompiledShape,
    center_reason,
    compile_shape,
    passing,
)
from computepool_broker.placement.places import place_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from computepool_broker.model.request import Shape, Spec
    from computepool_broker.placement.columns import Columns

RULED_OUT = frozenset({"REGION_NOT_ALLOWED", "CENTER_NOT_ALLOWED"})
"""Reasons that lie in the request alone: such a center is the nearest only if all are such."""
HARD = RULED_OUT | {"LABELS", "MODEL"}
"""Reasons that waiting does not cure."""
STAGES = ("DEVICE_SHARE", "DEVICES", "CPU", "MEMORY", "DISK", "EXTRA", "GANG")
"""Reasons with an amount, in the order of their filters: a center stopped late lacks little."""
CORE_MILLI = 1000


def explain(
    columns: Columns,
    spec: Spec,
    placeable: int,
    age_ms: Callable[[str], int],
) -> Refusal:
    """The whole story of a refusal, centers that lack least first.

    Args:
        columns: The view.
        spec: What was asked for.
        placeable: Parts that would fit.
        age_ms: Age of a center's oldest number, in milliseconds.
    """
    shape, count = spec.shape, spec.parts
    columns.settle()
    columns.rank  # noqa: B018 - settles `layout` before compiling
    compiled = compile_shape(columns, shape)
    found = _first_blocks(columns, compiled)
    centers = []
    nodes = np.bincount(columns.center[: columns.size][columns.live[: columns.size]])
    for name, center_id in columns.centers.items():
        if center_id >= len(nodes) or not nodes[center_id]:
            continue  # its agents were forgotten
        region = columns.center_regions[center_id]
        block = found.get(center_id)
        static = center_reason(shape, name, region)
        if static is not None:
            block = (static, "", 0, 0)
        elif block is None:
            parts = _parts_in(columns, compiled, center_id, count)
            block = ("GANG", "parts", count - parts, parts)
        centers.append(CenterRefusal(name, region, *block, age_ms(name)))
    centers.sort(key=_lack)
    return Refusal(
        _summary(shape, count, placeable, centers), tuple(centers), columns.version, placeable
    )


def _lack(c: CenterRefusal) -> tuple[bool, bool, bool, int, int, str]:
    """Orders centers: those first where an amount is missing, late in the filters, and little."""
    late = STAGES.index(c.reason) if c.reason in STAGES else 0
    return c.reason in RULED_OUT, c.reason in HARD, not c.missing, -late, c.missing, c.center


def _first_blocks(
    columns: Columns, compiled: CompiledShape
) -> dict[int, tuple[str, str, int, int]]:
    """By center id: reason, resource, missing, nodes that passed all earlier filters."""
    rows = slice(0, columns.size)
    center = columns.center[rows]
    mask = columns.live[rows].copy()
    count = len(columns.centers)
    found: dict[int, tuple[str, str, int, int]] = {}
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
            found.setdefault(center_id, (f.reason, f.resource, missing, int(before[center_id])))
        mask, before = passed, after
    return found


def _parts_in(columns: Columns, compiled: CompiledShape, center_id: int, most: int) -> int:
    """How many parts one center alone could take, at most `most`."""
    rows: NDArray[np.int64] = np.flatnonzero(
        passing(compiled, slice(0, columns.size)) & (columns.center[: columns.size] == center_id)
    )
    parts = 0
    for row in rows.tolist():
        book = columns.books[row]
        if book is None:
            continue
        used = dict(book.used)
        while parts < most and (place := place_on(columns, compiled, book, used)) is not None:
            add(used, place.amounts)
            parts += 1
    return parts


def _summary(shape: Shape, count: int, placeable: int, centers: list[CenterRefusal]) -> str:
    part = shape.part
    wants = []
    if part.devices or part.device_milli:
        models = "/".join(part.models) or "any model"
        amount = f"{part.device_milli}/1000 of one device"
        wants.append(f"{_counted(part.devices, 'device') if part.devices else amount} ({models})")
    if part.cpu_milli:
        wants.append(_cores(part.cpu_milli))
    if part.memory_mib:
        wants.append(f"{part.memory_mib} MiB memory")
    if part.disk_mib:
        wants.append(f"{part.disk_mib} MiB disk")
    wants += [f"{amount} {name}" for name, amount in part.extras]
    what = ", ".join(wants) or "a part"
    if not centers:
        return f"no room for {what}: no agent has reported a node yet"
    if centers[0].reason in RULED_OUT:
        return f"no room for {what}: the pool has no center in the regions and centers asked for"
    if count > 1:
        return (
            f"no room for {count} x ({what}): only {_counted(placeable, 'part')} can be placed now"
        )
    nearest = centers[0]
    lack = f" ({_amount(nearest)} missing)" if nearest.missing else ""
    return f"no room for {what}: nearest is {nearest.center}, {nearest.reason}{lack}"


def _amount(c: CenterRefusal) -> str:
    """What is missing, as a person would say it."""
    if c.resource == "cpu_milli":
        return _cores(c.missing)
    if c.resource == "device_milli":
        return f"{c.missing}/1000 of a device"
    if c.resource in ("memory_mib", "disk_mib"):
        return f"{c.missing} MiB {c.resource.removesuffix('_mib')}"
    if c.resource in ("devices", "parts"):
        return _counted(c.missing, c.resource.removesuffix("s"))
    return f"{c.missing} {c.resource}"


def _cores(milli: int) -> str:
    return f"{milli / 1000:g} {'core' if milli == CORE_MILLI else 'cores'}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
