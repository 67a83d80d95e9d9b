"""What a node must have to take a part: named filters, cheap first. Pure.

A request's shape is compiled against the columns' interned tables into a list of filters. Each
filter says for every row how much there is; a row passes when that is at least `need`. The same
list serves placement (all must pass) and explanation (the first that leaves no node, and the
amount that the best node lacks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from computepool_broker.model.accelerators import catalogue
from computepool_broker.model.amounts import (
    CPU,
    DISK,
    EXTRA_PREFIX,
    MEMORY,
    WHOLE_DEVICE,
    Amounts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from computepool_broker.model.request import PartSpec, Shape
    from computepool_broker.placement.columns import Columns


class Filter(NamedTuple):
    """One condition on a node.

    Attributes:
        reason: Its stable name.
        resource: What is short when it refuses; empty when no amount is.
        need: The least `available` that passes.
        available: For rows, how much there is (0 or 1 for plain conditions).
    """

    reason: str
    resource: str
    need: int
    available: Callable[[slice | NDArray[np.int32]], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class CompiledShape:
    """A shape against one layout of the columns.

    Attributes:
        base: Amounts of one part besides devices.
        need_milli: Thousandths of devices that one part takes.
        class_ids: Acceptable device classes; empty when no device is asked for.
        center_ok: By center id.
        labels_ok: By label set id.
        picky: Some center or label set is out of the question.
    """

    shape: Shape
    layout: int
    base: Amounts
    need_milli: int
    class_ids: tuple[int, ...]
    center_ok: NDArray[np.bool_]
    labels_ok: NDArray[np.bool_]
    filters: tuple[Filter, ...]
    picky: bool


def base_amounts(part: PartSpec) -> Amounts:
    """Amounts of one part besides devices, zeros left out."""
    fixed = ((CPU, part.cpu_milli), (MEMORY, part.memory_mib), (DISK, part.disk_mib))
    return tuple(p for p in fixed if p[1]) + tuple(
        (EXTRA_PREFIX + name, amount) for name, amount in part.extras
    )


def accepts(part: PartSpec, model: str, memory_mib: int) -> bool:
    """Whether a device of this class may serve the part.

    A model asked for stands for itself and its variants: "H100" accepts "H100-SXM" and
    "H100-PCIe", "H100-SXM" only itself. Case does not matter, and a name that the catalogue
    lists as another name of a model stands for that model.
    """
    if memory_mib < part.min_device_memory_mib:
        return False
    return not part.models or any(_names(wanted, model) for wanted in part.models)


def _names(wanted: str, model: str) -> bool:
    short, full = wanted.casefold(), model.casefold()
    if full == short or full.startswith(short + "-"):
        return True
    entry = catalogue().find(wanted)
    return entry is not None and entry.model.casefold() == full


def center_reason(shape: Shape, center: str, region: str) -> str | None:
    """Why a center is out of the question for a shape, or None."""
    if shape.regions and region not in shape.regions:
        return "REGION_NOT_ALLOWED"
    if shape.centers and center not in shape.centers:
        return "CENTER_NOT_ALLOWED"
    return None


def compile_shape(columns: Columns, shape: Shape, model: str = "") -> CompiledShape:
    """Resolve names to ids and list the filters that can refuse this shape.

    Args:
        columns: The view.
        shape: What was asked for.
        model: Devices of exactly this model only, when given.
    """
    part = shape.part
    center_ok = np.array(
        [
            center_reason(shape, name, columns.center_regions[i]) is None
            for name, i in columns.centers.items()
        ],
        dtype=np.bool_,
    )
    wanted = set(shape.node_labels)
    labels_ok = np.array([wanted.issubset(s) for s in columns.label_sets], dtype=np.bool_)
    class_ids: tuple[int, ...] = ()
    need_milli = part.devices * WHOLE_DEVICE or part.device_milli
    if need_milli:
        class_ids = tuple(
            i
            for (m, size), i in columns.classes.items()
            if accepts(part, m, size) and model in ("", m)
        )
    filters: list[Filter] = []
    if shape.regions or shape.centers:
        filters.append(Filter("CENTER", "", 1, lambda r: center_ok[columns.center[r]]))
    filters.append(Filter("NOT_SCHEDULABLE", "", 1, lambda r: columns.ok[r]))
    if wanted:
        filters.append(Filter("LABELS", "", 1, lambda r: labels_ok[columns.labels[r]]))
    filters += _device_filters(columns, part, class_ids)
    filters += _amount_filters(columns, part)
    return CompiledShape(
        shape,
        columns.layout,
        base_amounts(part),
        need_milli,
        class_ids,
        center_ok,
        labels_ok,
        tuple(filters),
        picky=not (center_ok.all() and labels_ok.all()),
    )


def _device_filters(columns: Columns, part: PartSpec, ids: tuple[int, ...]) -> list[Filter]:
    def best(table: str) -> Callable[[slice | NDArray[np.int32]], NDArray[Any]]:
        def available(rows: slice | NDArray[np.int32]) -> NDArray[Any]:
            array = getattr(columns, table)
            if not ids:
                return np.zeros_like(array[0, rows])
            # One class after the other: picking several at once would copy their whole tables.
            most: NDArray[Any] = array[ids[0], rows]
            for class_id in ids[1:]:
                most = np.maximum(most, array[class_id, rows])
            return most

        return available

    if not part.devices and not part.device_milli:
        return []
    count = best("class_count")
    model = Filter("MODEL", "", 1, lambda rows: count(rows) > 0)
    if part.devices:
        return [model, Filter("DEVICES", "devices", part.devices, best("free_whole"))]
    return [model, Filter("DEVICE_SHARE", "device_milli", part.device_milli, best("best_share"))]


def _amount_filters(columns: Columns, part: PartSpec) -> list[Filter]:
    out = []
    for reason, resource, need, column in (
        ("CPU", CPU, part.cpu_milli, "free_cpu"),
        ("MEMORY", MEMORY, part.memory_mib, "free_memory"),
        ("DISK", DISK, part.disk_mib, "free_disk"),
    ):
        if need:
            out.append(
                Filter(reason, resource, need, lambda r, c=column: getattr(columns, c)[r])  # type: ignore[misc]
            )
    for name, need in part.extras:
        out.append(Filter("EXTRA", name, need, _extra_column(columns, name)))
    return out


def _extra_column(
    columns: Columns, name: str
) -> Callable[[slice | NDArray[np.int32]], NDArray[Any]]:
    # A name that no node has ever had makes no column: requests must not grow the view.
    def available(rows: slice | NDArray[np.int32]) -> NDArray[Any]:
        column = columns.extras.get(name)
        return np.zeros_like(columns.free_cpu[rows]) if column is None else column[rows]

    return available


def eligible(columns: Columns, compiled: CompiledShape) -> NDArray[np.bool_]:
    """Rows that regions, centers, labels and models allow, whether there is room or not."""
    rows = slice(0, columns.size)
    mask: NDArray[np.bool_] = (
        columns.there[rows]
        & compiled.center_ok[columns.center[rows]]
        & compiled.labels_ok[columns.labels[rows]]
    )
    if compiled.need_milli:
        has = np.zeros(columns.size, dtype=np.bool_)
        for class_id in compiled.class_ids:
            has |= columns.class_count[class_id, rows] > 0
        mask &= has
    return mask


def passing(compiled: CompiledShape, rows: slice | NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the rows pass all filters."""
    mask: NDArray[np.bool_] | None = None
    for f in compiled.filters:
        ok = f.available(rows) if f.need == 1 and not f.resource else f.available(rows) >= f.need
        mask = ok if mask is None else mask & ok
    assert mask is not None  # noqa: S101 - NOT_SCHEDULABLE is always there
    return mask
