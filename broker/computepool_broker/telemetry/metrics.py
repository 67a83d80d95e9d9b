"""Every metric of the broker: name, labels, and what it says. docs/metrics.md is made from it.

May import prometheus_client. Pure.

Names follow Prometheus: base units, `_total` for what only grows. Labels come from closed sets,
or are regions, centers and models of devices, bounded in number: never a tenant, a node, an
agent or an allocation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"
INFO: Final = "info"
_ENDINGS: Final = {COUNTER: "_total", INFO: "_info"}
CENTER: Final = ("region", "center")
KIND_TEXT: Final = (
    "kind is total, reserved, foreign, granted, free, schedulable (free where grants may go), "
    "in_flight (granted, not yet shown by a report), releasing, or overcommit"
)


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

    def counter(self) -> CounterMetricFamily:
        """An empty family of it."""
        return CounterMetricFamily(self.name, self.text, labels=self.labels)

    def gauge(self) -> GaugeMetricFamily:
        """See counter."""
        return GaugeMetricFamily(self.name, self.text, labels=self.labels)

    def histogram(self) -> HistogramMetricFamily:
        """See counter."""
        return HistogramMetricFamily(self.name, self.text, labels=self.labels)

    def info(self) -> InfoMetricFamily:
        """See counter."""
        return InfoMetricFamily(self.name, self.text, labels=self.labels)

    def family(self) -> Family:
        """An empty family of its kind."""
        made: Family = getattr(self, self.kind)()
        return made


CALLS = Metric(
    COUNTER, "computepool_rpc_calls",
    "Calls that have ended, by gRPC method and status code; CANCELLED: given up by the caller, or "
    "its deadline passed.", ("method", "code"),
)  # fmt: skip
CALL_SECONDS = Metric(
    HISTOGRAM, "computepool_rpc_seconds",
    "How long unary calls took in the broker, waits for ACTIVE included.", ("method",),
)  # fmt: skip
OPEN_CALLS = Metric(
    GAUGE, "computepool_rpc_open", "Calls and streams open now; type is unary or stream.",
    ("method", "type"),
)  # fmt: skip
ERRORS = Metric(
    COUNTER, "computepool_errors",
    "Calls, and items of batches and streams, that failed, by the error's reason.", ("reason",),
)  # fmt: skip

QUEUE_SECONDS = Metric(
    HISTOGRAM, "computepool_queue_seconds",
    "How long jobs waited until the writer took them: phase 1 of a call.",
)  # fmt: skip
RUN_SECONDS = Metric(
    HISTOGRAM, "computepool_run_seconds",
    "How long the writer ran the jobs of one batch on the event loop: phase 2.",
)  # fmt: skip
PLAN_SECONDS = Metric(
    HISTOGRAM, "computepool_plan_seconds",
    "How long one request's placement took, in phase 2.",
)  # fmt: skip
COMMIT_SECONDS = Metric(
    HISTOGRAM, "computepool_commit_seconds",
    "How long the store took to make a batch durable: phase 3.",
)  # fmt: skip
ADMIT_SECONDS = Metric(
    HISTOGRAM, "computepool_admit_seconds",
    "From a grant until all its agents had admitted it: phase 4; by the time of day.",
)  # fmt: skip
BATCH_JOBS = Metric(HISTOGRAM, "computepool_batch_jobs", "Jobs run in one batch.")
QUEUED = Metric(GAUGE, "computepool_queued_jobs", "Weight of the jobs that wait for the writer.")
COMMITS_OPEN = Metric(GAUGE, "computepool_commits_open", "Commits under way in the store.")

DEVICES = Metric(
    GAUGE, "computepool_devices",
    f"Devices of a center, shares as fractions; {KIND_TEXT}.", (*CENTER, "kind"),
)  # fmt: skip
MODEL_DEVICES = Metric(
    GAUGE, "computepool_model_devices",
    "Devices of the pool by model; kind as for computepool_devices.", ("model", "kind"),
)  # fmt: skip
CPU = Metric(
    GAUGE, "computepool_cpu_cores",
    "Processor cores of a region; kind as for computepool_devices.", ("region", "kind"),
)  # fmt: skip
MEMORY = Metric(
    GAUGE, "computepool_memory_bytes",
    "Memory of a region's nodes; kind as for computepool_devices.", ("region", "kind"),
)  # fmt: skip
DISK = Metric(
    GAUGE, "computepool_disk_bytes",
    "Disk of a region's nodes; kind as for computepool_devices.", ("region", "kind"),
)  # fmt: skip
NODES = Metric(GAUGE, "computepool_nodes", "Nodes of a center.", CENTER)
NODES_SCHEDULABLE = Metric(
    GAUGE, "computepool_nodes_schedulable", "Nodes of a center that grants may go to.", CENTER
)
DATA_AGE = Metric(
    GAUGE, "computepool_data_age_seconds",
    "Age of the oldest numbers of a center; absent while one of its agents has not reported since "
    "the broker's start.", CENTER,
)  # fmt: skip
DATA_MISSING = Metric(
    GAUGE, "computepool_data_missing",
    "1 while an agent of the center has not reported since the broker's start, else 0.", CENTER,
)  # fmt: skip
VIEW_AGE = Metric(
    GAUGE, "computepool_view_age_seconds",
    "Age of the figures about devices, nodes, agents and allocations in this answer: they are read "
    "by the writer, so a store that hangs shows here.",
)  # fmt: skip

AGENTS = Metric(GAUGE, "computepool_agents", "Known agents, by state.", ("state",))
AGENTS_EXPECTED = Metric(
    GAUGE, "computepool_agents_expected", "Agents that have yet to be back after a restart."
)
ALLOCATIONS = Metric(
    GAUGE, "computepool_allocations",
    "Allocations by state; ENDED ones are kept for --retention-s.", ("state",),
)  # fmt: skip
GRANTS = Metric(COUNTER, "computepool_grants", "Allocations granted, and durable.")
ADOPTIONS = Metric(
    COUNTER, "computepool_adoptions", "Allocations brought back from the journals of agents."
)
REFUSALS = Metric(
    COUNTER, "computepool_refusals",
    "Requests without room, by what stopped the center that lacked least; NO_CENTER, BEYOND_POOL "
    "and WARMING_UP are said of the whole pool.", ("reason",),
)  # fmt: skip
ENDS = Metric(
    COUNTER, "computepool_ends",
    "Allocations that ended for their tenants, by reason; EXPIRED is the expirations.",
    ("reason",),
)  # fmt: skip

REPORTS = Metric(
    COUNTER, "computepool_reports",
    "Reports of agents, by what became of them: complete ones are full, delta or unchanged; part: "
    "more has to follow; want_full: must be made anew; rejected.", ("kind",),
)  # fmt: skip
REPORT_NODES = Metric(COUNTER, "computepool_report_nodes", "Nodes that reports had numbers of.")
LEASE_REFUSALS = Metric(
    COUNTER, "computepool_lease_refusals", "Leases that agents refused, by reason.", ("reason",)
)
SESSIONS = Metric(COUNTER, "computepool_sessions_opened", "Sessions opened by agents.")

AUDITS = Metric(COUNTER, "computepool_audits", "Audits that have ended.")
AUDIT_FINDINGS = Metric(
    GAUGE, "computepool_audit_findings", "What the last audit found, by kind.", ("kind",)
)
AUDIT_TIME = Metric(
    GAUGE, "computepool_audit_timestamp_seconds", "When the last audit ended, since 1970."
)
AUDIT_SECONDS = Metric(GAUGE, "computepool_audit_seconds", "How long the last audit took.")

WATCH_LAG = Metric(
    HISTOGRAM, "computepool_watch_lag_seconds",
    "From a change's being durable to its having been written to a watcher of allocations.",
)  # fmt: skip
REVISION = Metric(GAUGE, "computepool_store_revision", "Commits of the store, of all its lives.")
EPOCH = Metric(GAUGE, "computepool_store_epoch", "Epoch of the store; it rises when history broke.")
WARMING_UP = Metric(
    GAUGE, "computepool_warming_up", "1 while agents are awaited after a start, else 0."
)
MASS_SILENCE = Metric(
    GAUGE, "computepool_mass_silence",
    "1 while most centers are silent and LOST is frozen for it, else 0.",
)  # fmt: skip
BUILD = Metric(INFO, "computepool_build", "Always 1; what runs here.", ("version", "store"))

METRICS: Final = (
    CALLS, CALL_SECONDS, OPEN_CALLS, ERRORS,
    QUEUE_SECONDS, RUN_SECONDS, PLAN_SECONDS, COMMIT_SECONDS, ADMIT_SECONDS, BATCH_JOBS, QUEUED,
    COMMITS_OPEN,
    DEVICES, MODEL_DEVICES, CPU, MEMORY, DISK, NODES, NODES_SCHEDULABLE, DATA_AGE, DATA_MISSING,
    VIEW_AGE,
    AGENTS, AGENTS_EXPECTED, ALLOCATIONS, GRANTS, ADOPTIONS, REFUSALS, ENDS,
    REPORTS, REPORT_NODES, LEASE_REFUSALS, SESSIONS,
    AUDITS, AUDIT_FINDINGS, AUDIT_TIME, AUDIT_SECONDS,
    WATCH_LAG, REVISION, EPOCH, WARMING_UP, MASS_SILENCE, BUILD,
)  # fmt: skip
"""All, in the order of docs/metrics.md; those of the process itself come from prometheus_client."""
