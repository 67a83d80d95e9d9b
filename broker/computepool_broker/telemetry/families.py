"""Turns a snapshot into metric families. Pure; runs in the thread that writes the answer.

May import prometheus_client, metrics and the types of figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from computepool_broker.services.tally import OTHER
from computepool_broker.services.view import Sums
from computepool_broker.telemetry import metrics as m

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import HistogramMetricFamily
    from prometheus_client.metrics_core import Metric as Family

    from computepool_broker.services.tally import Bucketed
    from computepool_broker.telemetry.figures import Snapshot, View

MOST_CENTERS: Final = 1_000
MOST_REGIONS: Final = 100
MOST_MODELS: Final = 200
"""Beyond these, by name, all others are one: OTHER."""


class About(NamedTuple):
    """What runs here."""

    version: str
    store: str


def families(snapshot: Snapshot, about: About) -> Iterator[Family]:
    """All families; those about the tables are left out before they could be read once."""
    yield from _calls(snapshot)
    yield from _work(snapshot)
    if snapshot.view is not None:
        yield from _capacity(snapshot.view)
        yield from _population(snapshot.view)
        yield _one(m.VIEW_AGE, snapshot.view_age_s)
    yield from _life(snapshot)
    yield from _audit(snapshot)
    build = m.BUILD.info()
    build.add_metric((), about._asdict())
    yield build


def _one(metric: m.Metric, value: float) -> Family:
    """A family with one sample and no labels."""
    if metric.kind == m.COUNTER:
        counter = metric.counter()
        counter.add_metric((), value)
        return counter
    gauge = metric.gauge()
    gauge.add_metric((), value)
    return gauge


def _by_name(metric: m.Metric, amounts: Mapping[str, float]) -> Family:
    """A family with one label."""
    family = metric.counter() if metric.kind == m.COUNTER else metric.gauge()
    for name, amount in amounts.items():
        family.add_metric((name,), amount)
    return family


def _fill(family: HistogramMetricFamily, labels: tuple[str, ...], of: Bucketed) -> None:
    buckets, so_far = [], 0
    for bound, count in zip((*map(str, of.bounds), "+Inf"), of.counts, strict=True):
        so_far += count
        buckets.append((bound, so_far))
    family.add_metric(labels, buckets, of.total)


def _histogram(metric: m.Metric, of: Bucketed) -> Family:
    family = metric.histogram()
    _fill(family, (), of)
    return family


def _calls(snapshot: Snapshot) -> Iterator[Family]:
    ended, seconds, opened = m.CALLS.counter(), m.CALL_SECONDS.histogram(), m.OPEN_CALLS.gauge()
    for method, calls in snapshot.calls.items():
        for code, count in calls.ended.items():
            ended.add_metric((method, code), count)
        opened.add_metric((method, "stream" if calls.seconds is None else "unary"), calls.open)
        if calls.seconds is not None:
            _fill(seconds, (method,), calls.seconds)
    yield from (ended, seconds, opened)
    yield _by_name(m.ERRORS, snapshot.counts["errors"])


def _work(snapshot: Snapshot) -> Iterator[Family]:
    phases, numbers = snapshot.phases, snapshot.numbers
    yield _histogram(m.QUEUE_SECONDS, phases["queue"])
    yield _histogram(m.RUN_SECONDS, phases["run"])
    yield _histogram(m.PLAN_SECONDS, phases["plan"])
    yield _histogram(m.COMMIT_SECONDS, phases["commit"])
    yield _histogram(m.ADMIT_SECONDS, phases["admit"])
    yield _histogram(m.BATCH_JOBS, phases["jobs"])
    yield _histogram(m.WATCH_LAG, phases["watch_lag"])
    yield _one(m.QUEUED, numbers["queued"])
    yield _one(m.COMMITS_OPEN, numbers["commits_open"])


# -- capacity ------------------------------------------------------------------------------


def _capacity(view: View) -> Iterator[Family]:
    regions = _bounded(sorted(set(view.regions.values())), MOST_REGIONS)
    centers = _bounded(sorted(view.centers), MOST_CENTERS)
    places = {
        name: (regions[view.regions[name]], shown) if shown != OTHER else (OTHER, OTHER)
        for name, shown in centers.items()
    }
    yield from _devices(view, places)
    yield from _by_region(view, regions)
    yield from _nodes(view, places)
    yield from _ages(view, places)


def _bounded(names: Iterable[str], most: int) -> dict[str, str]:
    """Each name as it is shown."""
    return {name: name if at < most else OTHER for at, name in enumerate(names)}


def _devices(view: View, places: Mapping[str, tuple[str, str]]) -> Iterator[Family]:
    by_place: dict[tuple[str, ...], list[Sums]] = {}
    models = _bounded(sorted({m for c in view.centers.values() for m in c.models}), MOST_MODELS)
    by_model: dict[tuple[str, ...], list[Sums]] = {}
    for name, center in view.centers.items():
        by_place.setdefault(places[name], []).extend(center.models.values())
        for model, sums in center.models.items():
            by_model.setdefault((models[model],), []).append(sums)
    yield _sums(m.DEVICES, by_place, _of_milli)
    yield _sums(m.MODEL_DEVICES, by_model, _of_milli)


def _by_region(view: View, regions: Mapping[str, str]) -> Iterator[Family]:
    for metric, key, unit in (
        (m.CPU, "cpu_milli", _of_milli),
        (m.MEMORY, "memory_mib", _of_mib),
        (m.DISK, "disk_mib", _of_mib),
    ):
        found: dict[tuple[str, ...], list[Sums]] = {}
        for name, center in view.centers.items():
            found.setdefault((regions[view.regions[name]],), []).append(center.fixed[key])
        yield _sums(metric, found, unit)


def _of_milli(amount: int) -> float:
    return amount / 1000


def _of_mib(amount: int) -> float:
    return amount * 1024 * 1024


def _sums(
    metric: m.Metric, found: Mapping[tuple[str, ...], list[Sums]], unit: Callable[[int], float]
) -> Family:
    """One sample for each place and each field of Sums, in whole units."""
    family = metric.gauge()
    for place, parts in found.items():
        totals = [sum(column) for column in zip(*parts, strict=True)] or [0] * len(Sums._fields)
        for kind, amount in zip(Sums._fields, totals, strict=True):
            family.add_metric((*place, kind), unit(amount))
    return family


def _nodes(view: View, places: Mapping[str, tuple[str, str]]) -> Iterator[Family]:
    fields: tuple[tuple[m.Metric, str], ...] = (
        (m.NODES, "nodes"),
        (m.NODES_SCHEDULABLE, "schedulable"),
    )
    for metric, field in fields:
        counts: dict[tuple[str, str], int] = {}
        for name, center in view.centers.items():
            counts[places[name]] = counts.get(places[name], 0) + getattr(center, field)
        family = metric.gauge()
        for place, count in counts.items():
            family.add_metric(place, count)
        yield family


def _ages(view: View, places: Mapping[str, tuple[str, str]]) -> Iterator[Family]:
    oldest: dict[tuple[str, str], int] = {}
    missing: dict[tuple[str, str], int] = {}
    for name, age_ms in view.ages_ms.items():
        place = places.get(name, (OTHER, OTHER))
        missing[place] = max(missing.get(place, 0), int(age_ms < 0))
        oldest[place] = max(oldest.get(place, 0), age_ms)
    ages, gaps = m.DATA_AGE.gauge(), m.DATA_MISSING.gauge()
    for place, gap in missing.items():
        gaps.add_metric(place, gap)
        if not gap:
            ages.add_metric(place, oldest[place] / 1000)
    yield from (ages, gaps)


# -- who is there, and what happened to them -----------------------------------------------


def _population(view: View) -> Iterator[Family]:
    yield _by_name(m.AGENTS, view.agents)
    yield _one(m.AGENTS_EXPECTED, view.agents_expected)
    yield _by_name(m.ALLOCATIONS, view.allocations)
    yield _one(m.REVISION, view.revision)
    yield _one(m.EPOCH, view.epoch)


def _life(snapshot: Snapshot) -> Iterator[Family]:
    counts, numbers = snapshot.counts, snapshot.numbers
    yield _one(m.GRANTS, numbers["granted"])
    yield _one(m.ADOPTIONS, numbers["adopted"])
    yield _by_name(m.REFUSALS, counts["refusals"])
    yield _by_name(m.ENDS, counts["ended"])
    yield _by_name(m.REPORTS, counts["reports"])
    yield _one(m.REPORT_NODES, numbers["report_nodes"])
    yield _by_name(m.LEASE_REFUSALS, counts["lease_refusals"])
    yield _one(m.SESSIONS, numbers["sessions"])
    yield _one(m.WARMING_UP, numbers["warming_up"])
    yield _one(m.MASS_SILENCE, numbers["mass_silence"])


def _audit(snapshot: Snapshot) -> Iterator[Family]:
    yield _one(m.AUDITS, snapshot.numbers["audits"])
    if snapshot.audit is not None:
        yield _by_name(m.AUDIT_FINDINGS, snapshot.audit.findings)
        yield _one(m.AUDIT_TIME, snapshot.audit.ended_s)
        yield _one(m.AUDIT_SECONDS, snapshot.audit.took_s)
