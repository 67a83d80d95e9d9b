"""Tables of one look for all commands; imports rich, so import it inside commands.

Numbers are never cut. On a terminal that is too narrow, columns that a table can
do without are left out first, then texts are broken over lines.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from computepool_client.cli import screen

# Without a word of its own, a text is not broken into anything narrower.
_LEAST_TEXT: Final = 12
_UNBOUNDED: Final = 100_000


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, whether it holds numbers, whether its texts may be broken.

    Where there is no room, the column with the highest `dispensable` goes first;
    0 never goes. `least` is the width that a broken text keeps.
    """

    heading: str
    numbers: bool = False
    fold: bool = False
    dispensable: int = 0
    least: int = _LEAST_TEXT


Cell = str | Text


def show(
    console: Console,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    *,
    wide: bool = False,
    last_apart: bool = False,
) -> None:
    """Prints a table without frame; strings are cleaned, never read as markup.

    `wide` leaves nothing out, however narrow the terminal is.
    """
    width = console.width
    if wide:
        console.width = _UNBOUNDED
    console.print(table(columns, rows, console.width, last_apart=last_apart))
    console.width = width


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    width: int,
    *,
    last_apart: bool = False,
) -> Table:
    """The table, at most `width` cells wide where that can be had.

    `last_apart` sets the last row, a sum, apart from the others.
    """
    cells = [[_cell(each) for each in row] for row in rows]
    natural = [_width(column, [row[i] for row in cells]) for i, column in enumerate(columns)]
    kept = _kept(columns, natural, width)
    widths = _fitted([columns[i] for i in kept], [natural[i] for i in kept], width)
    # Two spaces between columns where there is room for them, else one.
    roomy = int(sum(widths) + 2 * len(widths) <= width)
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, roomy, 0, 0), show_edge=False)
    for i, column_width in zip(kept, widths, strict=True):
        made.add_column(
            Text(columns[i].heading),
            justify="right" if columns[i].numbers else "left",
            width=column_width,
            overflow="fold",
        )
    for number, row in enumerate(cells):
        if last_apart and number == len(cells) - 1:
            made.add_section()
        made.add_row(*(row[i] for i in kept))
    return made


def styled(text: str, style: str) -> Text:
    """Cleaned text in a style."""
    return Text(screen.clean(text), style)


def lines(texts: Sequence[str]) -> Text:
    """Several cleaned lines in one cell; "-" for none."""
    return Text("\n".join(screen.clean(each) for each in texts) or "-")


def _cell(cell: Cell) -> Text:
    return Text(screen.clean(cell)) if isinstance(cell, str) else cell


def _width(column: Column, cells: Sequence[Text]) -> int:
    texts = [column.heading, *(each.plain for each in cells)]
    return max(cell_len(line) for text in texts for line in text.split("\n"))


def _least(column: Column, natural: int) -> int:
    return min(natural, column.least) if column.fold else natural


def _kept(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """The columns that stay, by index."""
    kept = list(range(len(columns)))
    while sum(_least(columns[i], natural[i]) + 1 for i in kept) > width + 1:
        first = max(kept, key=lambda i: columns[i].dispensable)
        if not columns[first].dispensable:
            break
        kept.remove(first)
    return kept


def _fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """Widths that fit: the widest text gives way first."""
    widths = list(natural)
    while sum(widths) + len(widths) > width + 1:
        room = [i for i, column in enumerate(columns) if widths[i] > _least(column, natural[i])]
        if not room:
            break
        widths[max(room, key=lambda i: widths[i])] -= 1
    return widths
