"""Refusing a request: the error, with its reasons and the hint when to try again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.errors import NoRoomError, WarmingUpError
from computepool_broker.placement.explain import HARD

if TYPE_CHECKING:
    from computepool_broker.model.refusal import Refusal
    from computepool_broker.model.request import Spec
    from computepool_broker.services.explanations import Explanations
    from computepool_broker.services.pool import Pool

RETRY_SOON_MS = 2_000
"""Retry hint when room may come back with the next release."""
RETRY_LATE_MS = 60_000
"""Retry hint when only the pool's make-up can change the answer."""


class Refusals:
    """Counts what is refused."""

    def __init__(self, pool: Pool, explanations: Explanations) -> None:
        self._pool = pool
        self._explanations = explanations

    def refused(self, spec: Spec, placeable: int) -> NoRoomError | WarmingUpError:
        """The error of a request for which there is no room now; to be called in a job."""
        pool = self._pool
        pool.refusals += 1
        if pool.warming_up:
            pool.tally.refusals.add("WARMING_UP")
            awaited = len(pool.expected_agents)
            who = "1 agent has" if awaited == 1 else f"{awaited} agents have"
            return WarmingUpError(
                f"{who} yet to report since the broker's start", retry_after_ms=1000
            )
        refusal = self._explanations.refusal(spec, placeable)
        pool.tally.refusals.add(_why(refusal))
        if refusal.beyond_pool:
            return NoRoomError(refusal, retry_after_ms=None)
        # Without a center the first agents have yet to come.
        soon = not refusal.centers or any(c.reason not in HARD for c in refusal.centers)
        return NoRoomError(refusal, retry_after_ms=RETRY_SOON_MS if soon else RETRY_LATE_MS)


def _why(refusal: Refusal) -> str:
    """In a word of tally.REFUSAL_REASONS."""
    if refusal.beyond_pool:
        return "BEYOND_POOL"
    return refusal.centers[0].reason if refusal.centers else "NO_CENTER"
