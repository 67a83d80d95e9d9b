"""How fast a total grows. Pure: times are arguments, in seconds of any one clock."""

from bisect import bisect_left
from collections import deque
from itertools import pairwise
from typing import Final

SHOWN: Final = 24
"""Points of a series."""
_WINDOW_S: Final = 5.0
_MOST_POINTS: Final = 512
_BLOCKS: Final = "▁▂▃▄▅▆▇█"


class Rate:
    """A total, noted now and then; between two notes it is taken to grow evenly.

    A total that goes back (the broker was started anew) begins a new history.
    """

    def __init__(self, bucket_s: float) -> None:
        self._bucket_s = bucket_s
        self._points: deque[tuple[float, int]] = deque(maxlen=_MOST_POINTS)

    def note(self, total: int, at_s: float) -> None:
        """Takes a total that was true at a time not before the last one."""
        if self._points:
            last_s, last = self._points[-1]
            if total < last:
                self._points.clear()
            elif at_s <= last_s:
                self._points[-1] = (last_s, total)
                return
        self._points.append((at_s, total))

    def per_second(self) -> float | None:
        """Over the last seconds before the last note; None while only one is known."""
        if len(self._points) < 2:  # noqa: PLR2004 - a rate needs two totals
            return None
        end_s, end = self._points[-1]
        begin_s = max(end_s - _WINDOW_S, self._points[0][0])
        return (end - self._at(begin_s)) / (end_s - begin_s)

    def series(self, count: int = SHOWN) -> tuple[float, ...]:
        """Rates of the last buckets, the newest last; fewer while the history is short."""
        if len(self._points) < 2:  # noqa: PLR2004 - see above
            return ()
        begin_s, (end_s, _) = self._points[0][0], self._points[-1]
        whole = min(count, int((end_s - begin_s) / self._bucket_s))
        edges = [self._at(end_s - i * self._bucket_s) for i in range(whole, -1, -1)]
        return tuple((b - a) / self._bucket_s for a, b in pairwise(edges))

    def _at(self, at_s: float) -> float:
        """The total at a time within the history."""
        after = min(bisect_left(self._points, (at_s,)), len(self._points) - 1)
        (a_s, a), (b_s, b) = self._points[max(0, after - 1)], self._points[after]
        return a + (b - a) * (at_s - a_s) / (b_s - a_s) if b_s > a_s else float(b)


def sparkline(series: tuple[float, ...], width: int = SHOWN) -> str:
    """The last points of a series as blocks, the highest full; spaces after the last."""
    shown = series[-width:]
    top = max(shown, default=0.0)
    steps = len(_BLOCKS) - 1
    marks = (_BLOCKS[min(steps, round(steps * each / top))] if top > 0 else "▁" for each in shown)
    return "".join(marks).ljust(width)
