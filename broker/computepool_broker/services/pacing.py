"""When agents should call. Pure."""

from __future__ import annotations

MOST_REPORTS_PER_S = 400
"""All agents together stay under this rate of routine reports."""
LEAST_GAP_MS = 20
MOST_GAP_MS = 2_000
LEASE_SHARE = 50
"""A report names every lease held, which costs the broker about 3 us a lease. When each of n
agents leaves leases * n / 50 ms between two reports, all together take 15 % of a core."""


def next_sync_ms(interval_s: float, agents: int, jitter: float) -> int:
    """Time to the next routine report, in milliseconds.

    Args:
        interval_s: What the operator asked for.
        agents: How many agents there are.
        jitter: From 0 to 1; spreads reports over 20 % of the interval.
    """
    spread = max(interval_s, agents / MOST_REPORTS_PER_S)
    return int(1000 * spread * (0.9 + 0.2 * jitter))


def least_gap_ms(leases: int, agents: int) -> int:
    """Least time between two reports of an agent that holds so many leases, among so many."""
    return min(MOST_GAP_MS, LEAST_GAP_MS + leases * agents // LEASE_SHARE)
