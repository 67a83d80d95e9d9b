"""What a check found. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How it stands with what was checked."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: its stable name, such as "silent-agents".
        what: what was found, in one line.
        todo: what to do about it, in one line; empty when there is nothing to do.
    """

    check: str
    verdict: Verdict
    what: str
    todo: str = ""


def ok(check: str, what: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, Verdict.OK, what)


def warn(check: str, what: str, todo: str) -> Finding:
    """It works, but somebody should look at it."""
    return Finding(check, Verdict.WARN, what, todo)


def fail(check: str, what: str, todo: str) -> Finding:
    """It does not work."""
    return Finding(check, Verdict.FAIL, what, todo)


def named(names: list[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(count: int, word: str) -> str:
    """A number with its word: "1 agent", "2 agents"."""
    return f"{count:,} {word}{'s' * (count != 1)}"
