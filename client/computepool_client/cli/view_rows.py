"""The rows of the view: regions over centers over models, with their sums.

Pure: from an answer of the broker to plain values; what they look like is
`view.py`'s affair.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from computepool.v1 import inventory_pb2

FEW_CENTERS: Final = 12


class Depth(StrEnum):
    """How far down the tree goes."""

    REGION = "region"
    CENTER = "center"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Sums:
    """Amounts of one resource in thousandths; the fields of the protocol's Amounts."""

    total: int = 0
    reserved: int = 0
    foreign: int = 0
    granted: int = 0
    in_flight: int = 0
    releasing: int = 0
    free: int = 0
    schedulable: int = 0
    overcommit: int = 0

    @classmethod
    def of(cls, amounts: "inventory_pb2.Amounts") -> Self:
        """The same as plain numbers."""
        return cls(
            amounts.total,
            amounts.reserved,
            amounts.foreign,
            amounts.granted,
            amounts.in_flight,
            amounts.releasing,
            amounts.free,
            amounts.schedulable,
            amounts.overcommit,
        )

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.total + other.total,
            self.reserved + other.reserved,
            self.foreign + other.foreign,
            self.granted + other.granted,
            self.in_flight + other.in_flight,
            self.releasing + other.releasing,
            self.free + other.free,
            self.schedulable + other.schedulable,
            self.overcommit + other.overcommit,
        )


@dataclass(frozen=True, slots=True)
class Power:
    """Peak computing power in GFLOPS of the view's precision."""

    peak: int = 0
    granted: int = 0
    foreign: int = 0

    def __add__(self, other: "Power") -> "Power":
        return Power(
            self.peak + other.peak, self.granted + other.granted, self.foreign + other.foreign
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the view.

    Attributes:
        level: 0 region, 1 center, 2 model (or processors), -1 the whole.
        sums: of devices, or of cores where `cores` is set; None where there is
            nothing of the kind to count.
        age_ms: of the oldest number; -1 never reported; None not known apart.
        notes: what an operator should see.
    """

    level: int
    name: str
    sums: Sums | None
    power: Power
    age_ms: int | None
    cores: bool = False
    notes: tuple[str, ...] = ()


def default_depth(view: "inventory_pb2.GetViewResponse") -> Depth:
    """Models while the centers are few, else centers."""
    centers = sum(len(region.centers) for region in view.regions)
    return Depth.MODEL if centers <= FEW_CENTERS else Depth.CENTER


def rows(view: "inventory_pb2.GetViewResponse", depth: Depth) -> list[Row]:
    """All lines in the order of the tree, the whole last."""
    found: list[Row] = []
    for region in view.regions:
        centers = [center_row(each) for each in region.centers]
        found.append(_region(region, centers))
        if depth is Depth.REGION:
            continue
        for center, row in zip(region.centers, centers, strict=True):
            found.append(row)
            if depth is Depth.MODEL and not row.cores:
                found += [_model(each) for each in center.models]
    tops = [row for row in found if row.level == 0]
    with_devices = [row for row in tops if not row.cores]
    cores = bool(tops) and not with_devices
    whole = _summed(tops if cores else with_devices)
    return [*found, Row(-1, "all", whole, _power(tops), _oldest(tops), cores=cores)]


def center_names(view: "inventory_pb2.GetViewResponse") -> list[str]:
    """The centers in the order of the tree."""
    return [center.center for region in view.regions for center in region.centers]


def narrowed(
    view: "inventory_pb2.GetViewResponse", region: str, center: str
) -> "inventory_pb2.GetViewResponse":
    """The view with one region's or one center's part only; empty names mean all."""
    kept = type(view)()
    kept.CopyFrom(view)
    del kept.regions[:]
    for each in view.regions:
        centers = [one for one in each.centers if center in ("", one.center)]
        if region in ("", each.region) and (centers or not center):
            kept.regions.add(region=each.region, role=each.role, centers=centers)
    return kept


@dataclass(frozen=True, slots=True)
class Note:
    """What an operator should see, and the names of the centers that it is about."""

    text: str
    names: tuple[str, ...]


def notes(found: Iterable[Row]) -> list[Note]:
    """The notes of all centers; one that several have is told once."""
    names: dict[str, list[str]] = {}
    for row in found:
        if row.level > 0:
            for text in row.notes:
                names.setdefault(text, []).append(row.name)
    return [Note(text, tuple(each)) for text, each in names.items()]


def use(sums: Sums) -> tuple[int, int]:
    """What is used, by us or others, and what there is to use."""
    return sums.foreign + sums.granted, sums.total


def _region(region: "inventory_pb2.RegionView", centers: list[Row]) -> Row:
    with_devices = [row for row in centers if not row.cores]
    cores = bool(centers) and not with_devices
    notes = (region.role,) if region.role else ()
    return Row(
        0,
        region.region,
        _summed(centers if cores else with_devices),
        _power(centers),
        _oldest(centers),
        cores=cores,
        notes=notes,
    )


def center_row(center: "inventory_pb2.CenterView") -> Row:
    """A center's line: devices of all its models, or cores where it has none."""
    models = [_model(each) for each in center.models]
    return Row(
        1,
        center.center,
        _summed(models) or Sums.of(center.cpu_milli),
        _power(models),
        center.age_ms,
        cores=not models,
        notes=_notes(center),
    )


def _model(model: "inventory_pb2.ModelView") -> Row:
    power = Power(model.peak_gflops, model.granted_gflops, model.foreign_gflops)
    return Row(2, model.model, Sums.of(model.devices), power, None)


def _notes(center: "inventory_pb2.CenterView") -> tuple[str, ...]:
    notes = []
    if center.cordoned:
        notes.append("cordoned")
    if not center.agents_active and center.agents:
        notes.append("silent")
    elif center.agents_active < center.agents:
        notes.append(f"{center.agents_active} of {center.agents} agents active")
    elif center.nodes_schedulable < center.nodes and not center.cordoned:
        closed = center.nodes - center.nodes_schedulable
        notes.append(f"{closed:,} of {center.nodes:,} nodes closed")
    unknown = [each.model for each in center.models if each.unknown_model]
    if unknown:
        notes.append(f"unknown model counts 0 P: {', '.join(unknown)}")
    return tuple(notes)


def _summed(parts: Iterable[Row]) -> Sums | None:
    known = [row.sums for row in parts if row.sums is not None]
    return sum(known, Sums()) if known else None


def _power(parts: Iterable[Row]) -> Power:
    return sum((row.power for row in parts), Power())


def _oldest(parts: Iterable[Row]) -> int | None:
    ages = [row.age_ms for row in parts if row.age_ms is not None]
    return -1 if -1 in ages else max(ages, default=None)
