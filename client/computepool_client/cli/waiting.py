"""Asking for an allocation until there is room, always with the same request_id.

The clock and the sleep are arguments; no printing here.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from computepool_client import errors

if TYPE_CHECKING:
    from computepool.v1 import allocation_pb2
    from computepool_client.client import PoolClient

_RETRIED: Final = (
    errors.NoRoomError,
    errors.NotReadyError,
    errors.UnreachableError,
    errors.OutcomeUnknownError,
)
# Without a hint of the broker's: doubled from the first to the last.
_FIRST_DELAY_S: Final = 0.5
_LAST_DELAY_S: Final = 10.0
# A hint is believed within these bounds.
_LEAST_HINT_S: Final = 0.1
_MOST_HINT_S: Final = 60.0
_TICK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Pause:
    """The state of a wait between two attempts; times in seconds."""

    error: errors.PoolError
    waited_s: float
    of_s: float
    next_s: float


@dataclass(slots=True)
class Asking:
    """One request, repeated until it is granted or the patience is over.

    Attributes:
        maybe_granted: an attempt is under way, or ended so that nobody knows
            whether it was granted, and no later answer has settled it.
    """

    pool: "PoolClient"
    request: "allocation_pb2.CreateAllocationRequest"
    timeout_s: float
    maybe_granted: bool = False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def once(self) -> "allocation_pb2.CreateAllocationResponse":
        """One attempt; raises the `PoolError` that it failed with."""
        before, self.maybe_granted = self.maybe_granted, True
        try:
            return self.pool.create(self.request, timeout_s=self.timeout_s)
        except errors.OutcomeUnknownError:
            raise
        except (errors.UnreachableError, errors.NotReadyError):
            self.maybe_granted = before
            raise
        except errors.PoolError:
            # The broker has judged this request_id: there is no grant of it.
            self.maybe_granted = False
            raise

    def until(
        self, patience_s: float, tell: Callable[[Pause], None]
    ) -> "allocation_pb2.CreateAllocationResponse":
        """Attempts until `patience_s` is over, pausing as the broker hints.

        `tell` is called about once a second while pausing. Raises the error of the
        last attempt, or at once one that no waiting mends.
        """
        start, delay_s = self.clock(), _FIRST_DELAY_S
        while True:
            try:
                return self.once()
            except _RETRIED as error:
                left_s = start + patience_s - self.clock()
                if left_s <= 0 or _hopeless(error):
                    raise
                pause_s = min(_hinted(error, delay_s), left_s)
                self._pause(error, start, patience_s, pause_s, tell)
            delay_s = min(2 * delay_s, _LAST_DELAY_S)

    def _pause(
        self,
        error: errors.PoolError,
        start: float,
        patience_s: float,
        pause_s: float,
        tell: Callable[[Pause], None],
    ) -> None:
        over = self.clock() + pause_s
        while (left_s := over - self.clock()) > 0:
            tell(Pause(error, self.clock() - start, patience_s, left_s))
            self.sleep(min(left_s, _TICK_S))


def _hopeless(error: errors.PoolError) -> bool:
    """The pool could not hold it even if it were empty."""
    return (
        isinstance(error, errors.NoRoomError)
        and error.wire_refusal is not None
        and error.wire_refusal.beyond_pool
    )


def _hinted(error: errors.PoolError, delay_s: float) -> float:
    if error.retry_after_s is None:
        return delay_s
    return min(max(error.retry_after_s, _LEAST_HINT_S), _MOST_HINT_S)
