"""What a filter says, as values: the tree that the parser makes, and its one way to be written.

    Any_ = And | Or | Not | Comparison

Pure; imports nothing of the broker.
"""

from __future__ import annotations

import re
from typing import NamedTuple

OPERATORS = ("!=", "<=", ">=", "=", "<", ">", ":")
"""Longer ones first, so that the first that matches is the one that is meant."""
BARE_KEY = re.compile(r"[A-Za-z0-9_./\-]+", re.ASCII)
_TO_ESCAPE = re.compile(r'[\\"*]')


class Value(NamedTuple):
    """The right side of a comparison.

    Attributes:
        text: Without quotes, escapes and wildcards.
        head: A `*` stood before it: anything may come first.
        tail: A `*` stood after it.
        at: Its place in the filter, from 0; no part of what it says.
    """

    text: str
    head: bool = False
    tail: bool = False
    at: int = 0


class Comparison(NamedTuple):
    """One field against one value.

    Attributes:
        field: Name of the field.
        key: What follows the field's first dot ("team" of `labels.team`); None without a dot.
        at: The field's place in the filter, from 0; no part of what it says.
    """

    field: str
    key: str | None
    operator: str
    value: Value
    at: int = 0


class Not(NamedTuple):
    """What does not hold."""

    inner: Expression


class And(NamedTuple):
    """What holds together; two or more."""

    parts: tuple[Expression, ...]


class Or(NamedTuple):
    """Of which one at least holds; two or more."""

    parts: tuple[Expression, ...]


Expression = And | Or | Not | Comparison


def name_of(comparison: Comparison) -> str:
    """The left side, as it is written."""
    field, key = comparison.field, comparison.key
    if key is None:
        return field
    return f"{field}.{key if BARE_KEY.fullmatch(key) else _quoted(key)}"


def render(expression: Expression) -> str:
    """The one way to write an expression: reading it gives the same expression again."""
    if isinstance(expression, Comparison):
        value = expression.value
        star, end = "*" * value.head, "*" * value.tail
        text = f'"{star}{_escaped(value.text)}{end}"'
        return f"{name_of(expression)} {expression.operator} {text}"
    if isinstance(expression, Not):
        return f"NOT {_nested(expression.inner, Comparison)}"
    word = " AND " if isinstance(expression, And) else " OR "
    return word.join(_nested(part, (Comparison, Not)) for part in expression.parts)


def _nested(expression: Expression, bare: type | tuple[type, ...]) -> str:
    text = render(expression)
    return text if isinstance(expression, bare) else f"({text})"


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return _TO_ESCAPE.sub(r"\\\g<0>", text)
