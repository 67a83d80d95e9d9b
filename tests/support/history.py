"""What clients and agents saw, as lines of JSON that a checker reads; see history_check.

Every process writes files of its own, a line at once, so that what a killed one wrote is there.
Times are of the machine's monotonic clock, which all its processes share. Imports the standard
library only.

| kind | facts |
|---|---|
| pool | nodes: what each has, by node and resource |
| call | call, op (create, renew, release, get), tenant, request_id, allocation, level, ttl_s |
| answer | call, outcome (ok, refused, unknown, lost), reason, allocation, state, level, devices |
| held | agent, leases: all that its journal has when its process begins |
| holds | agent and a lease: in its journal from now on |
| drops | agent, lease: no longer in its journal |
| fault, healed, whole | round, name: begun; mended; all is served again |
| loss | level: what was acknowledged at it or below by now may be gone |
| listed | live: tenant, request_id, state by allocation; ended: reason by allocation |
| final | all was released: live, granted by node, findings |
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SUFFIX = ".history"


class Event(NamedTuple):
    """One line.

    Attributes:
        at_s: When, in seconds of the machine's monotonic clock.
        kind: See the module.
        facts: What belongs to the kind.
    """

    at_s: float
    kind: str
    facts: dict[str, Any]


class History:
    """Writes one file; each line is out when `note` returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def note(self, kind: str, **facts: Any) -> None:
        """Write that something happened now."""
        line = json.dumps({"at_s": time.monotonic(), "kind": kind, **facts}, separators=(",", ":"))
        os.write(self._file, f"{line}\n".encode())

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)


class Reader:
    """Reads all files of a folder; what was there at the last look is not read again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}

    def new(self) -> list[Event]:
        """All whole lines since the last look, by time."""
        found: list[Event] = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            found += parse(whole.decode().splitlines())
        return sorted(found, key=lambda event: event.at_s)


def parse(lines: Iterable[str]) -> list[Event]:
    """The events of some lines."""
    events = []
    for line in lines:
        facts = json.loads(line)
        events.append(Event(facts.pop("at_s"), facts.pop("kind"), facts))
    return events
