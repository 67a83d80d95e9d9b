"""Put the daemons' metrics into docs/metrics.md, or with --check compare.

The tables between the marks of the page are made from the lists in the broker's and the agents'
telemetry/metrics.py; the rest of the page is written by hand.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from computepool_agents.telemetry import metrics as agents
from computepool_broker.telemetry import metrics as broker

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "metrics.md"
END = "<!-- end of metrics -->"
_SUFFIXES = {"histogram": ", with `_bucket`, `_sum`, `_count`"}


class Metric(Protocol):
    """What both daemons say of a metric."""

    @property
    def kind(self) -> str:
        """Of counter, gauge, histogram, info."""

    @property
    def shown(self) -> str:
        """The name in queries."""

    @property
    def text(self) -> str:
        """What it says."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its labels."""


SECTIONS: dict[str, Iterable[Metric]] = {
    "broker": broker.METRICS,
    "agent": agents.METRICS,
}


def begin(section: str) -> str:
    """Return the mark that a section's table follows."""
    package = {"broker": "computepool_broker", "agent": "computepool_agents"}[section]
    return (
        f"<!-- metrics of the {section}: made by tools/metrics_doc.py from {package}/telemetry -->"
    )


def table(found: Iterable[Metric]) -> str:
    """Return one row per metric."""
    head = ["| metric | kind | labels | what it says |", "|---|---|---|---|"]
    return "".join(f"{line}\n" for line in [*head, *map(_row, found)])


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    kind = metric.kind + _SUFFIXES.get(metric.kind, "")
    return f"| `{metric.shown}` | {kind} | {labels} | {metric.text} |"


def filled(page: str) -> str:
    """Return the page with the present tables between its marks.

    Raises:
        ValueError: The page lacks a mark, or has one twice.
    """
    for section, found in SECTIONS.items():
        mark = begin(section)
        if page.count(mark) != 1:
            raise ValueError(f"the page must have the mark {mark!r} once")
        before, _, rest = page.partition(mark)
        _, end, after = rest.partition(END)
        if not end:
            raise ValueError(f"the mark {mark!r} needs the mark {END!r} after it")
        page = f"{before}{mark}\n\n{table(found)}\n{END}{after}"
    return page


def main() -> int:
    """Return 0, or 1 when --check finds the page out of date or it cannot be filled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    shown = PAGE.relative_to(ROOT)
    try:
        old = PAGE.read_text(encoding="utf-8")
        new = filled(old)
    except (OSError, ValueError) as error:
        print(f"{shown}: {error}")
        return 1
    if old == new:
        return 0
    if check:
        print(f"{shown} is out of date; run `python tools/metrics_doc.py`")
        return 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
