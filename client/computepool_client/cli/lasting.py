"""Calls that last: how long they may, and going on after a broken connection."""

import time
from dataclasses import dataclass, field
from typing import Final

from computepool_client import errors
from computepool_client.cli import screen

# What a broker that is restarted, or a network that is cut, leads to.
PASSING: Final = (errors.UnreachableError, errors.NotReadyError, errors.NoAnswerError)
_PAUSE_S: Final = 1.0


@dataclass(slots=True)
class Lasting:
    """The time that is left, and whether the broker answers.

    Attributes:
        most_s: how long it may last, in seconds; 0 for ever.
        begun: an answer has come: what breaks from now on is mended.
    """

    most_s: float
    begun: bool = False
    _silent: bool = False
    _start_s: float = field(default_factory=time.monotonic)

    def left_s(self) -> float | None:
        """Seconds left, more than none; None without an end."""
        if not self.most_s:
            return None
        return max(0.001, self._start_s + self.most_s - time.monotonic())

    def is_over(self) -> bool:
        """The time is up."""
        return bool(self.most_s) and time.monotonic() >= self._start_s + self.most_s

    def answered(self) -> None:
        """An answer came."""
        self.begun, self._silent = True, False

    def broke(self, error: errors.PoolError) -> None:
        """Says once that the broker is gone, and waits a moment before it is asked again.

        Raises:
            PoolError: the error itself, when there has never been an answer.
        """
        if not self.begun:
            raise error
        if not self._silent:
            screen.remark(f"{error.message}; asking again until it answers")
        self._silent = True
        pause_s = _PAUSE_S if not self.most_s else min(_PAUSE_S, self.left_s() or _PAUSE_S)
        time.sleep(pause_s)
