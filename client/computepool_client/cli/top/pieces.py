"""Styled text as plain values, so that what a screen says can be tested as text. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from rich.cells import cell_len

_PADDING: Final = 2
"""Cells beside the text of a column."""
_SCROLL_BAR: Final = 2


class Style(StrEnum):
    """What a text is, not which colour it has."""

    PLAIN = "plain"
    STRONG = "strong"
    DIM = "dim"
    GOOD = "good"
    WARN = "warn"
    ALARM = "alarm"
    OURS = "ours"
    OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Piece:
    """A text of one style."""

    text: str
    style: Style = Style.PLAIN


Line: TypeAlias = tuple[Piece, ...]
NOTHING: Final = Piece("-", Style.DIM)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under headings; `keys` name the rows.

    Attributes:
        numbers: for each column, whether it is set to the right.
    """

    headings: tuple[str, ...]
    numbers: tuple[bool, ...]
    keys: tuple[str, ...]
    rows: tuple[Line, ...]


def fitted(table: Table, dispensable: Sequence[int], width: int) -> Table:
    """As many columns as a width has room for.

    Where there is no room, the column with the highest `dispensable` goes first;
    0 never goes.
    """
    widths = [
        max([cell_len(heading), *(cell_len(row[i].text) for row in table.rows)]) + _PADDING
        for i, heading in enumerate(table.headings)
    ]
    kept = list(range(len(widths)))
    while sum(widths[i] for i in kept) > width - _SCROLL_BAR:
        first = max(kept, key=lambda i: dispensable[i])
        if not dispensable[first]:
            break
        kept.remove(first)
    return Table(
        headings=tuple(table.headings[i] for i in kept),
        numbers=tuple(table.numbers[i] for i in kept),
        keys=table.keys,
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
    )


def plain(line: Line) -> str:
    """The text of a line alone."""
    return "".join(piece.text for piece in line)


def dimmed(lines: Iterable[Line]) -> tuple[Line, ...]:
    """The same in grey: no longer known to be true."""
    return tuple(tuple(replace(piece, style=Style.DIM) for piece in line) for line in lines)


def cut(line: Line, width: int) -> Line:
    """The pieces of a line that a width has room for, the last one with an ellipsis."""
    kept: list[Piece] = []
    for piece in line:
        length = cell_len(piece.text)
        if length > width:
            return (*kept, replace(piece, text=padded(piece.text, width))) if width else tuple(kept)
        kept.append(piece)
        width -= length
    return line


def spread(parts: Sequence[Line], width: int, gap: str = "   ") -> tuple[Line, ...]:
    """Parts beside each other, in as many lines as they need at a width."""
    lines: list[list[Piece]] = [[]]
    used = 0
    for part in (cut(each, width) for each in parts):
        length = cell_len(plain(part))
        if lines[-1] and used + len(gap) + length > width:
            lines.append([])
            used = 0
        if lines[-1]:
            lines[-1].append(Piece(gap))
            used += len(gap)
        lines[-1] += part
        used += length
    return tuple(tuple(line) for line in lines if line)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """A text filled up to a width in cells, or cut to it with an ellipsis."""
    if cell_len(text) > width:
        while cell_len(text) > width - 1:
            text = text[:-1]
        text += "…"
    fill = " " * (width - cell_len(text))
    return fill + text if right else text + fill
