"""From a filter's tree to a predicate over rows, with every check of names and types. Pure."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from computepool_broker.query.fields import (
    MICROS,
    NUMERIC,
    ORDERED,
    Field,
    Kind,
    expected,
    read_number,
    shown,
)
from computepool_broker.query.parser import FilterError, parse
from computepool_broker.query.syntax import And, Comparison, Not, Or, Value, name_of, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from computepool_broker.query.syntax import Expression

R = TypeVar("R")

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    ":": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_LESS_OR_MORE = frozenset({"<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class Filter(Generic[R]):
    """A filter that was understood.

    Attributes:
        text: Its one way to be written; empty when it lets everything through. Filters with equal
            texts are the same.
        matches: Whether a row passes; None when all do.
    """

    text: str
    matches: Callable[[R], bool] | None


def read_filter(text: str, fields: Mapping[str, Field[R]], where: str = "filter") -> Filter[R]:
    """Read a filter over rows with these fields.

    Args:
        text: As in docs/protocol.md; empty lets everything through.
        fields: What it may name.
        where: The request's field that it stands in, for errors.

    Raises:
        InvalidArgumentError: Names `where`; says the position, and what was expected there.
    """
    tree = parse(text, where)
    if tree is None:
        return Filter("", None)
    return Filter(render(tree), _Compiler(fields, where).predicate(tree))


class _Compiler(Generic[R]):
    def __init__(self, fields: Mapping[str, Field[R]], where: str) -> None:
        self._fields = fields
        self._where = where

    def predicate(self, tree: Expression) -> Callable[[R], bool]:
        if isinstance(tree, Comparison):
            return self._comparison(tree)
        if isinstance(tree, Not):
            return _negated(self.predicate(tree.inner))
        parts = [self.predicate(part) for part in tree.parts]
        if isinstance(tree, Or):
            return lambda row: any(p(row) for p in parts)
        assert isinstance(tree, And)  # noqa: S101 - there is no other
        return lambda row: all(p(row) for p in parts)

    def _comparison(self, c: Comparison) -> Callable[[R], bool]:
        if c.operator == "!=":
            # So a list without the value, and labels without the key, are unequal to it.
            return _negated(self._comparison(c._replace(operator="=")))
        field = self._fields.get(c.field)
        if field is None or (c.key is not None and field.kind is not Kind.LABELS):
            raise self._error(c.at, f"no field {shown(name_of(c))}; there are {self._names()}")
        if c.operator in _LESS_OR_MORE and c.key is None and field.kind not in ORDERED:
            raise self._error(c.at, f"{c.field} is {field.kind.value}: it has no less and no more")
        if field.kind in NUMERIC:
            return self._numeric(c, field)
        if field.kind is Kind.LABELS:
            return self._labels(c, field)
        test, get = self._text(c), field.get
        if field.kind is Kind.TEXTS:
            return lambda row: any(map(test, get(row)))
        return lambda row: test(get(row))

    def _numeric(self, c: Comparison, field: Field[R]) -> Callable[[R], bool]:
        value = c.value
        want = None if value.head or value.tail else read_number(field, value.text)
        if want is None:
            raise self._error(value.at, f"{c.field} is compared with {expected(field)}")
        compare, get = _COMPARE[c.operator], field.get
        if field.kind is Kind.TIME:
            return lambda row: compare(get(row) * MICROS, want)
        return lambda row: compare(get(row), want)

    def _labels(self, c: Comparison, field: Field[R]) -> Callable[[R], bool]:
        get, key = field.get, c.key
        if key is not None:
            test = self._text(c)
            return lambda row: any(k == key and test(v) for k, v in get(row))
        if c.operator != ":":
            raise self._error(
                c.at, f'write {c.field}.KEY = "value", or {c.field}:KEY for having the key'
            )
        has = _wild(c.value)
        return lambda row: any(has(k) for k, _ in get(row))

    def _text(self, c: Comparison) -> Callable[[str], bool]:
        value, text = c.value, c.value.text
        if c.operator == "=":
            return _wild(value)
        if c.operator == ":":
            if value.head or value.tail:
                return _wild(value) if text else bool
            return lambda have: text in have
        if value.head or value.tail:
            raise self._error(value.at, f"no * with {c.operator}")
        compare = _COMPARE[c.operator]
        return lambda have: compare(have, text)

    def _error(self, at: int, problem: str) -> FilterError:
        return FilterError(self._where, at, problem)

    def _names(self) -> str:
        return ", ".join(
            f"{name}.KEY" if field.kind is Kind.LABELS else name
            for name, field in self._fields.items()
        )


def _negated(inner: Callable[[R], bool]) -> Callable[[R], bool]:
    return lambda row: not inner(row)


def _wild(value: Value) -> Callable[[str], bool]:
    """Equality, with anything where the value's stars are."""
    text, head, tail = value.text, value.head, value.tail
    if head and tail:
        return lambda have: text in have
    if head:
        return lambda have: have.endswith(text)
    if tail:
        return lambda have: have.startswith(text)
    return lambda have: have == text
