"""What the load knows that it holds: every acknowledged allocation, until it is given back.

Pure; the clock is an argument.

    asked ──acknowledged──> held ──release is sent──> leaving ──answered──> given back
                              ^──── no broker knows it ────┘
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

# Remembered beyond their life, so that a second grant for them is noticed.
_REMEMBERED: Final = 50_000


@dataclass(slots=True)
class Held:
    """An allocation that was acknowledged as durable.

    Attributes:
        acked_s: when that answer was here.
        valid_until_s: when it ends unless it is renewed, at the earliest.
        centers: where its parts are.
        missing_since_s: since when no broker knows it; None while one does.
        awaited_s: when its agent was last seen to be away while it was missing.
    """

    id: str
    request_id: str
    acked_s: float
    valid_until_s: float
    centers: frozenset[str] = frozenset()
    missing_since_s: float | None = None
    awaited_s: float = 0.0


@dataclass(slots=True)
class Second:
    """What was done in about a second.

    Attributes:
        errors: failed calls by reason.
        took_s: how long the answered ones took.
    """

    ok: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)

    def p99_ms(self) -> float | None:
        """What 99 of 100 answers stayed below, in milliseconds; None without answers."""
        if not self.took_s:
            return None
        ordered = sorted(self.took_s)
        return 1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


class Book:
    """All that the load holds, and what it did lately.

    Attributes:
        held: acknowledged, and not being given back, by id.
        twice: request ids that were answered with two allocations.
    """

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.twice: set[str] = set()
        self.ok_total = 0
        self.longest_gap_s = 0.0
        self._granted: dict[str, Held] = {}
        self._given_back: dict[str, float] = {}
        self._second = Second()
        self._last_ok_s: float | None = None
        self._gap_s = 0.0

    # -- what the load notes ----------------------------------------------------------------

    def acknowledged(self, held: Held) -> None:
        """A create was answered."""
        if self._granted.setdefault(held.request_id, held).id != held.id:
            self.twice.add(held.request_id)
        _forget_oldest(self._granted)
        self.held[held.id] = held

    def leaving(self, id_: str) -> Held | None:
        """Its release is about to be sent: it may be gone from now on."""
        return self.held.pop(id_, None)

    def stayed(self, held: Held) -> None:
        """Its release found nothing: who has lost it is for the judge to say."""
        self.held[held.id] = held

    def given_back(self, id_: str, now_s: float) -> None:
        """Its release was answered."""
        self._given_back[id_] = now_s
        _forget_oldest(self._given_back)

    def answered(self, began_s: float, now_s: float) -> None:
        """A call was answered."""
        self._second.ok += 1
        self._second.took_s.append(now_s - began_s)
        self.ok_total += 1
        if self._last_ok_s is not None:
            self._gap_s = max(self._gap_s, self.silent_s(now_s))
            self.longest_gap_s = max(self.longest_gap_s, self._gap_s)
        self._last_ok_s = now_s

    def failed(self, reason: str) -> None:
        """A call failed."""
        self._second.errors[reason] += 1

    # -- what others ask --------------------------------------------------------------------

    def take_second(self) -> Second:
        """What was done since it was asked last."""
        second, self._second = self._second, Second()
        return second

    def take_gap_s(self) -> float:
        """The longest time without any answer that ended since it was asked last."""
        gap_s, self._gap_s = self._gap_s, 0.0
        return gap_s

    def silent_s(self, now_s: float) -> float:
        """For how long there has been no answer, since the last one."""
        return 0.0 if self._last_ok_s is None else now_s - self._last_ok_s

    def held_before(self, when_s: float) -> list[str]:
        """Ids of what was acknowledged before a time, and is still held."""
        return [each.id for each in self.held.values() if each.acked_s < when_s]

    def id_of(self, request_id: str, before_s: float) -> str:
        """The allocation that a request id was answered with before a time; else nothing."""
        held = self._granted.get(request_id)
        return held.id if held is not None and held.acked_s < before_s else ""

    def came_back(self, ids: Iterable[str], before_s: float) -> list[str]:
        """Those of these live ones whose release had been answered before a time."""
        return [id_ for id_ in ids if self._given_back.get(id_, before_s) < before_s]


def _forget_oldest(known: dict[str, Held] | dict[str, float]) -> None:
    while len(known) > _REMEMBERED:
        del known[next(iter(known))]
