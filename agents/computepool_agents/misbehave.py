"""Switches that make a simulated agent misbehave, in the ways that real ones do.

May import the standard library only. Pure: parsing and the question "is it on now?".
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

MAX_SECONDS = 31_536_000.0  # a year


class Kind(enum.Enum):
    """How it misbehaves."""

    SILENCE = "silence"
    REFUSE = "refuse"
    SLOW = "slow"
    DOUBLE = "double"
    LATE = "late"
    LOSE_CAPACITY = "lose-capacity"


# What p means where it is taken, and its default.
_DEFAULT_P = {
    Kind.REFUSE: 1.0,
    Kind.SLOW: 1.0,
    Kind.DOUBLE: 1.0,
    Kind.LATE: 1.0,
    Kind.LOSE_CAPACITY: 0.5,
}
_DEFAULT_DELAY_S = 1.0

HELP = (
    "KIND[:center=NAME][:after_s=F][:for_s=F][:p=F][:delay_s=F]; repeatable. Kinds: "
    "silence (no calls at all), "
    "refuse (says no, INJECTED, to a lease with probability p), "
    "slow (an answer takes delay_s longer, with probability p), "
    "double (sends a report twice, with probability p), "
    "late (an answer arrives only after the next one, with probability p), "
    "lose-capacity (a share p of the nodes loses half of its devices). "
    "center: only there, default all. after_s: seconds from the start of the process until it "
    "begins, default 0. for_s: seconds that it lasts, default until the end. p: 0 to 1, default "
    "1, or 0.5 for lose-capacity. delay_s: seconds, default 1"
)


class SwitchError(ValueError):
    """A switch is malformed; the text names the field."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One way to misbehave, and when.

    Attributes:
        kind: How.
        center: Only there; empty means everywhere.
        after_s: Begins so many seconds after the process's start.
        for_s: Lasts so many seconds.
        p: Probability, or share of nodes, 0 to 1.
        delay_s: Of a slow answer, in seconds.
    """

    kind: Kind
    center: str = ""
    after_s: float = 0.0
    for_s: float = math.inf
    p: float = 1.0
    delay_s: float = _DEFAULT_DELAY_S

    def is_on(self, now_s: float) -> bool:
        """Say whether it is on, so many seconds after the process's start."""
        return self.after_s <= now_s < self.after_s + self.for_s


def parse(text: str) -> Switch:
    """Read a switch as it stands on the command line.

    Raises:
        SwitchError: Unknown kind or field, a number out of range, a field without effect.
    """
    name, *fields = text.split(":")
    kind = next((kind for kind in Kind if kind.value == name), None)
    if kind is None:
        kinds = ", ".join(kind.value for kind in Kind)
        raise SwitchError(f"unknown kind {name!r}; there are {kinds}")
    values = dict(_field(text, field) for field in fields)
    if len(values) != len(fields):
        raise SwitchError(f"{text!r} gives a field twice")
    allowed = {"center", "after_s", "for_s"}
    allowed |= {"p"} if kind in _DEFAULT_P else set()
    allowed |= {"delay_s"} if kind is Kind.SLOW else set()
    if unknown := sorted(values.keys() - allowed):
        raise SwitchError(
            f"{name} has no field {unknown[0]!r}; it has {', '.join(sorted(allowed))}"
        )
    return Switch(
        kind,
        values.get("center", ""),
        _number(values, "after_s", 0.0, MAX_SECONDS),
        _number(values, "for_s", math.inf, MAX_SECONDS),
        _number(values, "p", _DEFAULT_P.get(kind, 1.0), 1.0),
        _number(values, "delay_s", _DEFAULT_DELAY_S, MAX_SECONDS),
    )


def _field(text: str, field: str) -> tuple[str, str]:
    key, sign, value = field.partition("=")
    if not sign or not value:
        raise SwitchError(f"{text!r}: {field!r} is not of the form name=value")
    return key, value


def _number(values: dict[str, str], key: str, default: float, most: float) -> float:
    if key not in values:
        return default
    try:
        number = float(values[key])
    except ValueError:
        number = math.nan
    if not 0.0 <= number <= most:
        raise SwitchError(f"{key} must be a number from 0 to {most:g}, not {values[key]!r}")
    return number
