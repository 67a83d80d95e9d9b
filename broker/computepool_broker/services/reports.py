"""Putting reports together that come in parts. A report counts only when it is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.errors import InvalidArgumentError, ReportOutOfOrderError

if TYPE_CHECKING:
    from computepool_broker.services.messages import Report

MAX_PARTS = 1_000
MAX_NODES = 20_000
"""Nodes of one agent: taking them all in takes about 2 s, in which nobody else is answered. A
larger center runs several agents."""
MAX_LEASES = 1_000_000
"""Leases of one agent."""


class Reports:
    """Parts that have come so far, by agent: at most one unfinished report each."""

    def __init__(self) -> None:
        self._open: dict[str, Report] = {}

    def take(self, report: Report) -> Report | None:
        """Add a part; returns the whole report when this was its last part.

        Raises:
            ReportOutOfOrderError: Not the part whose turn it is.
            InvalidArgumentError: Too much, or the same node or lease twice.
        """
        if report.part == 0:
            self._open.pop(report.agent, None)
            whole = report
        else:
            whole = self._joined(report)
        if len(whole.nodes) > MAX_NODES:
            self._open.pop(report.agent, None)
            raise InvalidArgumentError("nodes", f"more than {MAX_NODES} of one agent")
        if len(whole.held) > MAX_LEASES:
            self._open.pop(report.agent, None)
            raise InvalidArgumentError("leases", f"more than {MAX_LEASES} of one agent")
        if report.part + 1 < report.parts:
            self._open[report.agent] = whole
            return None
        self._open.pop(report.agent, None)
        _check_unique("nodes", [n.name for n in whole.nodes])
        _check_unique("leases", [h.lease_id for h in whole.held])
        return whole

    def forget(self, agent: str) -> None:
        """Drop what has come of an agent's unfinished report."""
        self._open.pop(agent, None)

    def _joined(self, report: Report) -> Report:
        so_far = self._open.get(report.agent)
        in_turn = (
            so_far is not None
            and so_far.sequence == report.sequence
            and so_far.session == report.session
            and so_far.parts == report.parts
            and so_far.part + 1 == report.part
        )
        if so_far is None or not in_turn:
            self._open.pop(report.agent, None)
            raise ReportOutOfOrderError(
                f"part {report.part} of report {report.sequence} came out of turn; "
                "start again at part 0"
            )
        so_far.nodes.extend(report.nodes)
        so_far.held.extend(report.held)
        return report._replace(
            nodes=so_far.nodes,
            held=so_far.held,
            nodes_unchanged=so_far.nodes_unchanged and report.nodes_unchanged,
            oldest_ms=max(so_far.oldest_ms, report.oldest_ms),
        )


def _check_unique(field: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        seen: set[str] = set()
        twice = next(n for n in names if n in seen or seen.add(n))  # type: ignore[func-returns-value]
        raise InvalidArgumentError(field, f"{twice!r} is listed twice")
