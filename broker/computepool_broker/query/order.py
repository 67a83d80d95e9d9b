"""From `order_by` to keys by which rows are sorted, and pages begin. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from computepool_broker.errors import InvalidArgumentError
from computepool_broker.query.fields import NUMERIC, Field, Kind, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

R = TypeVar("R")
Raw = int | bytes
"""What a row is ordered by, before descending turns it round; goes into page tokens."""
MAX_TEXT = 1_024
MAX_FIELDS = 4
KEY_BYTES = 100
"""Of a text by which rows are ordered: what is equal so far is ordered by what comes next, and a
page token stays short."""
_BY = "order_by"


class Down:
    """Turns the order of what it holds round."""

    __slots__ = ("raw",)

    def __init__(self, raw: Raw) -> None:
        self.raw: Any = raw

    def __lt__(self, other: Down) -> bool:
        return bool(other.raw < self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Down) and bool(other.raw == self.raw)

    __hash__ = None  # type: ignore[assignment]  # nothing keeps these by their hash


@dataclass(frozen=True, slots=True)
class _Term(Generic[R]):
    name: str
    down: bool
    numeric: bool
    get: Callable[[R], Raw]


class Order(Generic[R]):
    """How rows are ordered: by some fields, and at last by their names."""

    def __init__(self, terms: Sequence[_Term[R]]) -> None:
        self._terms = tuple(terms)
        self.text = ",".join(t.name + " desc" * t.down for t in terms)

    @property
    def by_name(self) -> bool:
        """Whether only the name orders: then rows need not be sorted."""
        return not self._terms

    def raw(self, row: R) -> tuple[Raw, ...]:
        """What orders the row, for a page token."""
        return tuple(term.get(row) for term in self._terms)

    def key(self, raw: Sequence[Raw], name: str) -> tuple[Any, ...]:
        """What sorts a row of that name."""
        return (
            *(Down(r) if term.down else r for term, r in zip(self._terms, raw, strict=True)),
            name,
        )

    def takes(self, raw: Sequence[Raw]) -> bool:
        """Whether a token's keys are of this order's types."""
        return len(raw) == len(self._terms) and all(
            isinstance(r, int) == term.numeric for term, r in zip(self._terms, raw, strict=True)
        )


def read_order(text: str, fields: Mapping[str, Field[R]], name: str) -> Order[R]:
    """Read an order: fields joined by commas, each with " desc" for descending.

    Args:
        text: The order; empty orders by the name.
        fields: What it may name.
        name: The field by which ties are broken ("id", "name").

    Raises:
        InvalidArgumentError: Names order_by.
    """
    if len(text) > MAX_TEXT:
        raise InvalidArgumentError(_BY, f"longer than {MAX_TEXT} characters")
    if not text.isprintable():
        raise InvalidArgumentError(_BY, "has characters that do not print")
    terms: list[_Term[R]] = []
    for item in text.split(",") if text.strip() else ():
        words = item.split()
        if not words or len(words) > 2 or words[1:] not in ([], ["asc"], ["desc"]):  # noqa: PLR2004 - a field and its direction
            raise InvalidArgumentError(_BY, f'{shown(item)} is not a field, or a field and "desc"')
        terms.append(_term(words[0], words[1:] == ["desc"], fields))
    if len(terms) > MAX_FIELDS:
        raise InvalidArgumentError(_BY, f"more than {MAX_FIELDS} fields")
    if len({t.name for t in terms}) != len(terms):
        raise InvalidArgumentError(_BY, "names a field twice")
    if [(t.name, t.down) for t in terms] == [(name, False)]:
        terms = []  # as when nothing is said: the two are one query
    return Order(terms)


def _term(path: str, down: bool, fields: Mapping[str, Field[R]]) -> _Term[R]:  # noqa: FBT001 - a pair's second
    name, dot, key = path.partition(".")
    field = fields.get(name)
    if field is None or (bool(dot) and field.kind is not Kind.LABELS):
        known = ", ".join(f"{n}.KEY" if f.kind is Kind.LABELS else n for n, f in fields.items())
        raise InvalidArgumentError(_BY, f"no field {shown(path)}; there are {known}")
    if field.kind is Kind.LABELS and not key:
        raise InvalidArgumentError(_BY, f"write {name}.KEY")
    numeric = field.kind in NUMERIC
    return _Term(path, down, numeric, _getter(field, key, numeric=numeric))


def _getter(field: Field[R], key: str, *, numeric: bool) -> Callable[[R], Raw]:
    get = field.get
    if field.order is not None:
        return field.order
    if numeric:
        return lambda row: int(get(row))
    if field.kind is Kind.LABELS:
        return lambda row: _bytes(next((v for k, v in get(row) if k == key), ""))
    if field.kind is Kind.TEXTS:
        return lambda row: _bytes(min(get(row), default=""))
    return lambda row: _bytes(get(row))


def _bytes(text: str) -> bytes:
    # The order of UTF-8 is the order of the characters.
    return text.encode()[:KEY_BYTES]
