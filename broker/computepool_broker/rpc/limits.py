"""Checks of everything that comes from outside: sizes, ranges, names. Pure.

Each raises InvalidArgumentError naming the field.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from computepool_broker.errors import InvalidArgumentError
from computepool_broker.model.amounts import MAX_AMOUNT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.\-]{0,251}[A-Za-z0-9])?", re.ASCII)
DEVICE_ID = re.compile(r"[A-Za-z0-9_.:/\-]{1,128}", re.ASCII)
TENANT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.\-]{0,61}[A-Za-z0-9])?", re.ASCII)
REQUEST_ID = re.compile(r"[!-~]{0,128}", re.ASCII)
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+/()\-]{0,127}", re.ASCII)
WORD = re.compile(r"[A-Z][A-Z0-9_]{0,63}|", re.ASCII)
LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./\-]{0,127}", re.ASCII)
MAX_LABELS = 64
MAX_LABEL_VALUE = 256
MAX_EXTRAS = 32
MAX_TEXT = 1_024
MAX_LIST = 64


def matched(field: str, value: str, pattern: re.Pattern[str]) -> str:
    """The value, when the pattern matches all of it."""
    if not pattern.fullmatch(value):
        shown = ascii(value[:40]) + ("..." if len(value) > 40 else "")  # noqa: PLR2004
        raise InvalidArgumentError(field, f"{shown} is not allowed (pattern {pattern.pattern})")
    return value


def ranged(field: str, value: int, low: int, high: int) -> int:
    """The value, when it is from low to high."""
    if not low <= value <= high:
        raise InvalidArgumentError(field, f"must be from {low} to {high}, not {value}")
    return value


def amount(field: str, value: int) -> int:
    """The value, when it is an amount."""
    return ranged(field, value, 0, MAX_AMOUNT)


def text(field: str, value: str, most: int = MAX_TEXT) -> str:
    """Free text: bounded, without control characters or marks that turn the writing around."""
    if len(value) > most:
        raise InvalidArgumentError(field, f"longer than {most} characters")
    if not value.isprintable():
        raise InvalidArgumentError(field, "has characters that do not print")
    return value


def names(field: str, values: Iterable[str], pattern: re.Pattern[str] = NAME) -> tuple[str, ...]:
    """A bounded set of names, sorted, repeats dropped."""
    listed = list(values)
    if len(listed) > MAX_LIST:
        raise InvalidArgumentError(field, f"more than {MAX_LIST}")
    return tuple(sorted({matched(field, v, pattern) for v in listed}))


def labels(field: str, values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """A bounded set of labels, sorted by key."""
    if len(values) > MAX_LABELS:
        raise InvalidArgumentError(field, f"more than {MAX_LABELS}")
    return tuple(
        sorted(
            (matched(field, k, LABEL_KEY), text(f"{field}[{k}]", v, MAX_LABEL_VALUE))
            for k, v in values.items()
        )
    )


def extras(field: str, values: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Named extras, sorted, zeros dropped."""
    if len(values) > MAX_EXTRAS:
        raise InvalidArgumentError(field, f"more than {MAX_EXTRAS}")
    return tuple(
        sorted(
            (matched(field, k, TENANT), amount(f"{field}[{k}]", v)) for k, v in values.items() if v
        )
    )
