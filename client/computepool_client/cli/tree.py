"""The view's table: indented names, amounts, power, use and age.

Imports rich, so import it inside commands.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

from computepool_client.cli import render, units
from computepool_client.cli.view_rows import Note, Row, Sums, notes, use

# Where use deserves a colour, in percent.
_NEARLY_FULL: Final = 90
_MOST_NOTES: Final = 20
_MOST_NAMES: Final = 4
_STYLES: Final = {-1: "bold", 0: "bold", 1: "", 2: "dim"}


@dataclass(frozen=True, slots=True)
class _Amount:
    """A column of amounts; `dispensable` when it tells nothing, see `render.Column`."""

    heading: str
    of: Callable[[Sums], int]
    when_empty: int = 0
    when_full: int = 0


_AMOUNTS: Final = (
    _Amount("total", lambda sums: sums.total),
    _Amount("reserved", lambda sums: sums.reserved, when_empty=9, when_full=2),
    _Amount("foreign", lambda sums: sums.foreign),
    _Amount("granted", lambda sums: sums.granted),
    _Amount("in\nflight", lambda sums: sums.in_flight, when_empty=7),
    _Amount("relea-\nsing", lambda sums: sums.releasing, when_empty=8, when_full=1),
    _Amount("free", lambda sums: sums.free),
    _Amount("of it\nopen", lambda sums: sums.schedulable),
    _Amount("over-\ncommit", lambda sums: sums.overcommit, when_empty=6),
)


def show(rows: Sequence[Row], console: Console, *, wide: bool = False) -> None:
    """Prints the rows, the last of which is the whole, and their notes under them."""
    columns = [render.Column("region, center,\nmodel", fold=True, least=20)]
    columns += [_column(each, rows) for each in _AMOUNTS]
    columns += [render.Column(each, numbers=True) for each in ("P", "use\n%", "age")]
    cells = [[_name(row), *_amounts(row), *_rest(row)] for row in rows]
    render.show(console, columns, cells, wide=wide, last_apart=True)
    noted = notes(rows)
    for note in noted[:_MOST_NOTES]:
        console.print(render.styled(f"! {_named(note)}: {note.text}", "yellow"))
    if len(noted) > _MOST_NOTES:
        console.print(f"! ... and {len(noted) - _MOST_NOTES} more such notes")


def _named(note: Note) -> str:
    """Few names as they are, many as their number and the first of them."""
    if len(note.names) <= _MOST_NAMES:
        return ", ".join(note.names)
    first = ", ".join(note.names[:_MOST_NAMES])
    return f"{len(note.names)} centers ({first} and {len(note.names) - _MOST_NAMES} more)"


def _column(amount: _Amount, rows: Sequence[Row]) -> render.Column:
    told = any(row.sums is not None and amount.of(row.sums) for row in rows)
    dispensable = amount.when_full if told else amount.when_empty
    return render.Column(amount.heading, numbers=True, dispensable=dispensable)


def _name(row: Row) -> Text:
    name = render.styled("  " * max(row.level, 0) + row.name, _STYLES[row.level])
    if row.level == 0 and row.notes:
        name.append(f" ({', '.join(row.notes)})", "dim")
    return name.append(", in cores", "dim") if row.cores else name


def _amounts(row: Row) -> list[Text]:
    cells = []
    for amount in _AMOUNTS:
        milli = amount.of(row.sums) if row.sums is not None else 0
        alarming = amount.heading.startswith("over")
        style = "bold red" if alarming else _STYLES[row.level]
        cells.append(Text(units.thousandths(milli), style) if milli else Text("-", "dim"))
    return cells


def _rest(row: Row) -> list[Text]:
    power = units.power(row.power.peak) if row.power.peak else "-"
    used, there = use(row.sums) if row.sums is not None else (0, 0)
    full = there > 0 and 100 * used >= _NEARLY_FULL * there
    return [
        Text(power, _STYLES[row.level] if row.power.peak else "dim"),
        Text(units.percent(used, there), "yellow" if full else _STYLES[row.level]),
        Text("" if row.age_ms is None else units.age(row.age_ms), "dim"),
    ]
