"""What is done to whom, and when: of the flags and of the keys. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from computepool_client.cli import units

DEEDS: Final[Mapping[str, str]] = {
    "kill": "kill -9",
    "stop": "stop (SIGSTOP)",
    "continue": "continue",
    "restart": "restart",
    "cut": "cut off",
    "heal": "heal the network",
    "flushall": "FLUSHALL at",
    "mend": "start and continue",
}
"""What can be done, and the words for it."""

WHOM: Final = ("broker", "primary", "replica", "redis", "sentinel", "agent")
ALL: Final = "all"

_PLAIN_SECONDS: Final = re.compile(r"\d+(\.\d+)?")
_NAME: Final = re.compile(
    r"(broker|redis|sentinel)(-\d+)?|primary|replica|agent(-server|-simulated)?"
)


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing to do; `whom` is a member's name or its part, such as "primary"."""

    what: str
    whom: str = ""

    def __str__(self) -> str:
        return f"{DEEDS[self.what]} {self.whom}".rstrip()


@dataclass(frozen=True, slots=True)
class Timed:
    """A deed, and how many seconds after the start of the load."""

    at_s: float
    deed: Deed


def seconds(text: str) -> float:
    """Seconds of "10", "10s", "1m30s".

    Raises:
        ValueError: it is none of these.
    """
    if _PLAIN_SECONDS.fullmatch(text):
        text += "s"
    return units.parse_duration_s(text)


def whom_and_when(text: str) -> tuple[str, float | None]:
    """Takes WHO or WHO@TIME apart.

    Raises:
        ValueError: there can be no such member, or the time is none.
    """
    whom, at, when = text.partition("@")
    if not _NAME.fullmatch(whom):
        raise ValueError(f"{whom!r} is nobody: write {', '.join(WHOM)}, or a name such as broker-1")
    return whom, seconds(when) if at else None


def schedule(
    given: Mapping[str, Sequence[tuple[str, float | None]]], after_s: float
) -> list[Timed]:
    """All that the flags say, by time; what has no time of its own is done at `after_s`."""
    timed = [
        Timed(after_s if when is None else when, Deed(what, whom))
        for what, many in given.items()
        for whom, when in many
    ]
    return sorted(timed, key=lambda each: each.at_s)
