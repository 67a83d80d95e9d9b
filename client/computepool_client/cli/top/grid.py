"""A table on the screen that shows a `Table`: redrawn where it changed, cursor kept."""

from typing import ClassVar, Final

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from computepool_client.cli import screen
from computepool_client.cli.top.pieces import Line, Piece, Style, Table

STYLES: Final = {
    Style.PLAIN: "",
    Style.STRONG: "bold",
    Style.DIM: "dim",
    Style.GOOD: "green",
    Style.WARN: "yellow",
    Style.ALARM: "bold red",
    Style.OURS: "cyan",
    Style.OTHERS: "blue",
}


def text(*lines: Line) -> Text:
    """Lines for the screen; what came from outside cannot steer the terminal."""
    made = Text(no_wrap=True, overflow="ellipsis")
    for number, line in enumerate(lines):
        made.append("\n" * bool(number))
        for piece in line:
            made.append(screen.clean(piece.text), STYLES[piece.style] or None)
    return made


class Grid(DataTable[Text]):
    """Shows one `Table` after the other; the cursor stays on its row, wherever that moves."""

    def __init__(self, *, name: str) -> None:
        super().__init__(id=name, cursor_type="row", zebra_stripes=False)
        self._shown = Table((), (), (), ())

    @property
    def selected(self) -> str:
        """The key of the row under the cursor; empty without rows."""
        return self._shown.keys[self.cursor_row] if self._shown.keys else ""

    def show(self, table: Table) -> None:
        """Shows this one from now on."""
        before, self._shown = self._shown, table
        if (before.headings, before.keys) == (table.headings, table.keys):
            self._update(before)
        else:
            # Who is at the top of the list stays there, whatever is the first row now.
            selected = before.keys[self.cursor_row] if before.keys and self.cursor_row else ""
            self._build(selected)

    def to_top(self) -> None:
        """Puts the cursor on the first row."""
        self.move_cursor(row=0, animate=False)

    def _update(self, before: Table) -> None:
        table = self._shown
        for row, (old, new) in enumerate(zip(before.rows, table.rows, strict=True)):
            if old == new:
                continue
            for column, cell in enumerate(new):
                if cell != old[column]:
                    self.update_cell(
                        table.keys[row], str(column), self._cell(column, cell), update_width=True
                    )

    def _build(self, selected: str) -> None:
        table = self._shown
        self.clear(columns=True)
        for column, heading in enumerate(table.headings):
            right = table.numbers[column]
            self.add_column(
                Text(heading, "bold", justify="right" if right else "left"), key=str(column)
            )
        for key, row in zip(table.keys, table.rows, strict=True):
            self.add_row(*(self._cell(i, cell) for i, cell in enumerate(row)), key=key)
        if selected in table.keys:
            self.move_cursor(row=table.keys.index(selected), animate=False)

    def _cell(self, column: int, cell: Piece) -> Text:
        right = self._shown.numbers[column]
        style = STYLES[cell.style]
        return Text(screen.clean(cell.text), style, justify="right" if right else "left")


class Centers(Grid):
    """The table whose rows can be opened."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Open", key_display="Enter"),
    ]
