"""One page of a list: which rows, in which order, shown where they are read.

A page can need a look at every row (a filter that few pass, an order that is not by name). That
look is cut into slices, each a job of its own, so that neither the writer nor the event loop is
held up. Rows come and go in between: a page tells each row that keeps its keys exactly once,
and where it ends is said in keys, not in numbers of rows.

A row is looked at again when it is shown: it may have changed since it was picked.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from computepool_broker.query.tokens import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from computepool_broker.query.order import Order, Raw

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
W = TypeVar("W")
LOOK_EVERY = 32
"""Rows between two looks at the clock."""


class Rows(Protocol[R_co]):
    """Rows by their names."""

    def after(self, name: str) -> Iterator[tuple[str, R_co]]:
        """Rows with a name above `name`, by name."""

    def get(self, name: str) -> R_co | None:
        """The row, if it is still there."""


@dataclass(frozen=True, slots=True)
class Query(Generic[R]):
    """What a page is asked for.

    Attributes:
        tests: What a row must pass, cheap ones first.
        order: How rows are ordered.
        size: Rows in a page at most.
        most_bytes: Of all rows in a page; the first always goes in.
        start: Where the page before ended; None for the first.
    """

    tests: tuple[Callable[[R], bool], ...]
    order: Order[R]
    size: int
    most_bytes: int
    start: Position | None = None


class Page(Generic[W]):
    """Rows as shown, and where the page ends; None when nothing follows."""

    def __init__(self) -> None:
        self.rows: list[W] = []
        self.end: Position | None = None


class Walk(Generic[R, W]):
    """Makes one page, slice by slice: first picks rows, then shows them."""

    def __init__(
        self,
        rows: Rows[R],
        query: Query[R],
        show: Callable[[R], tuple[W, int]],
        clock_s: Callable[[], float],
    ) -> None:
        """Begin before the first row.

        Args:
            rows: What is listed.
            query: What is asked for.
            show: A row for the answer, and its bytes.
            clock_s: A clock that never goes back, in seconds; says when a slice is over.
        """
        self._rows = rows
        self._query = query
        self._show = show
        self._left = query.most_bytes
        self._clock_s = clock_s
        order, start = query.order, query.start
        self._limit = query.size + 1
        self._start: tuple[Any, ...] = () if start is None else order.key(start.raw, start.name)
        self._seen = start.name if start is not None and order.by_name else ""
        self._picked: list[tuple[tuple[Any, ...], tuple[Raw, ...]]] = []
        self._worst: tuple[Any, ...] | None = None
        self._looked_at_all = False
        self._shown = 0
        self.page: Page[W] = Page()

    def step(self, slice_s: float) -> bool:
        """Go on for about `slice_s` seconds; whether the page is done."""
        until = self._clock_s() + slice_s
        if not self._looked_at_all and not self._pick(until):
            return False
        return self._show_picked(until)

    # -- picking ---------------------------------------------------------------------------

    def _pick(self, until: float) -> bool:
        order, by_name = self._query.order, self._query.order.by_name
        for at, (name, row) in zip(count(1), self._rows.after(self._seen)):
            if at % LOOK_EVERY == 0 and self._clock_s() >= until:
                return False
            self._seen = name
            if not self._passes(row):
                continue
            raw = order.raw(row)
            self._take(order.key(raw, name), raw)
            if by_name and len(self._picked) == self._limit:
                break
        self._cut()
        self._looked_at_all = True
        return True

    def _passes(self, row: R) -> bool:
        return all(test(row) for test in self._query.tests)

    def _take(self, key: tuple[Any, ...], raw: tuple[Raw, ...]) -> None:
        if self._start and not self._start < key:
            return
        if self._worst is not None and self._worst < key:
            return
        self._picked.append((key, raw))
        if len(self._picked) >= 2 * self._limit:
            self._cut()

    def _cut(self) -> None:
        """Keep the first rows only; costs little, since it is done once in `limit` rows."""
        self._picked.sort(key=lambda item: item[0])
        if len(self._picked) >= self._limit:
            del self._picked[self._limit :]
            self._worst = self._picked[-1][0]

    # -- showing ---------------------------------------------------------------------------

    def _show_picked(self, until: float) -> bool:
        picked, size = self._picked, min(self._query.size, len(self._picked))
        for done in count():
            if self._shown == size:
                break
            if done and done % LOOK_EVERY == 0 and self._clock_s() >= until:
                return False
            if not self._show_one(picked[self._shown][0][-1]):
                break
            self._shown += 1
        if self._shown < len(picked):
            key, raw = picked[self._shown - 1]
            self.page.end = Position(raw, key[-1])
        return True

    def _show_one(self, name: str) -> bool:
        """Show a row, unless it is gone or has changed; False when it no longer goes in."""
        row = self._rows.get(name)
        if row is None or not self._passes(row):
            return True
        shown, size = self._show(row)
        self._left -= size
        if self._left < 0 and self.page.rows:
            return False
        self.page.rows.append(shown)
        return True


class Table(Generic[R]):
    """Rows of a table that others change, by name."""

    def __init__(
        self, table: Mapping[str, R], names: Callable[[], list[str]] | None = None
    ) -> None:
        """Look at a table.

        Args:
            table: The rows.
            names: Their names, sorted; sorted anew for each slice without it.
        """
        self._table = table
        self._names = names or (lambda: sorted(table))

    def after(self, name: str) -> Iterator[tuple[str, R]]:
        """Rows with a name above `name`, by name."""
        names = self._names()
        for at in range(bisect_right(names, name), len(names)):
            row = self._table.get(names[at])
            if row is not None:
                yield names[at], row

    def get(self, name: str) -> R | None:
        """The row, if it is there."""
        return self._table.get(name)
