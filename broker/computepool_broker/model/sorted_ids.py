"""Ids in their order, for pages. Pure.

New ids come at the end nearly always (they begin with the time), old ones leave from the front:
so leaving only counts, and the list is made anew when half of it has left.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SMALL = 1024
"""Below it ids that have left are not worth removing."""


class SortedIds:
    """Ids, each once; whoever asks skips those that have left."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._left = 0

    def add(self, key: str) -> None:
        """Take in an id that is new, or had left."""
        ids = self._ids
        if not ids or key > ids[-1]:
            ids.append(key)
            return
        at = bisect_left(ids, key)
        if ids[at] == key:
            self._left -= 1
        else:
            ids.insert(at, key)

    def leave(self, is_there: Callable[[str], bool]) -> None:
        """Count an id that has left; `is_there` says it of all."""
        self._left += 1
        if self._left > SMALL and 2 * self._left > len(self._ids):
            self._ids = [key for key in self._ids if is_there(key)]
            self._left = 0

    def after(self, key: str) -> Iterator[str]:
        """Ids above `key` in their order, those that have left included."""
        ids = self._ids
        for at in range(bisect_right(ids, key), len(ids)):
            yield ids[at]
