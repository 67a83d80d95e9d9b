"""The table of centers: its columns, and which of them fit. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from computepool_client.cli import units
from computepool_client.cli.top import pieces
from computepool_client.cli.top.centers import CenterRow, SortBy
from computepool_client.cli.top.pieces import NOTHING, Piece, Style, Table

_NEARLY_FULL: Final = 0.9
_LATE_MS: Final = 30_000
_UP, _DOWN = " ▴", " ▾"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: the one with the highest `dispensable` goes first, 0 never goes."""

    heading: str
    of: Callable[[CenterRow, float], Piece]
    sort: SortBy | None = None
    numbers: bool = True
    dispensable: int = 0


def table(
    rows: Sequence[CenterRow], sort: SortBy, now_s: float, width: int, *, backwards: bool = False
) -> Table:
    """The rows under as many columns as a width has room for."""
    arrow = _UP if (sort is SortBy.NAME) != backwards else _DOWN
    every = Table(
        headings=tuple(each.heading + arrow * (each.sort is sort) for each in _COLUMNS),
        numbers=tuple(each.numbers for each in _COLUMNS),
        keys=tuple(row.center for row in rows),
        rows=tuple(tuple(each.of(row, now_s) for each in _COLUMNS) for row in rows),
    )
    # What the rows are sorted by is there to be seen.
    dispensable = [0 if each.sort is sort else each.dispensable for each in _COLUMNS]
    return pieces.fitted(every, dispensable, width)


def _name(row: CenterRow, _now_s: float) -> Piece:
    return Piece(row.center + " (cores)" * row.cores)


def _state(row: CenterRow, _now_s: float) -> Piece:
    calm = row.state == "open"
    alarming = "silent" in row.state or row.state == "overfull"
    style = Style.DIM if calm else Style.ALARM if alarming else Style.WARN
    return Piece(row.state, style)


def _use(row: CenterRow, _now_s: float) -> Piece:
    if row.sums.use is None:
        return NOTHING
    full = row.sums.use >= _NEARLY_FULL
    return Piece(f"{100 * row.sums.use:.1f}", Style.WARN if full else Style.PLAIN)


def _oldest(row: CenterRow, now_s: float) -> Piece:
    age_ms = row.in_flight_age_at(now_s)
    if not age_ms:
        return NOTHING
    return Piece(units.age(age_ms), Style.WARN if age_ms > _LATE_MS else Style.PLAIN)


def _agents(row: CenterRow, _now_s: float) -> Piece:
    silent = row.agents_active < row.agents
    return Piece(f"{row.agents_active}/{row.agents}", Style.ALARM if silent else Style.PLAIN)


def _age(row: CenterRow, now_s: float) -> Piece:
    age_ms = row.age_at(now_s)
    late = age_ms < 0 or age_ms > _LATE_MS
    return Piece(units.age(age_ms), Style.WARN if late else Style.DIM)


def _power(row: CenterRow, _now_s: float) -> Piece:
    return Piece(units.power(row.peak_gflops)) if row.peak_gflops else NOTHING


def _amount(name: str, style: Style = Style.PLAIN) -> Callable[[CenterRow, float], Piece]:
    def of(row: CenterRow, _now_s: float) -> Piece:
        milli: int = getattr(row.sums, name)
        return Piece(units.thousandths(milli), style) if milli else NOTHING

    return of


_COLUMNS: Final = (
    _Column("center", _name, SortBy.NAME, numbers=False),
    _Column("region", lambda row, _: Piece(row.region, Style.DIM), numbers=False, dispensable=5),
    _Column("state", _state, numbers=False, dispensable=1),
    _Column("use %", _use, SortBy.USE),
    _Column("total", _amount("total"), dispensable=3),
    _Column("foreign", _amount("foreign"), dispensable=6),
    _Column("granted", _amount("granted", Style.OURS), dispensable=4),
    _Column("free", _amount("free"), SortBy.FREE),
    _Column("not open", _amount("closed", Style.WARN), dispensable=8),
    _Column("overcommit", _amount("overcommit", Style.ALARM), dispensable=7),
    _Column("in flight", _amount("in_flight"), SortBy.IN_FLIGHT),
    _Column("oldest", _oldest, SortBy.OLDEST),
    _Column("P", _power, SortBy.POWER, dispensable=2),
    _Column("agents", _agents, SortBy.AGENTS),
    _Column("age", _age, SortBy.AGE),
)


def order_of(heading: str) -> SortBy | None:
    """What a click on a heading sorts by."""
    bare = heading.removesuffix(_UP).removesuffix(_DOWN)
    return next((each.sort for each in _COLUMNS if each.heading == bare), None)
