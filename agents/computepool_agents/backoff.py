"""How long to wait before the next try: capped, exponential, with full jitter.

May import the standard library only. Pure: chance is an argument. The scheme is "full jitter"
of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

BASE_S = 0.05
CAP_S = 5.0
_MOST_DOUBLINGS = 16

# The more agents there are, the longer a broker has each wait between two reports. All that lose
# theirs come back within this share of it: at ten times the rate of routine reports.
_SHARE = 0.1
_LEAST_SPREAD_S = 0.05
_MOST_SPREAD_S = CAP_S / 2
SPREAD_S = 1.0
"""Before the broker has said how often it wants reports."""


def spread_s(next_report_s: float) -> float:
    """Give the seconds over which agents come back that have all lost their sessions at once.

    Args:
        next_report_s: The time to the next routine report, as the broker told it last.
    """
    return min(_MOST_SPREAD_S, max(_LEAST_SPREAD_S, _SHARE * next_report_s))


def cap_s(spread: float) -> float:
    """Give the longest pause between two attempts, in seconds, for such a spread."""
    return min(CAP_S, max(1.0, 2 * spread))


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
