"""Taking checked fields out of a TOML table: typed, bounded, nothing missing, nothing left over.

Each error names the file and the whole path of the field. May import the standard library only.
Pure.
"""

from __future__ import annotations

import re
from typing import TypeVar

MAX_LABELS = 32  # of one table; a node carries those of its center and of its type, 64 at most
MAX_TEXT = 1_024
MAX_NUMBER = 1e15

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_T = TypeVar("_T")


class TableError(ValueError):
    """A field is missing, unknown, of the wrong kind or out of bounds; the text names it."""


class Table:
    """One table; what has been taken is gone from it, so that the rest is what nobody knows.

    Attributes:
        keys: the table's keys, taken or not.
    """

    def __init__(self, values: dict[str, object], where: str) -> None:
        """Wrap a parsed table.

        Args:
            values: as tomllib parsed it; not changed.
            where: what to write before the name of a field in an error.
        """
        self._values = dict(values)
        self._where = where
        self.keys = frozenset(values)

    def error(self, key: str, text: str) -> TableError:
        """Return an error that names a field."""
        shown = key if key.isprintable() and len(key) <= MAX_TEXT else _shown(key)
        return TableError(f"{self._where}{shown}: {text}")

    def take(self, key: str, kind: type[_T], what: str) -> _T:
        """Take a required field of a kind; `what` says in words which."""
        value = self._pop(key)
        # To Python a bool is an int, to the reader of a file it is none.
        if isinstance(value, bool) or not isinstance(value, kind):
            raise self.error(key, f"must be {what}, not {_shown(value)}")
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        """Take an integer between two bounds, both included."""
        value = self.take(key, int, "an integer")
        if not least <= value <= most:
            raise self.error(key, f"must be {least:,} to {most:,}, not {_shown(value)}")
        return value

    def number(self, key: str, most: float) -> float:
        """Take a number from 0 to a bound, both included."""
        value = self._pop(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(key, f"must be a number, not {_shown(value)}")
        if not 0 <= value <= most:  # which NaN is not either
            raise self.error(key, f"must be 0 to {most:g}, not {_shown(value)}")
        return float(value)

    def text(self, key: str) -> str:
        """Take a text that says something and is not too long."""
        value = self.take(key, str, "a text")
        if not value.strip() or len(value) > MAX_TEXT or not value.isprintable():
            raise self.error(key, f"must be 1 to {MAX_TEXT:,} printable characters")
        return value

    def text_or_number(self, key: str) -> str | float:
        """Take a text as text() does, or any number within MAX_NUMBER of 0."""
        if isinstance(self._values.get(key), str):
            return self.text(key)
        value = self._pop(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(key, f"must be a text or a number, not {_shown(value)}")
        if not -MAX_NUMBER <= value <= MAX_NUMBER:
            raise self.error(key, f"must be within {MAX_NUMBER:g} of 0, not {_shown(value)}")
        return value

    def name(self, key: str) -> str:
        """Take a name."""
        value = self.take(key, str, "a name")
        self.check_name(key, value)
        return value

    def check_name(self, key: str, value: str) -> None:
        """Raise unless a text is a name."""
        if not _NAME.fullmatch(value):
            raise self.error(
                key,
                "must be at most 63 letters, digits, '-', '_' or '.', beginning with a letter or "
                f"digit, not {_shown(value)}",
            )

    def table(self, key: str, *, most: int, optional: bool = False) -> Table:
        """Take a table of at most so many keys; an absent optional one is empty."""
        where = f"{self._where}{key}."
        if optional and key not in self._values:
            return Table({}, where)
        value: dict[str, object] = self.take(key, dict, "a table")
        if len(value) > most:
            raise self.error(key, f"has {len(value):,} entries; at most {most:,} are allowed")
        return Table(value, where)

    def tables(self, key: str, *, least: int, most: int) -> list[Table]:
        """Take an array of tables; where none are needed, it may be absent."""
        if least == 0 and key not in self._values:
            return []
        values: list[object] = self.take(key, list, "an array of tables")
        if not least <= len(values) <= most:
            raise self.error(key, f"must have {least:,} to {most:,} entries, not {len(values):,}")
        return [self._entry(f"{key}[{index}]", value) for index, value in enumerate(values)]

    def labels(self) -> dict[str, str]:
        """Take the optional table `labels`, of names to names."""
        table = self.table("labels", most=MAX_LABELS, optional=True)
        for key in table.keys:
            table.check_name(key, key)
        return {key: table.name(key) for key in sorted(table.keys)}

    def assumed(self, labels: dict[str, str]) -> tuple[str, ...]:
        """Take the optional list `assumed` of fields of this table.

        Args:
            labels: the table's labels, as labels() took them; "labels.pue" is the one of "pue".
        """
        if "assumed" not in self._values:
            return ()
        entries: list[object] = self.take("assumed", list, "a list of fields of this table")
        known = (self.keys - {"assumed", "labels"}) | {f"labels.{key}" for key in labels}
        names = tuple(entry for entry in entries if isinstance(entry, str) and entry in known)
        for entry in entries:
            if entry not in names:
                raise self.error("assumed", f"{_shown(entry)} is no field of this table")
        return names

    def end(self) -> None:
        """Raise if a field was not taken."""
        if self._values:
            raise self.error(min(self._values), "is unknown here")

    def _pop(self, key: str) -> object:
        if key not in self._values:
            raise self.error(key, "is missing")
        return self._values.pop(key)

    def _entry(self, key: str, value: object) -> Table:
        if not isinstance(value, dict):
            raise self.error(key, f"must be a table, not {_shown(value)}")
        return Table(value, f"{self._where}{key}.")


def _shown(value: object) -> str:
    """Return a value for an error's text: short, and no control characters."""
    try:
        return ascii(value)[:80]
    except (ValueError, RecursionError):  # more digits than Python converts, or deep nesting
        return "that"
