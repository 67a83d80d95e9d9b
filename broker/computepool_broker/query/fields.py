"""The fields that a list can be filtered and ordered by, and how their values are written. Pure.

A field knows its kind, and how to get its value from a row. Who has the rows makes the table of
their fields; nothing here knows what the rows are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import IntEnum

R = TypeVar("R")


class Kind(Enum):
    """What a field holds; the value says it to people."""

    TEXT = "a text"
    TEXTS = "several texts, of which one must match"
    LABELS = "labels, each named by its key"
    NUMBER = "a number"
    DURATION = "a duration"
    TIME = "a time"
    WORD = "one of a few words"
    FLAG = "true or false"


ORDERED = frozenset({Kind.TEXT, Kind.TEXTS, Kind.NUMBER, Kind.DURATION, Kind.TIME})
"""Kinds that have a less and a more."""
NUMERIC = frozenset({Kind.NUMBER, Kind.DURATION, Kind.TIME, Kind.WORD, Kind.FLAG})
"""Kinds whose values are integers."""


@dataclass(frozen=True, slots=True)
class Field(Generic[R]):
    """One field of a row.

    Attributes:
        kind: What it holds.
        get: Its value: a str; for TEXTS an iterable of them; for LABELS pairs of key and value;
            else an int: of DURATION and TIME (since 1970) in milliseconds, of WORD the number.
        words: Of WORD: what it can be.
        scale: Of NUMBER: `get` counts in 1/scale, a power of ten. Of DURATION: milliseconds in a
            plain number's unit.
        order: What orders rows instead of `get`, as an int: for what time alone changes,
            something that it does not change (a deadline for the time left).
    """

    kind: Kind
    get: Callable[[R], Any]
    words: type[IntEnum] | None = None
    scale: int = 1
    order: Callable[[R], int] | None = None


_SHOWN = 40


def shown(text: str) -> str:
    """The beginning of what somebody wrote, for an error."""
    return ascii(text[:_SHOWN]) + "..." * (len(text) > _SHOWN)


_NUMBER = re.compile(r"(-?)(\d{1,18})(?:\.(\d{1,9}))?", re.ASCII)
_PIECE = re.compile(r"(\d{1,9})(?:\.(\d{1,3}))?(ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(rf"(?:{_PIECE.pattern})+", re.ASCII)
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROS = 1_000
"""Microseconds in a millisecond: times are written more finely than they are kept."""


def expected(field: Field[Any]) -> str:
    """How a value of the field is written, for people."""
    if field.kind is Kind.WORD and field.words is not None:
        return "one of " + ", ".join(w.name for w in field.words)
    if field.kind is Kind.NUMBER:
        return "a whole number" if field.scale == 1 else "a number"
    if field.kind is Kind.DURATION:
        unit = "seconds" if field.scale > 1 else "milliseconds"
        return f'a duration such as "10m" or "1h30m", or a number of {unit}'
    if field.kind is Kind.TIME:
        return 'a time after RFC 3339, such as "2026-01-31T08:00:00Z"'
    return str(field.kind.value)


def read_number(field: Field[Any], text: str) -> int | None:
    """The value of a NUMERIC field, comparable with `get` (TIME: in microseconds), or None."""
    if field.kind is Kind.WORD:
        word = field.words.__members__.get(text) if field.words else None
        return None if word is None else int(word)
    if field.kind is Kind.FLAG:
        return {"true": 1, "false": 0}.get(text)
    if field.kind is Kind.TIME:
        return _read_time(text)
    if field.kind is Kind.DURATION:
        found = _read_duration(text)
        return found if found is not None else _read_decimal(text, 1, field.scale)
    return _read_decimal(text, field.scale, 1)


def _read_decimal(text: str, scale: int, factor: int) -> int | None:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    sign, whole, fraction = found.groups("")
    places = len(str(scale)) - 1
    if len(fraction) > places:
        return None
    value = (int(whole) * scale + int(fraction.ljust(places, "0") or 0)) * factor
    return -value if sign else value


def _read_duration(text: str) -> int | None:
    if not _DURATION.fullmatch(text):
        return None
    total = 0
    for whole, fraction, unit in _PIECE.findall(text):
        thousandths = int(whole) * 1_000 + int(fraction.ljust(3, "0") or 0)
        total += thousandths * _UNITS_MS[unit] // 1_000
    return total


def _read_time(text: str) -> int | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        # The rest of Python reads a fraction of three or six digits only.
        head, dot, tail = text.upper().partition(".")
        digits = re.match(r"\d*", tail)
        fraction = digits.group() if digits else ""
        padded = f".{fraction.ljust(6, '0')}{tail[len(fraction) :]}" if dot else ""
        when = datetime.fromisoformat(head + padded)
    except ValueError:
        return None
    return (when - _EPOCH) // timedelta(microseconds=1)
