"""Pages under change: who keeps what orders it is told once, whatever others do in between."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool_broker.query.fields import Field, Kind
from computepool_broker.query.order import read_order
from computepool_broker.query.tokens import read_token, write_token
from computepool_broker.services import walks
from computepool_broker.services.walks import Query, Table, Walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from computepool_broker.query.tokens import Position

FIELDS: dict[str, Field[tuple[str, int, bool]]] = {
    "name": Field(Kind.TEXT, lambda r: r[0]),
    "size": Field(Kind.NUMBER, lambda r: r[1]),
}
MOST_PAGES = 60
NAMES = [f"r{at:02}" for at in range(30)]
CHANGE = st.tuples(st.sampled_from(NAMES), st.none() | st.tuples(st.integers(0, 3), st.booleans()))
"""A row leaves, or comes with a size, and passes the filter or not."""
START = st.dictionaries(st.sampled_from(NAMES), st.tuples(st.integers(0, 3), st.booleans()))
ORDERS = st.sampled_from(["", "name desc", "size", "size desc", "size, name desc"])


@pytest.fixture(autouse=True)
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """So short that a few rows need several."""
    monkeypatch.setattr(walks, "LOOK_EVERY", 2)


def shown(row: tuple[str, int, bool]) -> tuple[str, int]:
    """Its name; large ones do not all go into one page."""
    name, size, passes = row
    assert passes, "it no longer passed when it was shown"
    return name, 20 if size == 3 else 1


class World:
    """A table, and the changes that are still to come: one after each slice."""

    def __init__(
        self,
        start: dict[str, tuple[int, bool]],
        changes: list[tuple[str, tuple[int, bool] | None]],
    ) -> None:
        self.rows = {name: (name, *row) for name, row in start.items()}
        self.changed: set[str] = set()
        self._changes = changes

    def change(self) -> None:
        if not self._changes:
            return
        name, row = self._changes.pop()
        self.changed.add(name)
        self.rows.pop(name, None)
        if row is not None:
            self.rows[name] = (name, *row)

    def pages(self, order_by: str, size: int) -> Iterator[list[str]]:
        """Page after page, as a client asks for them; the world changes after every slice."""
        order = read_order(order_by, FIELDS, "name")
        start: Position | None = None
        for _ in range(MOST_PAGES):
            query = Query((lambda r: r[2],), order, size, 60, start)
            walk = Walk(
                Table(self.rows),
                query,
                shown,
                map(float, count()).__next__,
            )
            while not walk.step(0.5):
                self.change()
            self.change()
            yield walk.page.rows
            if walk.page.end is None:
                return
            start = read_token(write_token(b"12345678", walk.page.end), b"12345678")
        raise AssertionError("the pages do not end")


@settings(max_examples=300)
@given(START, st.lists(CHANGE, max_size=12), ORDERS, st.integers(1, 7))
def test_a_row_that_keeps_its_keys_is_told_once(
    start: dict[str, tuple[int, bool]],
    changes: list[tuple[str, tuple[int, bool] | None]],
    order_by: str,
    size: int,
) -> None:
    world = World(start, changes)
    before = dict(world.rows)
    pages = list(world.pages(order_by, size))
    told = [name for page in pages for name in page]
    kept = {n for n, row in before.items() if row[2] and n not in world.changed}
    for name in kept:
        assert told.count(name) == 1, name
    assert not {n for n in told if n not in world.changed} - kept
    assert all(len(page) <= size for page in pages)
    order = read_order(order_by, FIELDS, "name")
    unchanged = [before[n] for n in told if n in kept]
    assert unchanged == sorted(unchanged, key=lambda r: order.key(order.raw(r), r[0]))


@given(START, ORDERS, st.integers(1, 7))
def test_without_change_pages_are_the_sorted_list(
    start: dict[str, tuple[int, bool]], order_by: str, size: int
) -> None:
    world = World(start, [])
    pages = list(world.pages(order_by, size))
    order = read_order(order_by, FIELDS, "name")
    rows = sorted(world.rows.values(), key=lambda r: order.key(order.raw(r), r[0]))
    assert [n for page in pages for n in page] == [r[0] for r in rows if r[2]]
    # No page is empty but that of an empty list, and all but the last are full or heavy.
    assert all(pages) or pages == [[]]
    small = all(size_of != 3 for size_of, _ in start.values())
    assert not small or all(len(page) == size for page in pages[:-1])
