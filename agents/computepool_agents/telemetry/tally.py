"""What a process of agents counts about itself: plain numbers, changed on the event loop only.

Pure but for the clocks: it knows those that durations are measured with.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from computepool.v1.types_pb2 import LeaseState

SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper ends of the buckets of durations."""
MOST_REASONS: Final = 64
OTHER: Final = "OTHER"


class Bucketed(NamedTuple):
    """A distribution so far; the last of `counts` is of the values above all bounds."""

    bounds: Sequence[float]
    counts: tuple[int, ...]
    total: float


class Samples:
    """Durations, in buckets."""

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self._total = 0.0

    def add(self, seconds: float) -> None:
        """Take one."""
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self._total += seconds

    def bucketed(self) -> Bucketed:
        """The distribution of all values so far."""
        return Bucketed(SECONDS, tuple(self._counts), self._total)


class Reasons:
    """Counts by reason. The broker's reasons come from outside: beyond 64 all others are OTHER."""

    def __init__(self) -> None:
        self.by_name: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        """Count."""
        full = reason not in self.by_name and len(self.by_name) >= MOST_REASONS
        self.by_name[OTHER if full else reason] += 1


class Countable(Protocol):
    """What is asked of an agent when figures are wanted."""

    @property
    def leases(self) -> Mapping[LeaseState, int]:
        """Number of leases held, by their state."""

    @property
    def refused(self) -> Mapping[str, int]:
        """Number of leases refused so far, by reason."""


@dataclass(slots=True)
class Contacts:
    """How one agent and the broker are doing.

    Attributes:
        answered_s: When a report was answered last, on a clock that only rises; before the
            first, when the agent was made.
        in_session: A session is open, as far as the agent knows.
        nodes: In the last measurement.
    """

    answered_s: float = field(default_factory=monotonic)
    in_session: bool = False
    nodes: int = 0


class Tally:
    """All that is counted, since the process's start.

    Attributes:
        reports: Reports answered, by what they said: full, delta or unchanged.
        report_s: How long each took from its first part to its answer.
        failures: Reports that were not answered, by reason.
        sessions: Sessions opened.
        session_failures: Attempts that failed, by reason.
        rings: Of the doorbell.
        measure_s: How long the local engine took to measure all nodes.
        backend_errors: By what was asked of the engine: measure, start or stop.
        commit_s: How long the journal took to make a change durable.
    """

    def __init__(self) -> None:
        self.agents: list[Countable] = []
        self.contacts: list[Contacts] = []
        self.reports: Counter[str] = Counter(full=0, delta=0, unchanged=0)
        self.report_s = Samples()
        self.failures = Reasons()
        self.sessions = 0
        self.session_failures = Reasons()
        self.rings = 0
        self.measure_s = Samples()
        self.backend_errors: Counter[str] = Counter(measure=0, start=0, stop=0)
        self.commit_s = Samples()

    def contact(self) -> Contacts:
        """Count one more agent in."""
        made = Contacts()
        self.contacts.append(made)
        return made

    def oldest_answer_s(self) -> float:
        """Seconds since the agent that has waited longest had a report answered."""
        return max((monotonic() - each.answered_s for each in self.contacts), default=0.0)
