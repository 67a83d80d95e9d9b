"""How long to wait before the next try: capped, exponential, with full jitter.

May import the standard library only. Pure: chance is an argument. The scheme is "full jitter"
of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

BASE_S = 0.2
CAP_S = 5.0
_MOST_DOUBLINGS = 16


class Backoff:
    """Counts failures in a row."""

    def __init__(self, rng: random.Random, base_s: float = BASE_S, cap_s: float = CAP_S) -> None:
        self._rng = rng
        self._base_s = base_s
        self._cap_s = cap_s
        self.failures = 0

    def next_s(self) -> float:
        """Count a failure and give the seconds to wait: 0 to min(cap, base * 2^failures)."""
        most = self._base_s * 2.0 ** min(self.failures, _MOST_DOUBLINGS)
        self.failures += 1
        return self._rng.uniform(0.0, min(self._cap_s, most))

    def reset(self) -> None:
        """Count from none again, after a success."""
        self.failures = 0
