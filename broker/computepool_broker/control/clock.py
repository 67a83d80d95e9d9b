"""The service clock: advances only while the broker lives. Pure but for the time it is given.

A broker that was stopped, suspended or starved must expire nothing for it: tenants could not
renew and agents could not report meanwhile. So the clock advances by what a monotonic clock
advanced since the last tick, but never by more than two ticks (semantics, rule 12).
"""

from __future__ import annotations


class ServiceClock:
    """Milliseconds of service since the start. `tick_ms` is the interval of the chore loop."""

    def __init__(self, tick_ms: int, monotonic_ms: int) -> None:
        self._tick_ms = tick_ms
        self._last_ms = monotonic_ms
        self.now_ms = 0

    def tick(self, monotonic_ms: int) -> int:
        """Advance; returns by how much."""
        step = min(max(0, monotonic_ms - self._last_ms), 2 * self._tick_ms)
        self._last_ms = monotonic_ms
        self.now_ms += step
        return step
