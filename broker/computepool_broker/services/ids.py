"""Names of allocations: unique, in the order of their creation, short enough to type."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM_BITS = 20


class AllocationIds:
    """Sixteen hex digits: milliseconds since 1970, then 20 bits.

    The bits are random at first and count on within a millisecond.
    """

    def __init__(self, random_bits: Callable[[int], int]) -> None:
        self._random_bits = random_bits
        self._last = 0

    def next(self, wall_ms: int) -> str:
        """A name that no other allocation has, later in order than all before."""
        fresh = (wall_ms << RANDOM_BITS) | self._random_bits(RANDOM_BITS)
        self._last = max(self._last + 1, fresh)
        return f"{self._last:016x}"
