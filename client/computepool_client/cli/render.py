"""Tables of one look for all commands; imports rich, so import it inside commands."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from computepool_client.cli import screen


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, whether it holds numbers, whether it may be cut short.

    A column that may `fold` is broken over lines when the terminal is narrow;
    others keep their width.
    """

    heading: str
    numbers: bool = False
    fold: bool = False


Cell = str | Text


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table without frame; strings are cleaned, never read as markup."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        made.add_column(
            Text(column.heading),
            justify="right" if column.numbers else "left",
            no_wrap=not column.fold,
            overflow="fold" if column.fold else "ellipsis",
        )
    for row in rows:
        made.add_row(*(_cell(each) for each in row))
    return made


def _cell(cell: Cell) -> Text:
    return Text(screen.clean(cell)) if isinstance(cell, str) else cell


def styled(text: str, style: str) -> Text:
    """Cleaned text in a style."""
    return Text(screen.clean(text), style)


def lines(texts: Sequence[str]) -> Text:
    """Several cleaned lines in one cell; "-" for none."""
    return Text("\n".join(screen.clean(each) for each in texts) or "-")
