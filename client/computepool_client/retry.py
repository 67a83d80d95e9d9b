"""Which call is tried again, where, and when. Pure: time and chance are arguments.

                 safe error, time left: pause, perhaps another broker
             ┌──────────────────────────────────────────────────────┐
             v                                                      │
    attempt() ──> the call ──> answered, done                       │
             │        └──────> failed(error) ───────────────────────┤
             │                                                      └─> raised
             └─> the time was over before the first: DeadlinePassedError

A call is *safe* when asking twice is the same as asking once: reads, renewals,
releases, and creates with a request_id. One that is not is tried again only
where it is known not to have been served.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from computepool_client import errors
from computepool_client.endpoints import Endpoints

ATTEMPT_S: Final = 10.0
"""One attempt, at most: then another broker may know more."""
_FIRST_PAUSE_S: Final = 0.1
_LAST_PAUSE_S: Final = 3.0
# A broker's hint is believed within these bounds.
_LEAST_HINT_S: Final = 0.05
_MOST_HINT_S: Final = 60.0
# A hint that many got at once is not followed by all at once.
_HINT_JITTER: Final = 0.1
_OVERLOADED: Final = "OVERLOADED"


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a call may take.

    Attributes:
        timeout_s: after this it is given up.
        room_s: while there is no room it is asked again for this long; adds to
            the timeout.
        safe: asking twice is the same as asking once.
    """

    timeout_s: float
    room_s: float = 0.0
    safe: bool = True


@dataclass(frozen=True, slots=True)
class Attempt:
    """Ask this broker, for so long at most."""

    endpoint: str
    timeout_s: float


class Attempts:
    """The attempts of one call. `jitter` gives numbers from 0 to 1."""

    def __init__(
        self, endpoints: Endpoints, terms: Terms, now_s: float, jitter: Callable[[], float]
    ) -> None:
        self._endpoints = endpoints
        self._terms = terms
        self._jitter = jitter
        self._last: errors.PoolError | None = None
        self._asked = ""
        self.begin_again(now_s)

    def attempt(self, now_s: float) -> Attempt:
        """The next attempt.

        Raises:
            DeadlinePassedError: the time was over before the first.
            PoolError: the error of the last attempt: there is no time for another.
        """
        left_s = self._over_s - now_s
        if left_s <= 0:
            raise self._last or errors.DeadlinePassedError(
                "the time for this call was over before it began; nothing was sent",
                "DEADLINE_PASSED",
            )
        self._asked = self._endpoints.present
        return Attempt(self._asked, min(left_s, ATTEMPT_S))

    def begin_again(self, now_s: float) -> None:
        """The time starts anew: since the last attempt began all was well."""
        self._room_over_s = now_s + self._terms.room_s
        self._over_s = self._room_over_s + self._terms.timeout_s
        self._pause_s, self._moved = _FIRST_PAUSE_S, 0

    def failed(self, error: errors.PoolError, now_s: float) -> float:
        """Seconds to pause before the next attempt.

        Raises:
            PoolError: the error itself: it is not one that is tried again, or the
                time is over.
        """
        self._last = error
        if not self._again(error, now_s):
            raise error
        pause_s = self._pause(error, now_s)
        if now_s + pause_s >= self._over_s:
            raise error
        return pause_s

    def _again(self, error: errors.PoolError, now_s: float) -> bool:
        if isinstance(error, errors.NoRoomError):
            return now_s < self._room_over_s
        if isinstance(error, errors.UnreachableError | errors.NotReadyError):
            return True
        if error.reason == _OVERLOADED and error.retry_after_s is not None:
            return True
        return self._terms.safe and isinstance(
            error, errors.OutcomeUnknownError | errors.NotActiveError
        )

    def _pause(self, error: errors.PoolError, now_s: float) -> float:
        if isinstance(error, errors.NotActiveError | errors.NotAcknowledgedError):
            # The broker itself waits for the agents, or for the disk: another knows no more.
            return self._hinted(error, _LEAST_HINT_S)
        if isinstance(error, errors.NoRoomError):
            return min(self._hinted(error, _LAST_PAUSE_S), self._room_over_s - now_s)
        self._endpoints.failed(self._asked)
        self._moved += 1
        if self._moved < len(self._endpoints):
            return 0.0
        self._moved = 0
        backoff_s = self._pause_s * (0.5 + 0.5 * self._jitter())
        self._pause_s = min(2 * self._pause_s, _LAST_PAUSE_S)
        return self._hinted(error, backoff_s)

    def _hinted(self, error: errors.PoolError, otherwise_s: float) -> float:
        if error.retry_after_s is None:
            return otherwise_s
        hint_s = min(max(error.retry_after_s, _LEAST_HINT_S), _MOST_HINT_S)
        return hint_s * (1 + _HINT_JITTER * self._jitter())
