"""Filters, orders, tokens: read or refused, written as they were read, and true to their text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool_broker.errors import InvalidArgumentError
from computepool_broker.query.fields import Field, Kind
from computepool_broker.query.filters import read_filter
from computepool_broker.query.order import Order, read_order
from computepool_broker.query.parser import MAX_TEXT, parse
from computepool_broker.query.syntax import (
    OPERATORS,
    And,
    Comparison,
    Expression,
    Not,
    Or,
    Value,
    render,
)
from computepool_broker.query.tokens import Position, read_token, write_token

if TYPE_CHECKING:
    from collections.abc import Callable


class Mood(IntEnum):
    GLAD = 1
    SAD = 2


@dataclass
class Row:
    name: str
    tags: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    size: int
    share: int
    ttl: int
    born: int
    mood: Mood
    old: bool


FIELDS: dict[str, Field[Row]] = {
    "name": Field(Kind.TEXT, lambda r: r.name),
    "tags": Field(Kind.TEXTS, lambda r: r.tags),
    "labels": Field(Kind.LABELS, lambda r: r.labels),
    "size": Field(Kind.NUMBER, lambda r: r.size),
    "share": Field(Kind.NUMBER, lambda r: r.share, scale=1000),
    "ttl": Field(Kind.DURATION, lambda r: r.ttl, scale=1000),
    "born": Field(Kind.TIME, lambda r: r.born),
    "mood": Field(Kind.WORD, lambda r: r.mood, Mood),
    "old": Field(Kind.FLAG, lambda r: r.old),
}
LETTERS = st.sampled_from("ab*\\\"' é()")
SHORT = st.text(LETTERS, max_size=3)
PRINTING = st.characters(exclude_categories=("C", "Z"))


def value(text: str, head: bool, tail: bool) -> Value:
    """One star alone is at the head."""
    return Value(text, head or (tail and not text), tail and (head or bool(text)))


VALUES = st.builds(value, st.text(PRINTING, max_size=4), st.booleans(), st.booleans())
NAMES = st.sampled_from(["name", "labels", "AND_", "x9"])
KEYS = st.none() | st.sampled_from(["team", "a.b/c-d", "a b", '"', "*", "é"])
TREES: st.SearchStrategy[Expression] = st.recursive(
    st.builds(Comparison, NAMES, KEYS, st.sampled_from(OPERATORS), VALUES),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
ROWS = st.builds(
    Row,
    SHORT,
    st.lists(SHORT, max_size=3).map(tuple),
    st.dictionaries(st.sampled_from(["team", "k"]), SHORT).map(lambda d: tuple(d.items())),
    st.integers(-3, 3),
    st.integers(-3000, 3000),
    st.integers(0, 200_000),
    st.integers(0, 3_000),
    st.sampled_from(Mood),
    st.booleans(),
)


def bare(tree: Expression) -> Expression:
    """Without the places in the text."""
    if isinstance(tree, Comparison):
        return tree._replace(at=0, value=tree.value._replace(at=0))
    if isinstance(tree, Not):
        return Not(bare(tree.inner))
    return type(tree)(tuple(map(bare, tree.parts)))


def refusal_of(read: Callable[[], object]) -> InvalidArgumentError | None:
    """How it was refused, if it was; anything else that is raised is a bug."""
    try:
        read()
    except InvalidArgumentError as error:
        return error
    return None


@given(st.text(max_size=MAX_TEXT + 5) | st.text("()ANDORT-= \"'*\\:<x.", max_size=60))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    for field, read in (
        ("filter", lambda: read_filter(text, FIELDS, "filter")),
        ("order_by", lambda: read_order(text, FIELDS, "name")),
        ("page_token", lambda: read_token(text, bytes(8))),
    ):
        refused = refusal_of(read)
        assert refused is None or refused.field == field
        assert refused is None or len(refused.problem) < 500


@given(TREES)
def test_what_is_written_is_read_as_it_was(tree: Expression) -> None:
    text = render(tree)
    if len(text) <= MAX_TEXT:
        read = parse(text)
        assert read is not None
        assert bare(read) == bare(tree)


# -- a slow reference -----------------------------------------------------------------------

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    ":": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def matched(value: Value, have: str) -> bool:
    for start in range(len(have) + 1) if value.head else (0,):
        for end in range(start, len(have) + 1) if value.tail else (len(have),):
            if have[start:end] == value.text:
                return True
    return False


def text_holds(c: Comparison, have: str) -> bool:
    value = c.value
    if c.operator == "=":
        return matched(value, have)
    if c.operator == ":":
        if value.head or value.tail:
            return matched(value, have) if value.text else have != ""
        return have.find(value.text) >= 0
    return COMPARISONS[c.operator](have, value.text)


def number_of(field: str, text: str) -> float:
    if field == "mood":
        return float(Mood[text])
    if field == "old":
        return float(text == "true")
    if field == "born":
        return datetime.fromisoformat(text).timestamp() * 1000
    if field == "ttl":
        return {"90s": 90_000, "1m30s": 90_000, "1.5m": 90_000, "0": 0, "12": 12_000}[text]
    return float(text) * (1000 if field == "share" else 1)


def holds(tree: Expression, row: Row) -> bool:  # noqa: PLR0911 - one for each kind of tree
    if isinstance(tree, Not):
        return not holds(tree.inner, row)
    if isinstance(tree, And):
        return all(holds(part, row) for part in tree.parts)
    if isinstance(tree, Or):
        return any(holds(part, row) for part in tree.parts)
    if tree.operator == "!=":
        return not holds(tree._replace(operator="="), row)
    have = getattr(row, tree.field)
    if tree.field == "labels" and tree.key is None:
        return any(matched(tree.value, key) for key, _ in have)
    if tree.field == "labels":
        return any(text_holds(tree, v) for k, v in have if k == tree.key)
    if tree.field in ("name", "tags"):
        each = [have] if tree.field == "name" else have
        return any(text_holds(tree, text) for text in each)
    return COMPARISONS[tree.operator](have, number_of(tree.field, tree.value.text))


def comparing(field: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[Comparison]:
    written = values.map(Value)
    return st.builds(Comparison, st.just(field), st.none(), st.sampled_from(OPERATORS), written)


ISO = st.integers(0, 3_000).map(
    lambda ms: (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat(
        timespec="milliseconds"
    )
)
TEXT_VALUES = st.builds(value, SHORT, st.booleans(), st.booleans())
EQUAL = st.sampled_from(["=", "!=", ":"])
NONE, MORE = st.none(), st.sampled_from(["<", "<=", ">", ">="])
TYPED = st.one_of(
    st.builds(Comparison, st.sampled_from(["name", "tags"]), NONE, EQUAL, TEXT_VALUES),
    st.builds(Comparison, st.sampled_from(["name", "tags"]), NONE, MORE, SHORT.map(Value)),
    st.builds(Comparison, st.just("labels"), st.just("team"), EQUAL, TEXT_VALUES),
    st.builds(Comparison, st.just("labels"), st.just("team"), MORE, SHORT.map(Value)),
    st.builds(Comparison, st.just("labels"), NONE, st.just(":"), TEXT_VALUES),
    st.builds(
        Comparison,
        st.just("mood"),
        NONE,
        EQUAL,
        st.sampled_from(["GLAD", "SAD"]).map(Value),
    ),
    st.builds(
        Comparison, st.just("old"), NONE, EQUAL, st.sampled_from(["true", "false"]).map(Value)
    ),
    comparing("size", st.integers(-3, 3).map(str)),
    comparing("share", st.sampled_from(["-1.5", "0", "2", "0.001", "1.25"])),
    comparing("ttl", st.sampled_from(["90s", "1m30s", "1.5m", "0", "12"])),
    comparing("born", ISO),
)
TYPED_TREES: st.SearchStrategy[Expression] = st.recursive(
    TYPED,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)


@given(TYPED_TREES, st.lists(ROWS, min_size=1, max_size=5))
def test_a_predicate_says_what_a_slow_reading_of_the_tree_says(
    tree: Expression, rows: list[Row]
) -> None:
    passing = read_filter(render(tree), FIELDS)
    assert passing.matches is not None
    assert passing.text == render(tree)
    for row in rows:
        assert passing.matches(row) == holds(tree, row), (passing.text, row)


# -- order and tokens -----------------------------------------------------------------------

ORDERS = st.lists(
    st.sampled_from(["name", "tags", "labels.team", "size", "share", "ttl", "born", "mood", "old"]),
    max_size=4,
    unique=True,
).flatmap(lambda names: st.tuples(*(st.sampled_from([n, n + " desc"]) for n in names)))


def reference_key(names: tuple[str, ...], row: Row) -> list[Any]:
    key: list[Any] = []
    for item in names:
        name, _, down = item.partition(" ")
        value: Any = dict(row.labels).get("team", "") if "." in name else getattr(row, name)
        if name == "tags":
            value = min(value, default="")
        if isinstance(value, str):
            # Shorter texts first, as in the order of texts; turned round for descending.
            points = [ord(c) + 1 for c in value] + [0]
            key.append([-p for p in points] if down else points)
        else:
            key.append(-value if down else value)
    return key


@given(ORDERS, st.lists(ROWS, min_size=2, max_size=6))
def test_rows_are_in_the_order_that_is_asked_for(names: tuple[str, ...], rows: list[Row]) -> None:
    order: Order[Row] = read_order(" , ".join(names), FIELDS, "id")
    named = [(row, f"r{at}") for at, row in enumerate(rows)]
    found = sorted(named, key=lambda pair: order.key(order.raw(pair[0]), pair[1]))
    want = sorted(named, key=lambda pair: (reference_key(names, pair[0]), pair[1]))
    assert found == want


@given(
    st.binary(min_size=8, max_size=8),
    st.lists(st.integers(-(2**62), 2**63) | st.binary(max_size=100), max_size=4).map(tuple),
    st.text("abc.-9", min_size=1, max_size=253),
)
def test_a_token_brings_back_what_it_was_made_of(
    digest: bytes, raw: tuple[int | bytes, ...], name: str
) -> None:
    token = write_token(digest, Position(raw, name))
    assert len(token) <= 1024
    assert read_token(token, digest) == Position(raw, name)
    with pytest.raises(InvalidArgumentError, match="another query"):
        read_token(token, bytes(b ^ 1 for b in digest))


@given(st.binary(max_size=40), st.integers(0, 60))
def test_half_a_token_is_none(key: bytes, cut: int) -> None:
    token = write_token(bytes(8), Position((key,), "some-name"))
    half = token[: min(cut, len(token) - 1)]
    refused = refusal_of(lambda: read_token(half, bytes(8)))
    # Cut just before the key it reads as one of another order, which has no keys.
    assert refused is not None or read_token(half, bytes(8)) == Position((), "some-name")
    assert refused is None or refused.field == "page_token"
