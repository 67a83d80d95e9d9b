"""The view's table: indented names, amounts, power, use and age.

Imports rich, so import it inside commands.
"""

from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from computepool_client.cli import render, units
from computepool_client.cli.view_rows import Row, Sums, use

# From this width on a heading stands in one line, and `reserved` has room.
_WIDE: Final = 110
# Where use deserves a colour, in percent.
_NEARLY_FULL: Final = 90

_Amount = tuple[str, Callable[[Sums], int]]
_ALWAYS: Final = ("total", "foreign", "granted", "in flight", "free", "overcommit")
_AMOUNTS: Final[tuple[_Amount, ...]] = (
    ("total", lambda sums: sums.total),
    ("reserved", lambda sums: sums.reserved),
    ("foreign", lambda sums: sums.foreign),
    ("granted", lambda sums: sums.granted),
    ("in flight", lambda sums: sums.in_flight),
    ("releasing", lambda sums: sums.releasing),
    ("free", lambda sums: sums.free),
    ("overcommit", lambda sums: sums.overcommit),
)
_NARROW_HEADINGS: Final = {
    "in flight": "in\nflight",
    "overcommit": "over-\ncommit",
    "releasing": "relea-\nsing",
    "use %": "use\n%",
}
_STYLES: Final = {-1: "bold", 0: "bold", 1: "", 2: "dim"}


def show(rows: Sequence[Row], console: Console) -> None:
    """Prints the rows; the last is the whole.

    Columns that are empty throughout are left out where they are not the rule
    (`reserved`, `releasing`), and on narrow terminals wherever they tell nothing.
    """
    wide = console.width >= _WIDE
    amounts = _shown(rows, wide=wide)
    noted = any(row.notes for row in rows)
    headings = [heading for heading, _ in amounts] + ["P", "use %", "age"]
    columns = [render.Column("region > center > model" if wide else "name")]
    columns += [
        render.Column(each if wide else _NARROW_HEADINGS.get(each, each), numbers=True)
        for each in headings
    ]
    if noted:
        columns.append(render.Column("notes", fold=True))
    made = render.table(columns, ())
    for row in rows:
        if row is rows[-1]:
            made.add_section()
        notes = [Text("; ".join(row.notes), "dim" if row.level == 0 else "yellow")]
        made.add_row(_name(row), *_amounts(row, amounts), *_rest(row), *(notes if noted else []))
    console.print(made)


def _shown(rows: Sequence[Row], *, wide: bool) -> list[_Amount]:
    sums = [row.sums for row in rows if row.sums is not None]
    return [
        (heading, amount)
        for heading, amount in _AMOUNTS
        if any(amount(each) for each in sums)
        or (heading in _ALWAYS and (wide or heading not in ("in flight", "overcommit")))
    ]


def _name(row: Row) -> Text:
    name = render.styled("  " * max(row.level, 0) + row.name, _STYLES[row.level])
    return name.append(" (cores)", "dim") if row.cores else name


def _amounts(row: Row, amounts: Sequence[_Amount]) -> list[Text]:
    if row.sums is None:
        return [Text("-", "dim") for _ in amounts]
    cells = []
    for heading, amount in amounts:
        milli = amount(row.sums)
        style = "bold red" if heading == "overcommit" else _STYLES[row.level]
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
