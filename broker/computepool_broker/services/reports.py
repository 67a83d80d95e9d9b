"""Putting reports together that come in parts. A report counts only when it is complete."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from computepool_broker.errors import InvalidArgumentError, ReportOutOfOrderError

if TYPE_CHECKING:
    from computepool_broker.services.messages import Report

MAX_PARTS = 1_000
MAX_NODES = 20_000
"""Nodes of one agent. They come in slices, so that nobody waits for them; but until the last part
has come all of them are kept aside, and a change of session names them all again. A larger center
runs several agents."""
MAX_LEASES = 1_000_000
"""Leases of one agent."""


class _Names:
    """Names that a report has said, and those that it has said are gone: each only once."""

    def __init__(self, field: str, most: int) -> None:
        self._field = field
        self._most = most
        self._there: set[str] = set()
        self._gone: set[str] = set()

    def add(self, there: list[str], gone: list[str]) -> None:
        """Add what a part names.

        Raises:
            InvalidArgumentError: Too many, or one of them twice.
        """
        gone_field = f"{self._field}_gone"
        _add(self._field, self._there, there, self._most)
        _add(gone_field, self._gone, gone, self._most)
        if not (self._gone.isdisjoint(there) and self._there.isdisjoint(gone)):
            both = min(self._there & self._gone)
            raise InvalidArgumentError(gone_field, f"{both!r} is in {self._field} too")


class _Open:
    """A report that is not complete yet."""

    def __init__(self) -> None:
        self.report: Report | None = None
        self._nodes = _Names("nodes", MAX_NODES)
        self._leases = _Names("leases", MAX_LEASES)

    def add(self, part: Report) -> Report:
        """Add a part; gives all that has come.

        Raises:
            InvalidArgumentError: Too much, or the same node or lease twice.
        """
        self._nodes.add([n.name for n in part.nodes], part.nodes_gone)
        self._leases.add([h.lease_id for h in part.held], part.leases_gone)
        so_far = self.report
        if so_far is None:
            self.report = part
            return part
        so_far.nodes.extend(part.nodes)
        so_far.held.extend(part.held)
        so_far.nodes_gone.extend(part.nodes_gone)
        so_far.leases_gone.extend(part.leases_gone)
        self.report = part._replace(
            nodes=so_far.nodes,
            held=so_far.held,
            nodes_gone=so_far.nodes_gone,
            leases_gone=so_far.leases_gone,
            nodes_unchanged=so_far.nodes_unchanged and part.nodes_unchanged,
            oldest_ms=max(so_far.oldest_ms, part.oldest_ms),
        )
        return self.report


class Reports:
    """Parts that have come so far, by agent: at most one unfinished report each."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}

    def take(self, part: Report) -> Report | None:
        """Add a part; returns the whole report when this was its last part.

        Raises:
            ReportOutOfOrderError: Not the part whose turn it is.
            InvalidArgumentError: Too much, or the same node or lease twice.
        """
        report = self._open.pop(part.agent, None)
        if part.part == 0:
            report = _Open()
        elif report is None or not _is_next(report.report, part):
            raise ReportOutOfOrderError(
                f"part {part.part} of report {part.sequence} came out of turn; "
                "start again at part 0"
            )
        so_far = report.add(part)
        if part.part + 1 == part.parts:
            return so_far
        self._open[part.agent] = report
        return None

    def forget(self, agent: str) -> None:
        """Drop what has come of an agent's unfinished report."""
        self._open.pop(agent, None)


def _is_next(so_far: Report | None, part: Report) -> bool:
    return (
        so_far is not None
        and so_far.sequence == part.sequence
        and so_far.session == part.session
        and so_far.parts == part.parts
        and so_far.delta == part.delta
        and so_far.base_sequence == part.base_sequence
        and so_far.part + 1 == part.part
    )


def _add(field: str, known: set[str], names: list[str], most: int) -> None:
    """Add names that must be new.

    Raises:
        InvalidArgumentError: Too many, or one of them twice.
    """
    before = len(known)
    if before + len(names) > most:
        raise InvalidArgumentError(field, f"more than {most} of one agent")
    if not known.isdisjoint(names):
        raise InvalidArgumentError(field, f"{min(known.intersection(names))!r} is listed twice")
    known.update(names)
    if len(known) != before + len(names):
        ((twice, _),) = Counter(names).most_common(1)
        raise InvalidArgumentError(field, f"{twice!r} is listed twice")
