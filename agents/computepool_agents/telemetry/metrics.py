"""Every metric of the agent, and the page that shows them. docs/metrics.md is made from it.

May import prometheus_client, tally, endpoint and the generated protos. Pure, but for what
prometheus_client reads of the process. Labels come from closed sets: never a tenant, a
node, an agent or a lease.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import GCCollector, ProcessCollector
from prometheus_client import exposition as text
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

from computepool.v1 import types_pb2 as types
from computepool_agents.telemetry.endpoint import Page

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric as Family

    from computepool_agents.telemetry.tally import Bucketed, Tally

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"
INFO: Final = "info"
_ENDINGS: Final = {COUNTER: "_total", INFO: "_info"}
_VERSION: Final = "1.0.0"
"""Of OpenMetrics."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Samples of a counter end in `_total`, which its name here lacks."""

    kind: str
    name: str
    text: str
    labels: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The name as a query says it; of a histogram, what its series begin with."""
        return self.name + _ENDINGS.get(self.kind, "")

    def one(self, value: float) -> Family:
        """A family with one sample and no labels."""
        return self.by_name({(): value})

    def by_name(self, amounts: Mapping[tuple[str, ...], float]) -> Family:
        """A family of samples by their labels."""
        kind = CounterMetricFamily if self.kind == COUNTER else GaugeMetricFamily
        family = kind(self.name, self.text, labels=self.labels)
        for labels, amount in amounts.items():
            family.add_metric(labels, amount)
        return family

    def buckets(self, of: Bucketed) -> Family:
        """A histogram."""
        family = HistogramMetricFamily(self.name, self.text)
        rows, so_far = [], 0
        for bound, count in zip((*map(str, of.bounds), "+Inf"), of.counts, strict=True):
            so_far += count
            rows.append((bound, so_far))
        family.add_metric((), rows, of.total)
        return family


AGENTS = Metric(GAUGE, "computepool_agent_agents", "Agents of this process.")
IN_SESSION = Metric(
    GAUGE, "computepool_agent_in_session", "Agents of this process with an open session."
)
NODES = Metric(GAUGE, "computepool_agent_nodes", "Nodes measured last, of all agents.")
LEASES = Metric(GAUGE, "computepool_agent_leases", "Leases in the journals, by state.", ("state",))
ANSWER_AGE = Metric(
    GAUGE, "computepool_agent_answer_age_seconds",
    "Time since a report was answered last, or since the start: of the agent that has waited "
    "longest.",
)  # fmt: skip
REPORTS = Metric(
    COUNTER, "computepool_agent_reports", "Reports answered; kind is full, delta or unchanged.",
    ("kind",),
)  # fmt: skip
REPORT_SECONDS = Metric(
    HISTOGRAM, "computepool_agent_report_seconds",
    "From the sending of a report's first part to its answer.",
)  # fmt: skip
REPORT_FAILURES = Metric(
    COUNTER, "computepool_agent_report_failures",
    "Reports that were not answered, by the broker's reason or the name of the gRPC status.",
    ("reason",),
)  # fmt: skip
SESSIONS = Metric(COUNTER, "computepool_agent_sessions_opened", "Sessions opened.")
SESSION_FAILURES = Metric(
    COUNTER, "computepool_agent_session_failures",
    "Attempts to open a session that failed; reason as for reports.", ("reason",),
)  # fmt: skip
RINGS = Metric(COUNTER, "computepool_agent_doorbell_rings", "Rings of the broker's doorbells.")
REFUSALS = Metric(
    COUNTER, "computepool_agent_lease_refusals", "Leases refused, by reason.", ("reason",)
)
MEASURE_SECONDS = Metric(
    HISTOGRAM, "computepool_agent_measure_seconds",
    "How long the local engine took to measure all nodes of an agent.",
)  # fmt: skip
BACKEND_ERRORS = Metric(
    COUNTER, "computepool_agent_backend_errors",
    "Errors of the local engine; action is measure, start or stop (of a lease's work).",
    ("action",),
)  # fmt: skip
COMMIT_SECONDS = Metric(
    HISTOGRAM, "computepool_agent_journal_commit_seconds",
    "How long a journal took to make a change durable.",
)  # fmt: skip
BUILD = Metric(INFO, "computepool_agent_build", "Always 1; what runs here.", ("version", "backend"))

METRICS: Final = (
    AGENTS, IN_SESSION, NODES, LEASES, ANSWER_AGE, REPORTS, REPORT_SECONDS, REPORT_FAILURES,
    SESSIONS, SESSION_FAILURES, RINGS, REFUSALS, MEASURE_SECONDS, BACKEND_ERRORS, COMMIT_SECONDS,
    BUILD,
)  # fmt: skip
"""All, in the order of docs/metrics.md; those of the process itself come from prometheus_client."""


def families(tally: Tally, about: Mapping[str, str]) -> Iterator[Family]:
    """All families, from the numbers as they are now."""
    yield AGENTS.one(len(tally.contacts))
    yield IN_SESSION.one(sum(each.in_session for each in tally.contacts))
    yield NODES.one(sum(each.nodes for each in tally.contacts))
    yield LEASES.by_name(_added(_named(each.leases) for each in tally.agents))
    yield ANSWER_AGE.one(tally.oldest_answer_s())
    yield REPORTS.by_name(_added([tally.reports]))
    yield REPORT_SECONDS.buckets(tally.report_s.bucketed())
    yield REPORT_FAILURES.by_name(_added([tally.failures.by_name]))
    yield SESSIONS.one(tally.sessions)
    yield SESSION_FAILURES.by_name(_added([tally.session_failures.by_name]))
    yield RINGS.one(tally.rings)
    yield REFUSALS.by_name(_added(each.refused for each in tally.agents))
    yield MEASURE_SECONDS.buckets(tally.measure_s.bucketed())
    yield BACKEND_ERRORS.by_name(_added([tally.backend_errors]))
    yield COMMIT_SECONDS.buckets(tally.commit_s.bucketed())
    build = InfoMetricFamily(BUILD.name, BUILD.text)
    build.add_metric((), dict(about))
    yield build


def _named(leases: Mapping[types.LeaseState, int]) -> dict[str, int]:
    name = types.LeaseState.Name
    return {name(state).removeprefix("LEASE_STATE_"): count for state, count in leases.items()}


def _added(counts: Iterable[Mapping[str, int]]) -> dict[tuple[str, ...], float]:
    sums: Counter[str] = Counter()
    for each in counts:
        # Not update() alone: what is 0 is shown, too.
        sums.update(dict.fromkeys(each, 0))
        sums.update(each)
    return {(name,): amount for name, amount in sums.items()}


class Renderer:
    """Makes pages; adds what prometheus_client knows of any process."""

    def __init__(self, about: Mapping[str, str]) -> None:
        self._about = about
        apart = CollectorRegistry()
        self._process: tuple[Collector, ...] = (ProcessCollector(registry=None), GCCollector(apart))

    def collect(self, tally: Tally) -> list[Family]:
        """Copy the numbers; on the event loop, where nothing changes them meanwhile."""
        return list(families(tally, self._about))

    def page(self, found: list[Family], openmetrics_asked: bool) -> Page:  # noqa: FBT001 - a callback
        """The answer to one scrape; in the endpoint's thread."""
        every = _Found([*found, *(family for c in self._process for family in c.collect())])
        if openmetrics_asked:
            write: Any = openmetrics.generate_latest  # it has no types
            return Page(write(every, version=_VERSION), openmetrics.CONTENT_TYPE_LATEST)
        return Page(text.generate_latest(every), text.CONTENT_TYPE_PLAIN_0_0_4)


class _Found(Collector):
    """What the writers of prometheus_client take."""

    def __init__(self, found: Iterable[Family]) -> None:
        self._found = found

    def collect(self) -> Iterable[Family]:
        """The families."""
        return self._found
