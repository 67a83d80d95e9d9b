"""Which rows of the view have changed lately, so that caches look only at what is new. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOG_ROWS = 1 << 16
"""Changes remembered; a cache that is further behind starts over."""
RECENT_ROWS = 64
"""Of those, so many are at hand without NumPy, whose calls cost more than a few rows do."""


class ChangeLog:
    """A bounded log of changed rows.

    Attributes:
        version: Number of changes so far.
    """

    def __init__(self) -> None:
        self.version = 0
        self._rows = np.zeros(LOG_ROWS, dtype=np.int32)
        self._recent: list[int] = []
        self._last_at = np.zeros(0, dtype=np.int32)

    def note(self, row: int) -> None:
        """A row has changed."""
        self._rows[self.version % LOG_ROWS] = row
        self.version += 1
        self._recent.append(row)
        if len(self._recent) > 2 * RECENT_ROWS:
            del self._recent[:RECENT_ROWS]

    def last(self, behind: int) -> set[int]:
        """Rows of the last `behind` changes, at most RECENT_ROWS."""
        return set(self._recent[-behind:])

    def since(self, version: int, rows_in_use: int) -> NDArray[np.int32] | None:
        """Rows changed after `version`, each once; None when the log is too short.

        Args:
            version: What was seen.
            rows_in_use: All rows are below it.
        """
        behind = self.version - version
        if behind > LOG_ROWS:
            return None
        start, end = version % LOG_ROWS, self.version % LOG_ROWS
        if behind == 0:
            return self._rows[:0]
        if start < end:
            rows = self._rows[start:end]
        else:
            rows = np.concatenate((self._rows[start:], self._rows[:end]))
        if rows_in_use > len(self._last_at):
            self._last_at = np.zeros(2 * rows_in_use, dtype=np.int32)
        # Of a row's repeats the last stays: several times faster than sorting.
        order = np.arange(len(rows), dtype=np.int32)
        self._last_at[rows] = order
        once: NDArray[np.int32] = rows[self._last_at[rows] == order]
        return once
