"""One Redis primary: checks and applies commits one after the other, and keeps the stream. Pure.

It works in turns, as Redis does: it reads what has come from all connections, serves it, syncs
its log once (with appendfsync always), then answers all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulation.costs import US
from simulation.pool import CPU_A_DEVICE_MILLI

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.costs import Costs
    from simulation.pool import Held, Nodes


class Change(NamedTuple):
    """One transaction: devices taken or given back, or neither."""

    take: Held | None = None
    give: Held | None = None


class Entry(NamedTuple):
    """One commit in the stream: what its rows are after it.

    Attributes:
        at_s: When it was written.
        seat: Who wrote it.
        changes: Transactions in it.
    """

    at_s: float
    seat: int
    changes: int
    rows: NDArray[np.intp]
    free: NDArray[np.uint8]
    cpu: NDArray[np.int32]


@dataclass(slots=True)
class Commit:
    """On its way from a broker to Redis and back.

    Attributes:
        place: Entries of the stream that the broker has folded already.
        accepted: By change; filled in by Redis.
        upto: Entries that come back with the answer end here.
    """

    seat: int
    place: int
    changes: list[Change]
    accepted: list[bool] = field(default_factory=list)
    upto: int = 0


class Shard:
    """The tables of one primary.

    Attributes:
        stream: All entries.
        queue: Commits that have come and wait for the next turn.
        busy_s: Time spent working.
        reads: Entries read by followers that the next turn has to pay for.
        turning: A turn is under way.
        granted, rejected: Changes that take devices.
        commits: Changes of all kinds that were accepted.
    """

    def __init__(self, nodes: Nodes, costs: Costs) -> None:
        self._free: list[int] = nodes.free.tolist()
        self._cpu: list[int] = nodes.cpu.tolist()
        self._costs = costs
        self.stream: list[Entry] = []
        self.queue: list[Commit] = []
        self.busy_s = 0.0
        self.reads = 0
        self.turning = False
        self.granted = self.rejected = self.commits = 0

    def turn(self, now_s: float) -> tuple[float, list[Commit]]:
        """Serve what waits; when the answers leave, and for whom."""
        costs, commits, self.queue = self._costs, self.queue, []
        at_s = now_s + self.reads * costs.read_us * US
        self.reads = 0
        for commit in commits:
            entries = len(self.stream) - commit.place
            us = costs.call_us + costs.append_us + entries * costs.read_us
            at_s += (us + len(commit.changes) * costs.transaction_us) * US
            self._serve(commit, at_s)
        at_s += costs.fsync_us * US
        self.busy_s += at_s - now_s
        return at_s, commits

    def free_of(self, row: int) -> int:
        """Free devices of a node, as bits."""
        return self._free[row]

    def _serve(self, commit: Commit, at_s: float) -> None:
        rows: dict[int, None] = {}
        for change in commit.changes:
            fits = change.take is None or self._fits(change.take)
            commit.accepted.append(fits)
            if not fits:
                self.rejected += 1
                continue
            self.commits += 1
            if change.give is not None:
                self._give(change.give)
                rows[change.give.row] = None
            if change.take is not None:
                self.granted += 1
                self._put(change.take, self._free[change.take.row] & ~change.take.mask)
                rows[change.take.row] = None
        changed = list(rows)
        entry = Entry(
            at_s,
            commit.seat,
            sum(commit.accepted),
            np.array(changed, dtype=np.intp),
            np.array([self._free[row] for row in changed], dtype=np.uint8),
            np.array([self._cpu[row] for row in changed], dtype=np.int32),
        )
        self.stream.append(entry)
        commit.upto = len(self.stream)

    def _fits(self, held: Held) -> bool:
        cpu = held.mask.bit_count() * CPU_A_DEVICE_MILLI
        return not held.mask & ~self._free[held.row] and self._cpu[held.row] >= cpu

    def _give(self, held: Held) -> None:
        if self._free[held.row] & held.mask:
            raise AssertionError(f"devices of row {held.row} come back twice")
        self._put(held, self._free[held.row] | held.mask)

    def _put(self, held: Held, free: int) -> None:
        was = self._free[held.row]
        self._free[held.row] = free
        self._cpu[held.row] += (free.bit_count() - was.bit_count()) * CPU_A_DEVICE_MILLI
