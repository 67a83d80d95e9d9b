"""The threads behind the screen: started, pointed elsewhere and stopped together.

Each has a connection of its own, so that ending one does not break the other's calls.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from computepool_client.cli.top.feed import Event, Looker, PollFeed, WatchFeed, follow

if TYPE_CHECKING:
    from computepool_client.client import PoolClient

_END_WITHIN_S: Final = 2.0


class Sources:
    """Asks the broker in the background; `tell` is called from other threads.

    Attributes:
        interval_s: least time between two views, in seconds.
    """

    def __init__(
        self, connect: "Callable[[], PoolClient]", interval_s: float, tell: Callable[[Event], None]
    ) -> None:
        self.interval_s = interval_s
        self._connect = connect
        self._tell = tell
        self._looking = connect()
        self._looker = Looker(self._looking, interval_s, tell)
        self._watching: PoolClient | None = None
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, precision: str) -> None:
        """Begins to ask."""
        self._begin(self._looker.run)
        self.follow(precision)

    def follow(self, precision: str) -> None:
        """Follows the view at another precision from now on."""
        self._leave_view()
        self._stop, self._watching = threading.Event(), self._connect()
        pool, stop = self._watching, self._stop
        feeds = (
            WatchFeed(pool, precision, self.interval_s),
            PollFeed(pool, precision, self.interval_s, stop),
        )
        self._begin(lambda: follow(feeds, stop, self._tell))

    def open(self, center: str) -> None:
        """Asks for what is in a center, too; an empty name ends that."""
        self._looker.open(center)

    def stop(self) -> None:
        """Ends all calls, and waits shortly for the threads."""
        self._looker.stop()
        self._leave_view()
        self._looking.close()
        for thread in self._threads:
            thread.join(_END_WITHIN_S)

    def _leave_view(self) -> None:
        self._stop.set()
        if self._watching is not None:
            self._watching.close()

    def _begin(self, run: Callable[[], None]) -> None:
        self._threads = [each for each in self._threads if each.is_alive()]
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
