"""Writes a snapshot as text for Prometheus. Runs in the endpoint's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import GCCollector, ProcessCollector
from prometheus_client import exposition as text
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

from computepool_broker.telemetry.endpoint import Page
from computepool_broker.telemetry.families import About, families

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.metrics_core import Metric as Family

    from computepool_broker.telemetry.figures import Snapshot

VERSION: Final = "1.0.0"
"""Of OpenMetrics."""


class Renderer:
    """Makes pages; adds what prometheus_client knows of any process."""

    def __init__(self, about: About) -> None:
        self._about = about
        apart = CollectorRegistry()
        self._process: tuple[Collector, ...] = (ProcessCollector(registry=None), GCCollector(apart))

    def page(self, snapshot: Snapshot, openmetrics_asked: bool) -> Page:  # noqa: FBT001 - a callback
        """The answer to one scrape."""
        found = _Found(self._all(snapshot))
        if openmetrics_asked:
            write: Any = openmetrics.generate_latest  # it has no types
            return Page(write(found, version=VERSION), openmetrics.CONTENT_TYPE_LATEST)
        return Page(text.generate_latest(found), text.CONTENT_TYPE_PLAIN_0_0_4)

    def _all(self, snapshot: Snapshot) -> Iterator[Family]:
        yield from families(snapshot, self._about)
        for collector in self._process:
            yield from collector.collect()


class _Found(Collector):
    """What the writers of prometheus_client take."""

    def __init__(self, found: Iterable[Family]) -> None:
        self._found = found

    def collect(self) -> Iterable[Family]:
        """The families."""
        return self._found
