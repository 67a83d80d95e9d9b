"""Computing power instead of a number of devices: which devices, and on which nodes. Pure.

Candidates are the free whole devices of models that are allowed and that the catalogue knows.
Without `mixed` all devices are of one model: that with least overshoot, then the fewest devices,
then by name. With `mixed` the counts are chosen over all models (overshoot.py). The devices are
then taken node after node, best fit first, one part for each node and model.

With `mixed` a node with several models whose processor or memory does not suffice for all its
devices counts with the strongest of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from computepool_broker.model.accelerators import catalogue
from computepool_broker.model.amounts import WHOLE_DEVICE, devices_of
from computepool_broker.placement import room, score
from computepool_broker.placement.filters import (
    CompiledShape,
    compile_shape,
    eligible,
    passing,
)
from computepool_broker.placement.overshoot import least_overshoot
from computepool_broker.placement.places import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from computepool_broker.model.records import Part
    from computepool_broker.model.request import Power, Shape, Spec
    from computepool_broker.placement.columns import Columns

MOST_DEVICES = 20_000
"""Devices in one allocation, so that it fits into a message."""
MOST_PARTS = 1_000
"""Parts of one allocation."""


class Filling(NamedTuple):
    """Devices of one model to take on one row."""

    row: int
    model: str
    devices: int


class Supply(NamedTuple):
    """Devices that could be taken, the strongest model first.

    Attributes:
        models: Names.
        peaks: GFLOPS of one device of each.
        fit: Devices by model and row; with `mixed` those of all models can be taken together.
        mixed: As in the request.
    """

    models: list[str]
    peaks: list[int]
    fit: NDArray[np.int64]
    mixed: bool

    def bounded(self) -> Supply:
        """Only the strongest rows, so that there are not more parts than one allocation has."""
        bound = np.zeros_like(self.fit)
        if self.mixed:
            strength = np.array(self.peaks, dtype=np.int64) @ self.fit
            rows = np.argsort(-strength, kind="stable")[:MOST_PARTS]
            bound[:, rows] = self.fit[:, rows]
        else:
            for at, fit in enumerate(self.fit):
                rows = np.argsort(-fit, kind="stable")[:MOST_PARTS]
                bound[at, rows] = fit[rows]
        return self._replace(fit=bound)

    def most(self, devices: NDArray[np.int64]) -> int:
        """GFLOPS that so many devices of each model give at the most in one allocation."""
        counts = devices.tolist()
        if not self.mixed:
            each = zip(self.peaks, counts, strict=True)
            return max((peak * min(count, MOST_DEVICES) for peak, count in each), default=0)
        total, left = 0, MOST_DEVICES
        for peak, count in zip(self.peaks, counts, strict=True):
            total += peak * min(count, left)
            left -= min(count, left)
        return total


def one_device(shape: Shape) -> Shape:
    """The shape of what goes with each device of a request for power."""
    return shape._replace(part=shape.part._replace(devices=1))


def part_shape(shape: Shape, devices: int) -> Shape:
    """The shape of a part with so many devices."""
    part = shape.part
    return shape._replace(
        part=part._replace(
            cpu_milli=part.cpu_milli * devices,
            memory_mib=part.memory_mib * devices,
            disk_mib=part.disk_mib * devices,
            extras=tuple((name, amount * devices) for name, amount in part.extras),
            devices=devices,
        )
    )


def gflops_of(parts: Iterable[Part], precision: str) -> int:
    """Peak power of the whole devices of parts, in GFLOPS."""
    peak = catalogue().peak_gflops
    return sum(peak(p.model, precision) * len(devices_of(p.amounts)) for p in parts if p.model)


def supply(columns: Columns, compiled: CompiledShape, power: Power) -> Supply:
    """What could be taken now; `compiled` is of one device."""
    columns.settle()
    rows = np.flatnonzero(passing(compiled, slice(0, columns.size)))
    left = room.besides_devices(compiled, room.Amounts(columns.free, columns.extras), rows)
    return _supply(columns, compiled, power, columns.free_whole, rows, left)


def supply_if_empty(columns: Columns, compiled: CompiledShape, power: Power) -> Supply:
    """What could be taken if nobody used anything."""
    rows = np.flatnonzero(eligible(columns, compiled))
    left = room.besides_devices(compiled, room.amounts_if_empty(columns), rows)
    return _supply(columns, compiled, power, columns.class_count, rows, left)


def _supply(
    columns: Columns,
    compiled: CompiledShape,
    power: Power,
    count: NDArray[np.int16],
    rows: NDArray[np.intp],
    left: NDArray[np.int64],
) -> Supply:
    """Of `count` by class and row, as many as `left` allows: each model for itself, or together."""
    classes: dict[str, list[int]] = {}
    for (model, _), class_id in columns.classes.items():
        if class_id in compiled.class_ids:
            classes.setdefault(model, []).append(class_id)
    peaks = {model: catalogue().peak_gflops(model, power.precision) for model in classes}
    models = sorted((m for m in classes if peaks[m]), key=lambda model: (-peaks[model], model))
    fit = np.zeros((len(models), columns.size), dtype=np.int64)
    for at, model in enumerate(models):
        devices = np.zeros(len(rows), dtype=np.int64)
        for class_id in classes[model]:
            devices += count[class_id, rows]
        taken = np.minimum(left, devices)
        fit[at, rows] = taken
        if power.mixed:
            left = left - taken
    return Supply(models, [peaks[model] for model in models], fit, power.mixed)


def plan(columns: Columns, spec: Spec) -> list[Place]:
    """Places of all parts, one for each node and model; empty when there is not enough."""
    fillings = choose(columns, spec)
    compiled = compile_shape(columns, one_device(spec.shape))
    return [_place(columns, compiled, filling) for filling in fillings]


def choose(columns: Columns, spec: Spec) -> list[Filling]:
    """Rows, models and numbers of devices of all parts; empty when there is not enough."""
    power = spec.power
    if power is None:
        raise ValueError("the request does not ask for power")
    columns.rank  # noqa: B018 - settles `layout` before compiling
    compiled = compile_shape(columns, one_device(spec.shape))
    packed = score.keys(columns, compiled, slice(0, columns.size))
    have = supply(columns, compiled, power)
    # Nodes that are nearly full make many small parts; with too many, the emptiest are taken.
    for rows in (have, have.bounded()):
        for counts in _choices(rows, power):
            fillings = _fillings(rows, counts, packed)
            if len(fillings) <= MOST_PARTS and sum(f.devices for f in fillings) <= MOST_DEVICES:
                return fillings
    return []


def _choices(have: Supply, power: Power) -> list[list[int]]:
    """Devices of each model, the best choice first."""
    totals = have.fit.sum(axis=1).tolist()
    if power.mixed:
        return _mixed(have.peaks, totals, power.gflops)
    found = []
    for at, (peak, total) in enumerate(zip(have.peaks, totals, strict=True)):
        count = -(-power.gflops // peak)
        if count <= total:
            found.append((count * peak - power.gflops, count, have.models[at], at))
    return [[n if i == at else 0 for i in range(len(totals))] for _, n, _, at in sorted(found)]


def _mixed(peaks: Sequence[int], totals: Sequence[int], gflops: int) -> list[list[int]]:
    """Models of one peak are as good as each other: the first by name is taken first."""
    by_peak: dict[int, int] = {}
    for peak, total in zip(peaks, totals, strict=True):
        by_peak[peak] = by_peak.get(peak, 0) + total
    chosen = least_overshoot(list(by_peak), list(by_peak.values()), gflops)
    if chosen is None:
        return []
    left = dict(zip(by_peak, chosen, strict=True))
    out = []
    for peak, total in zip(peaks, totals, strict=True):
        out.append(min(total, left[peak]))
        left[peak] -= out[-1]
    return [out]


def _fillings(have: Supply, counts: Sequence[int], packed: NDArray[np.int64]) -> list[Filling]:
    """Where so many devices of each model are taken: the fullest nodes that have some, first."""
    out = []
    for at, (model, left) in enumerate(zip(have.models, counts, strict=True)):
        rows = np.flatnonzero(have.fit[at]) if left else np.empty(0, dtype=np.intp)
        rows = rows[np.argsort(packed[rows])[::-1]]
        fit = have.fit[at, rows]
        before = np.cumsum(fit) - fit
        rows, fit, before = rows[before < left], fit[before < left], before[before < left]
        taken = np.minimum(fit, left - before)
        out += [Filling(r, model, n) for r, n in zip(rows.tolist(), taken.tolist(), strict=True)]
    return out


def _place(columns: Columns, compiled: CompiledShape, filling: Filling) -> Place:
    book = columns.books[filling.row]
    if book is None:
        raise AssertionError(filling)
    amounts = tuple((key, amount * filling.devices) for key, amount in compiled.base)
    devices = []
    for at, key in enumerate(columns.device_keys[filling.row]):
        free = book.capacity.get(key, 0) - book.used.get(key, 0)
        accepted = columns.device_classes[filling.row][at] in compiled.class_ids
        if free == WHOLE_DEVICE and accepted and book.record.devices.models[at] == filling.model:
            devices.append((key, WHOLE_DEVICE))
    return Place(book.record.name, filling.model, amounts + tuple(devices[: filling.devices]))
