"""Centers and regions as rows of plain values: sums, sorting, filtering.

Pure; times are arguments, in seconds of one monotonic clock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from computepool.v1 import inventory_pb2

NEVER: Final = -1


@dataclass(frozen=True, slots=True)
class Sums:
    """Amounts in thousandths of a device, or of a core.

    Attributes:
        free: what new grants can have now, of the protocol's `schedulable`.
        closed: free, but on nodes that take no new grants.
    """

    total: int = 0
    foreign: int = 0
    granted: int = 0
    in_flight: int = 0
    free: int = 0
    closed: int = 0
    overcommit: int = 0

    @classmethod
    def of(cls, amounts: "inventory_pb2.Amounts") -> Self:
        """The same as plain numbers."""
        return cls(
            amounts.total,
            amounts.foreign,
            amounts.granted,
            amounts.in_flight,
            amounts.schedulable,
            max(0, amounts.free - amounts.schedulable),
            amounts.overcommit,
        )

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.total + other.total,
            self.foreign + other.foreign,
            self.granted + other.granted,
            self.in_flight + other.in_flight,
            self.free + other.free,
            self.closed + other.closed,
            self.overcommit + other.overcommit,
        )

    @property
    def use(self) -> float | None:
        """Part of the total that is used by this pool or others; None of nothing."""
        return (self.foreign + self.granted) / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class CenterRow:
    """One center, as it was when it was `seen_s`.

    Attributes:
        cores: it has no devices, and `sums` are of cores.
        peak_gflops: computing power at the view's precision.
    """

    center: str
    region: str
    role: str
    cores: bool
    sums: Sums
    peak_gflops: int
    nodes: int
    nodes_open: int
    agents: int
    agents_active: int
    cordoned: bool
    cordon_message: str
    age_ms: int
    in_flight_age_ms: int
    seen_s: float

    @classmethod
    def of(
        cls, region: str, role: str, center: "inventory_pb2.CenterView", seen_s: float
    ) -> "CenterRow":
        """What the broker says of a center."""
        devices = sum((Sums.of(each.devices) for each in center.models), Sums())
        return cls(
            center=center.center,
            region=region,
            role=role,
            cores=not center.models,
            sums=devices if center.models else Sums.of(center.cpu_milli),
            peak_gflops=sum(each.peak_gflops for each in center.models),
            nodes=center.nodes,
            nodes_open=center.nodes_schedulable,
            agents=center.agents,
            agents_active=center.agents_active,
            cordoned=center.cordoned,
            cordon_message=center.cordon_message,
            age_ms=center.age_ms,
            in_flight_age_ms=center.in_flight_age_ms,
            seen_s=seen_s,
        )

    def age_at(self, now_s: float) -> int:
        """Age of the oldest number in milliseconds; -1 where nothing was ever reported."""
        return self.age_ms if self.age_ms < 0 else self.age_ms + _ms(now_s - self.seen_s)

    def in_flight_age_at(self, now_s: float) -> int:
        """Age in milliseconds of the oldest grant that no report has shown; 0 without one."""
        return self.in_flight_age_ms and self.in_flight_age_ms + _ms(now_s - self.seen_s)

    @property
    def state(self) -> str:
        """In a word or two, what is the matter with it; "open" when nothing is."""
        if self.cordoned:
            return "cordoned"
        if self.agents_active < self.agents:
            return "silent" if not self.agents_active else "part silent"
        if self.nodes_open < self.nodes:
            closed = self.nodes - self.nodes_open
            return "closed" if not self.nodes_open else f"{closed:,} closed"
        return "overfull" if self.sums.overcommit else "open"


@dataclass(frozen=True, slots=True)
class RegionRow:
    """Centers together: those of a region, or all (without a name)."""

    region: str
    role: str
    cores: bool
    sums: Sums
    peak_gflops: int
    centers: int

    @classmethod
    def of(cls, region: str, role: str, centers: Sequence[CenterRow]) -> "RegionRow":
        """Their sums: of devices, or of cores where there are no devices at all."""
        with_devices = [each for each in centers if not each.cores]
        counted = with_devices or centers
        return cls(
            region=region,
            role=role,
            cores=not with_devices,
            sums=sum((each.sums for each in counted), Sums()),
            peak_gflops=sum(each.peak_gflops for each in centers),
            centers=len(centers),
        )


class SortBy(StrEnum):
    """What the centers can be sorted by."""

    USE = "use"
    FREE = "free"
    IN_FLIGHT = "in flight"
    OLDEST = "oldest"
    AGENTS = "agents"
    AGE = "age"
    POWER = "P"
    NAME = "center"


def ordered(
    centers: Iterable[CenterRow], by: SortBy, now_s: float, *, backwards: bool = False
) -> list[CenterRow]:
    """In an order that is the same for the same values: ties go by name.

    Numbers begin with the largest, names with "a", agents with the most silent
    ones; `backwards` turns that round.
    """
    rows = sorted(centers, key=lambda row: row.center)
    if by is SortBy.NAME:
        return rows[::-1] if backwards else rows

    def key(row: CenterRow) -> float:
        age_ms = row.age_at(now_s)
        keys: dict[SortBy, float] = {
            SortBy.USE: row.sums.use or 0.0,
            SortBy.FREE: row.sums.free,
            SortBy.IN_FLIGHT: row.sums.in_flight,
            SortBy.OLDEST: row.in_flight_age_at(now_s),
            SortBy.AGENTS: row.agents - row.agents_active,
            SortBy.AGE: float("inf") if age_ms == NEVER else age_ms,
            SortBy.POWER: row.peak_gflops,
        }
        return keys[by]

    return sorted(rows, key=key, reverse=not backwards)


def matching(centers: Iterable[CenterRow], needle: str) -> list[CenterRow]:
    """Those whose name, region, role or state has every word of `needle`, in any case."""
    words = needle.casefold().split()
    return [
        row
        for row in centers
        if all(
            word in f"{row.center} {row.region} {row.role} {row.state}".casefold() for word in words
        )
    ]


def by_region(centers: Iterable[CenterRow]) -> list[RegionRow]:
    """The regions by name, the whole pool last, as a row without a name."""
    parts: dict[str, list[CenterRow]] = {}
    every = sorted(centers, key=lambda each: each.region)
    for row in every:
        parts.setdefault(row.region, []).append(row)
    rows = [RegionRow.of(name, rows[0].role, rows) for name, rows in parts.items()]
    return [*rows, RegionRow.of("", "", every)]


def _ms(seconds: float) -> int:
    return max(0, int(seconds * 1000))
