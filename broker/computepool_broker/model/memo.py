"""Values met before. Pure.

`Memo` finds what was made of a value by which object it is: equal requests share one object, and
hashing one costs as much as what is saved. `Shared` finds equal values, so that a million records
that say the same say it with one object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")
V = TypeVar("V")

MOST = 4_096
MOST_SIZE = 4_096
"""Larger results are made anew each time, so that the memory is bounded."""


class Memo(Generic[K, V]):
    """Results of a function of immutable values; bounded."""

    def __init__(self, make: Callable[[K], V], size: Callable[[V], int]) -> None:
        """Wire it.

        Args:
            make: What is remembered.
            size: Of a result, in bytes or so.
        """
        self._make = make
        self._size = size
        self._known: dict[int, tuple[K, V]] = {}

    def __call__(self, value: K) -> V:
        """The function's result, which must not be changed."""
        known = self._known.get(id(value))
        # The value is kept with its result: no other object can get its number meanwhile.
        if known is not None and known[0] is value:
            return known[1]
        made = self._make(value)
        if self._size(made) <= MOST_SIZE:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[id(value)] = (value, made)
        return made


class Shared(Generic[K]):
    """The first of all equal values; bounded. Of one type each: True and 1 are equal too."""

    def __init__(self) -> None:
        self._known: dict[K, K] = {}

    def __call__(self, value: K) -> K:
        """The value, or an equal one from before."""
        if len(self._known) >= MOST:
            self._known.clear()
        return self._known.setdefault(value, value)
