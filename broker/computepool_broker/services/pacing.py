"""When agents should call. Pure: time comes from outside."""

from __future__ import annotations

MOST_REPORTS_PER_S = 400
"""All agents together stay under this rate of routine reports."""
BUSY_REPORTS_PER_S = 800
"""Beyond this rate of reports of all kinds the gap between two of one agent widens: a report costs
the broker about 0.3 ms, however little it says."""
LEAST_GAP_MS = 20
MOST_GAP_MS = 2_000
LEASE_SHARE = 50
"""A whole report names every lease held, which costs the broker about 3 us a lease. When each of n
agents leaves leases * n / 50 ms after it, all together take 15 % of a core. A delta names hardly
any."""
WINDOW_MS = 500
"""Over which reports are counted."""


def next_sync_ms(interval_s: float, agents: int, jitter: float) -> int:
    """Time to the next routine report, in milliseconds.

    Args:
        interval_s: What the operator asked for.
        agents: How many agents there are.
        jitter: From 0 to 1; spreads reports over 20 % of the interval.
    """
    spread = max(interval_s, agents / MOST_REPORTS_PER_S)
    return int(1000 * spread * (0.9 + 0.2 * jitter))


class Pacer:
    """How far apart an agent's reports must be, by how many come and what they name."""

    def __init__(self) -> None:
        self._gap_ms = float(LEAST_GAP_MS)
        self._since_ms = 0
        self._count = 0

    def count(self, now_ms: int) -> None:
        """A complete report has come.

        All agents that have something to do report as often as they may: at a gap of g ms n of
        them send 1000 n / g reports a second. So the gap follows the rate: in proportion, but
        at most to the fourfold or the half at a time.
        """
        self._count += 1
        passed_ms = now_ms - self._since_ms
        if passed_ms < WINDOW_MS:
            return
        crowd = self._count * 1000 / passed_ms / BUSY_REPORTS_PER_S
        wanted = self._gap_ms * min(4.0, max(0.5, crowd))
        self._gap_ms = min(float(MOST_GAP_MS), max(float(LEAST_GAP_MS), wanted))
        self._since_ms, self._count = now_ms, 0

    def gap_ms(self, leases: int = 0, agents: int = 0) -> int:
        """Least time to an agent's next report, in milliseconds.

        Args:
            leases: How many leases the agent's last report named.
            agents: How many agents there are.
        """
        return min(MOST_GAP_MS, int(self._gap_ms) + leases * agents // LEASE_SHARE)
