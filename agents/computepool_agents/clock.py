"""The clock that contact terms run on: it counts suspend, and it belongs to one boot.

May import the standard library and psutil. Reads the machine's clock.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import psutil

from computepool_agents.model import Contact

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """Tells the moment."""

    def now(self) -> Contact:
        """Give the moment on a clock that counts suspend, with the boot that it belongs to."""


class BootClock:
    """CLOCK_BOOTTIME where there is one, else the monotonic clock."""

    def __init__(self) -> None:
        self._boot_id = _boot_id()
        self._clock_id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now(self) -> Contact:
        """Give the moment, in seconds since this boot."""
        return Contact(self._boot_id, time.clock_gettime(self._clock_id))


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        # Not Linux: the moment of the boot names it as well.
        return f"boot-{int(psutil.boot_time())}"
