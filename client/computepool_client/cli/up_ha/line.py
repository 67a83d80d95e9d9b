"""One second of a run as a line of text, or as a document. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from computepool_client.cli.documents import Json

# A verdict older than this is shown with its age.
_OLD_VERDICT_S: Final = 2.5
_SHORT: Final = {
    "up": "up", "starting": "...", "stopped": "stop", "killed": "kill", "ended": "END",
    "down": "down", "cut off": "cut",
}  # fmt: skip
_LETTERS: Final = {"broker": "b", "redis": "r", "sentinel": "s"}
_WIDTHS: Final = {
    "time": 8, "ok/s": 5, "err/s": 5, "held": 5, "lost": 4, "pending": 7, "double": 6,
    "p99 ms": 6, "chores": 8, "primary": 7, "epoch": 5,
}  # fmt: skip
# Left out where the terminal is narrow.
_WIDE_ONLY: Final = ("held", "chores", "epoch")
_WIDE: Final = 100


@dataclass(frozen=True, slots=True)
class Line:
    """What is said of one second.

    Attributes:
        time: of day.
        errors: failed calls by reason.
        live: allocations that the brokers list; `held` are those of the load.
        judged_age_s: since the last verdict on lost and double; None before the first.
        states: of each process, by its name.
    """

    time: str
    seconds: float
    ok: int
    errors: Mapping[str, int]
    live: int
    held: int
    lost: int
    pending: int
    double: int
    p99_ms: float | None
    chores: str
    primary: str
    epoch: int
    judged_age_s: float | None
    states: Mapping[str, str]

    @property
    def ok_rate(self) -> float:
        """Answered calls a second."""
        return self.ok / self.seconds

    @property
    def error_rate(self) -> float:
        """Failed calls a second."""
        return sum(self.errors.values()) / self.seconds

    def document(self) -> "dict[str, Json]":
        """As one JSON object; the names are stable."""
        return {
            "ok_per_s": round(self.ok_rate, 1),
            "errors_per_s": round(self.error_rate, 1),
            "errors": dict(self.errors),
            "live": self.live,
            "held": self.held,
            "lost": self.lost,
            "pending": self.pending,
            "double": self.double,
            "judged_age_s": None if self.judged_age_s is None else round(self.judged_age_s, 1),
            "p99_ms": None if self.p99_ms is None else round(self.p99_ms, 1),
            "chores": self.chores,
            "primary": self.primary,
            "epoch": self.epoch,
            "processes": dict(self.states),
        }

    def text(self, columns: int) -> list[str]:
        """As one line, or two where so many columns are not enough for all."""
        states = _states(self.states, columns)
        notes = [f"{reason} {count}" for reason, count in sorted(self.errors.items())]
        if self.judged_age_s is None or self.judged_age_s > _OLD_VERDICT_S:
            age = "never" if self.judged_age_s is None else f"{self.judged_age_s:.0f} s ago"
            notes.append(f"judged {age}")
        lines = [_row(self._values(), columns)]
        for part in (states, ", ".join(notes)):
            if len(lines[-1]) + 2 + len(part) <= columns:
                lines[-1] = f"{lines[-1]}  {part}".rstrip()
            else:
                lines.append(f"{'':8}  {part}")
        return lines

    def _values(self) -> dict[str, str]:
        return {
            "time": self.time,
            "ok/s": f"{self.ok_rate:.0f}",
            "err/s": f"{self.error_rate:.0f}",
            "held": str(self.held),
            "lost": str(self.lost),
            "pending": str(self.pending),
            "double": str(self.double),
            "p99 ms": "-" if self.p99_ms is None else f"{self.p99_ms:,.0f}",
            "chores": self.chores or "-",
            "primary": self.primary or "-",
            "epoch": str(self.epoch),
        }


def heading(states: Mapping[str, str], columns: int) -> str:
    """The line above the lines."""
    names = " ".join(f"{short(name):>4}" for name in states)
    first = _row({name: name for name in _WIDTHS}, columns)
    return f"{first}  {names if _in_columns(states, columns) else 'processes'}"


def short(name: str) -> str:
    """A member's name in at most four letters: b1, r2, s3, srv, sim."""
    kind, _, rest = name.partition("-")
    return f"{_LETTERS[kind]}{rest}" if kind in _LETTERS else {"server": "srv"}.get(rest, rest[:3])


def _shown(columns: int) -> list[str]:
    return [name for name in _WIDTHS if columns >= _WIDE or name not in _WIDE_ONLY]


def _row(values: Mapping[str, str], columns: int) -> str:
    return " ".join(f"{values[name]:>{_WIDTHS[name]}}" for name in _shown(columns))


def _in_columns(states: Mapping[str, str], columns: int) -> bool:
    figures = sum(_WIDTHS[name] + 1 for name in _shown(columns))
    return columns >= _WIDE and figures + 1 + 5 * len(states) <= columns


def _states(states: Mapping[str, str], columns: int) -> str:
    """Every process in its column; on a narrow terminal only those that are not up."""
    if _in_columns(states, columns):
        return " ".join(f"{_SHORT[state]:>4}" for state in states.values())
    not_up = [f"{short(name)} {_SHORT[state]}" for name, state in states.items() if state != "up"]
    return ", ".join(not_up) or "all up"
