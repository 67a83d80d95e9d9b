"""What the broker counts about itself, for its operators: plain numbers, changed on the loop only.

Counting stands on the hot path, so it does next to nothing there: an addition, or a value put
into a list that is sorted into buckets a few thousand at a time. What becomes of the numbers is
the affair of telemetry/. May import NumPy and the model; no I/O, no clock of its own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from computepool_broker.model.records import EndReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from computepool_broker.ledger.touched import Touched

SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Bounds of durations, from half a millisecond to the longest that anybody waits."""
SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
"""Bounds of numbers of jobs."""
OTHER: Final = "OTHER"
MOST_NAMES: Final = 64
FOLD_AT: Final = 4_096
"""Values kept as they came; sorting them one by one would cost ten times as much."""

REFUSAL_REASONS: Final = (
    "WARMING_UP", "NO_CENTER", "BEYOND_POOL", "REGION_NOT_ALLOWED", "CENTER_NOT_ALLOWED",
    "NOT_SCHEDULABLE", "LABELS", "MODEL", "DEVICES", "DEVICE_SHARE", "CPU", "MEMORY", "DISK",
    "EXTRA", "GANG", "SPREAD", "POWER",
)  # fmt: skip
"""Why there was no room: what stopped the nearest center, as the contract names it; the first
three are said of the pool as a whole."""
LEASE_REFUSALS: Final = (
    "MALFORMED", "STALE_EPOCH", "CONTACT_UNSUPPORTED", "NODE_UNKNOWN", "UNSCHEDULABLE",
    "DEVICE_UNKNOWN", "DEVICE_UNHEALTHY", "DOES_NOT_FIT", "JOURNAL_FULL", "INJECTED",
)  # fmt: skip
"""Why agents refuse leases. They are other programs: what else they say counts as OTHER."""
REPORTS: Final = ("full", "delta", "unchanged", "part", "want_full", "rejected")
"""What became of a Sync: a complete report with all nodes, with those that changed, with none; a
part of one; one that must be made anew and full; one that was refused."""


class Bucketed(NamedTuple):
    """A distribution so far; the last of `counts` is of the values above all bounds."""

    bounds: Sequence[float]
    counts: tuple[int, ...]
    total: float


class Samples:
    """Values as they come, sorted into buckets by and by."""

    __slots__ = ("_bounds", "_counts", "_fresh", "_total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        """Begin with nothing.

        Args:
            bounds: Upper ends of the buckets, inclusive, rising.

        Raises:
            ValueError: The bounds do not rise.
        """
        if not all(low < high for low, high in pairwise(bounds)):
            raise ValueError(f"bounds must rise: {bounds}")
        self._bounds = bounds
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._total = 0.0
        self._fresh: list[float] = []

    def add(self, value: float) -> None:
        """Take one value."""
        self._fresh.append(value)
        if len(self._fresh) >= FOLD_AT:
            self._fold()

    def extend(self, values: Iterable[float]) -> None:
        """Take several."""
        self._fresh.extend(values)
        if len(self._fresh) >= FOLD_AT:
            self._fold()

    def bucketed(self) -> Bucketed:
        """The distribution of all values so far."""
        self._fold()
        return Bucketed(self._bounds, tuple(self._counts.tolist()), self._total)

    def _fold(self) -> None:
        if not self._fresh:
            return
        values = np.array(self._fresh)
        self._fresh = []
        places = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._total += float(values.sum())


class Counts:
    """Counts by name. Names are few: those beyond the known ones, or beyond 64, are OTHER."""

    __slots__ = ("_closed", "by_name")

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Begin at 0 with these names and no others; without any, with whatever comes."""
        self.by_name: dict[str, int] = dict.fromkeys(names, 0)
        self._closed = bool(self.by_name)

    def add(self, name: str, by: int = 1) -> None:
        """Count."""
        by_name = self.by_name
        if name not in by_name and (self._closed or len(by_name) >= MOST_NAMES):
            name = OTHER
        by_name[name] = by_name.get(name, 0) + by


class Calls:
    """The calls of one method: how many are open, how the others ended and how long they took."""

    __slots__ = ("ended", "open", "seconds", "streams")

    def __init__(self, *, streams: bool) -> None:
        self.streams = streams
        self.open = 0
        self.ended: dict[str, int] = {}
        self.seconds = Samples()

    def end(self, code: str, seconds: float) -> None:
        """Count a call that ends with a status code. A stream's length says nothing."""
        self.open -= 1
        self.ended[code] = self.ended.get(code, 0) + 1
        if not self.streams:
            self.seconds.add(seconds)


class WriterTally:
    """What the one writer does.

    Attributes:
        queue_s: By job, from its coming to the run of its batch.
        run_s: By batch, the run of all its jobs, on the event loop.
        commit_s: By batch that had something to write, or saw what was being written: until
            that was durable.
        jobs: Jobs by batch.
    """

    __slots__ = ("commit_s", "jobs", "queue_s", "run_s")

    def __init__(self) -> None:
        self.queue_s = Samples()
        self.run_s = Samples()
        self.commit_s = Samples()
        self.jobs = Samples(SIZES)


class AuditTally(NamedTuple):
    """The last audit: findings by kind, when it ended (seconds since 1970), how long it took."""

    findings: dict[str, int]
    ended_s: float
    took_s: float


class Tally:
    """What is counted all over the broker, since its start.

    Attributes:
        calls: By the method's whole name.
        errors: Calls and items of batches that failed, by the error's reason.
        granted: Allocations that are durable; `adopted` are not among them.
        ended: Allocations that ended for their tenants, by EndReason.
        admit_s: From a grant to ACTIVE.
        reports: By what became of them, see REPORTS.
        report_nodes: Nodes in those that were not refused.
        watch_lag_s: From a change's being durable to its having been written to a watcher of
            allocations.
    """

    def __init__(self) -> None:
        self.calls: dict[str, Calls] = {}
        self.errors = Counts()
        self.granted = 0
        self.adopted = 0
        self.ended = Counts(reason.name for reason in EndReason if reason)
        self.refusals = Counts(REFUSAL_REASONS)
        self.plan_s = Samples()
        self.admit_s = Samples()
        self.reports = Counts(REPORTS)
        self.report_nodes = 0
        self.lease_refusals = Counts(LEASE_REFUSALS)
        self.sessions = 0
        self.watch_lag_s = Samples()
        self.audits = 0
        self.audit: AuditTally | None = None

    def reported(self, kind: str, nodes: int) -> None:
        """Count a report, or a part of one, and the nodes in it."""
        self.reports.add(kind)
        self.report_nodes += nodes

    def audited(self, findings: Mapping[str, int], wall_ms: int, took_s: float) -> None:
        """Take in an audit that has ended; `wall_ms` is the time of day."""
        self.audits += 1
        self.audit = AuditTally(dict(findings), wall_ms / 1000, took_s)

    def durable(self, touched: Touched, wall_ms: int) -> None:
        """Count the steps that have become durable; `wall_ms` is the time of day."""
        self.granted += len(touched.granted)
        self.adopted += touched.adopted
        for allocation in touched.activated:
            if not allocation.adopted:
                # The time of day can jump; a wait is never negative.
                self.admit_s.add(max(0, wall_ms - allocation.created_ms) / 1000)
        for allocation in touched.ended:
            self.ended.add(allocation.end_reason.name)
