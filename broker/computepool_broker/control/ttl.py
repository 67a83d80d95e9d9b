"""When allocations expire, in the broker's memory alone. Pure.

A renewal moves a deadline and changes nothing else, so it need not be durable: whoever opens
the store gives every lease its full TTL anew (semantics, rules 11 and 12). The heap is lazy: an
entry that was overtaken by a renewal is put back when it comes up.
"""

from __future__ import annotations

import heapq

SMALL_HEAP = 1024
"""Below it stale entries are not worth removing."""


class Deadlines:
    """Deadlines by id, in milliseconds of the service clock."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def set(self, key: str, at_ms: int) -> None:
        """Set or move a deadline."""
        known = self._at.get(key)
        self._at[key] = at_ms
        if known is None or at_ms < known:
            heapq.heappush(self._heap, (at_ms, key))
            self._tidy()

    def drop(self, key: str) -> None:
        """Forget a deadline."""
        self._at.pop(key, None)
        self._tidy()

    def _tidy(self) -> None:
        """Remove overtaken entries when most are: each shortening leaves one behind."""
        if len(self._heap) > SMALL_HEAP and len(self._heap) > 4 * len(self._at):
            self._heap = [(at, k) for k, at in self._at.items()]
            heapq.heapify(self._heap)

    def left_ms(self, key: str, now_ms: int) -> int:
        """Time left, at least 0; 0 without a deadline."""
        at = self._at.get(key)
        return 0 if at is None else max(0, at - now_ms)

    def at_ms(self, key: str) -> int:
        """The deadline itself; 0 without one."""
        return self._at.get(key, 0)

    def due(self, now_ms: int, most: int) -> list[str]:
        """Ids whose deadline has passed, at most `most`; they stay until dropped or moved."""
        out: list[str] = []
        again: dict[str, int] = {}
        while self._heap and self._heap[0][0] <= now_ms and len(out) < most:
            _, key = heapq.heappop(self._heap)
            at = self._at.get(key)
            if at is None:
                continue
            if at <= now_ms and key not in again:
                out.append(key)
            again[key] = at
        for key, at in again.items():
            heapq.heappush(self._heap, (at, key))
        return out

    def __len__(self) -> int:
        return len(self._at)
