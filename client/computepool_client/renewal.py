"""When which leases are renewed, and which are lost. Pure: time and chance are arguments.

    keep ──> KEPT ──due: a third of its TTL is over──> asked ──renewed──> KEPT
              │                                          │
              │ its TTL is over, counted from the        ├─ the call failed: asked again soon
              │ sending of what was answered last        └─ it has ended: dropped
              └──> lost

One plan for all leases of a pool. A lease counts from the *sending* of the last
renewal that was answered: the broker counts from later, so the plan never
believes longer than the broker. Leases that are due soon go along with one that
is due: many leases need few calls.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from computepool_client import errors
from computepool_client.calls import ENDED
from computepool_client.held import Tenure

MOST_AT_ONCE: Final = 10_000
"""As many as one call takes."""
_LONGEST_CALL_S: Final = 3.0
_SHORTEST_CALL_S: Final = 0.05
_FIRST_PAUSE_S: Final = 0.2
_LAST_PAUSE_S: Final = 5.0


@dataclass(slots=True)
class _Kept:
    ttl_s: float
    valid_until_s: float
    due_s: float


class Renewals:
    """The plan. `jitter` gives numbers from 0 to 1."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._kept: dict[str, _Kept] = {}
        self._jitter = jitter
        self._not_before_s = float("-inf")
        self._pause_s = _FIRST_PAUSE_S

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, id_: str, ttl_s: float, valid_until_s: float, now_s: float) -> float:
        """Renews this one from now on, valid until then without; gives when it is due."""
        third_s = min(ttl_s, max(0.0, valid_until_s - now_s)) / 3
        due_s = now_s + third_s * self._spread()
        self._kept[id_] = _Kept(ttl_s, valid_until_s, due_s)
        return due_s

    def drop(self, id_: str) -> None:
        """Renews this one no more."""
        self._kept.pop(id_, None)

    def due(self, now_s: float) -> list[str]:
        """Those to renew in one call now; none while it is too early."""
        if now_s < self._not_before_s or all(kept.due_s > now_s for kept in self._kept.values()):
            return []
        # Half of a third: who has used that much goes along.
        soon = [id_ for id_, kept in self._kept.items() if kept.due_s - kept.ttl_s / 6 <= now_s]
        if len(soon) > MOST_AT_ONCE:
            soon.sort(key=lambda id_: self._kept[id_].valid_until_s)
        return soon[:MOST_AT_ONCE]

    def call_s(self, now_s: float) -> float:
        """How long a call may take, so that no loss is told late."""
        first_s = min((kept.valid_until_s for kept in self._kept.values()), default=now_s)
        return max(_SHORTEST_CALL_S, min(_LONGEST_CALL_S, first_s - now_s))

    def wake_s(self) -> float | None:
        """When there is something to do next; None with nothing kept."""
        if not self._kept:
            return None
        due_s = min(kept.due_s for kept in self._kept.values())
        first_s = min(kept.valid_until_s for kept in self._kept.values())
        return min(max(due_s, self._not_before_s), first_s)

    def renewed(self, ids: Iterable[str], sent_s: float) -> None:
        """These were renewed by a call that had been sent then."""
        spread = self._spread()
        for id_ in ids:
            kept = self._kept.get(id_)
            if kept is not None:
                kept.valid_until_s = max(kept.valid_until_s, sent_s + kept.ttl_s)
                kept.due_s = sent_s + kept.ttl_s / 3 * spread
        self._not_before_s, self._pause_s = float("-inf"), _FIRST_PAUSE_S

    def failed(self, now_s: float, hint_s: float | None) -> None:
        """A call failed, or left some undone: asks again after a while, or after the hint."""
        pause_s = self._pause_s * self._spread() if hint_s is None else hint_s
        self._pause_s = min(2 * self._pause_s, _LAST_PAUSE_S)
        first_s = min((kept.valid_until_s for kept in self._kept.values()), default=now_s)
        # Whatever the hint: before it is too late for the first.
        self._not_before_s = now_s + min(pause_s, max(_SHORTEST_CALL_S, (first_s - now_s) / 3))

    def lost(self, now_s: float) -> list[str]:
        """Those whose TTL is over; they are dropped."""
        over = [id_ for id_, kept in self._kept.items() if kept.valid_until_s <= now_s]
        for id_ in over:
            del self._kept[id_]
        return over

    def _spread(self) -> float:
        return 0.9 + 0.2 * self._jitter()


def settle(
    plan: Renewals,
    kept: dict[str, Tenure],
    ids: Iterable[str],
    answer: tuple[Mapping[str, errors.PoolError], float],
    now_s: float,
) -> list[tuple[Tenure, errors.PoolError]]:
    """Takes in the answer to a renewal: those that failed, and when it had been sent.

    Gives those that have ended; they are dropped.
    """
    failures, sent_s = answer
    done = [id_ for id_ in ids if id_ not in failures]
    if done:  # else the pauses would never grow
        plan.renewed(done, sent_s)
    for id_ in done:
        if id_ in kept:
            kept[id_].renewed(sent_s)
    ended = [(id_, error) for id_, error in failures.items() if error.reason in ENDED]
    undone = [error for error in failures.values() if error.reason not in ENDED]
    if undone:
        hints_s = [error.retry_after_s for error in undone if error.retry_after_s is not None]
        plan.failed(now_s, max(hints_s, default=None))
    for id_, _ in ended:
        plan.drop(id_)
    return [(kept.pop(id_), error) for id_, error in ended if id_ in kept]
