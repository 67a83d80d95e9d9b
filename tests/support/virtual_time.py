"""An event loop whose time is the test's: whoever waits for the clock is woken at once.

When nothing is ready to run, the clock jumps to the next timer. So a minute of waiting costs
nothing, chance has no part in who comes first, and a wait that nothing can end is found at once
instead of after a timeout. For code that needs no other thread and no socket.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

T = TypeVar("T")


class StuckError(AssertionError):
    """Everybody waits, and for no timer."""


class _Jumping(selectors.SelectSelector):
    """Instead of sleeping, moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.longest_s = 0.0
        self._began_s = time.thread_time()

    def select(self, timeout: float | None = None) -> list[Any]:
        """See BaseSelector.select."""
        busy_s = time.thread_time() - self._began_s
        self.longest_s = max(self.longest_s, busy_s)
        ready: list[Any] = super().select(0)
        if not ready:
            if timeout is None:
                raise StuckError("everybody waits, and nothing will wake anybody")
            self.now_s += timeout
        self._began_s = time.thread_time()
        return ready

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See BaseSelector.get_map."""
        return super().get_map()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds since the loop was made, as its clock jumps."""
        return self._jumping.now_s

    @property
    def longest_s(self) -> float:
        """The most processor time for which the loop was kept from its other callers, in s."""
        return self._jumping.longest_s


def run(work: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """Run to the end on a loop of its own; gives the result and `longest_s`."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(work), loop.longest_s
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
