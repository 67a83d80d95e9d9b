"""A clock of one process that a test sets while the process runs, by libfaketime.

What is set is the time of day (CLOCK_REALTIME); with `all_clocks` also those that never go back
(CLOCK_MONOTONIC, CLOCK_BOOTTIME), as if the process had slept with its machine.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR_S = 3600
_PLACES = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime")


def library() -> str:
    """Path of libfaketime for programs with threads; a machine of CI must have it."""
    for place in _PLACES:
        for found in Path("/").glob(f"{place[1:]}/libfaketimeMT.so.1"):
            return str(found)
    missing = "libfaketime is not installed: what a clock that jumps does is NOT SHOWN"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


class Clock:
    """One clock, for whatever is started with it."""

    def __init__(self, file: Path, *, all_clocks: bool = False) -> None:
        self._file = file
        self._library = library()
        self._all_clocks = all_clocks
        self.set(0)

    def set(self, offset_s: int) -> None:
        """Let the clock be so much ahead of the machine's, from its next reading on."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{offset_s:+d}\n")
        beside.replace(self._file)

    def around(self, command: Sequence[str]) -> list[str]:
        """The command that runs another one with this clock, in the same process."""
        settings = {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "0" if self._all_clocks else "1",
        }
        return ["env", *(f"{name}={value}" for name, value in settings.items()), *command]
