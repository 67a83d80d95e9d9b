"""Parts that lie evenly over nodes, centers or regions. Pure.

A domain counts when it has a node that the request's regions, centers, labels and models allow,
whether there is room on it or not; that and the meaning of the skew are those of topology spread
constraints with DoNotSchedule in Kubernetes
(https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/).

Parts are filled level by level: each goes to a domain that has fewest so far, among those with
room, until the next one would lie more than `max_skew` above the emptiest domain of all. No other
way places more:

    Let r(d) be the room of domain d, r the least of all r(d), k the skew. In any spread that is
    allowed the emptiest domain has at most r parts, so no domain has more than r + k, and domain
    d has at most min(r(d), r + k). Level by level every domain reaches exactly that before the
    filling stops: up to level r all domains rise together, with a skew of at most 1; above it
    only those with room rise, by at most k. So the sum of min(r(d), r + k) is the most that can
    be placed, and any smaller number of parts is placed on the way there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from computepool_broker.model.request import SpreadOver
from computepool_broker.placement.filters import CompiledShape, eligible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from computepool_broker.model.request import Spread
    from computepool_broker.placement.columns import Columns


class Domains(NamedTuple):
    """The domains of a request.

    Attributes:
        of_row: Number of the domain of every row.
        counts: By number, whether the domain counts.
    """

    of_row: NDArray[np.int64]
    counts: NDArray[np.bool_]

    def room(self, fit: NDArray[np.int64]) -> NDArray[np.int64]:
        """Parts that each domain could take by itself."""
        summed = np.bincount(self.of_row, weights=fit, minlength=len(self.counts))
        return np.where(self.counts, summed.astype(np.int64), 0)

    def best(self, packed: NDArray[np.int64]) -> NDArray[np.int64]:
        """The greatest key in each domain; 0 where no row fits."""
        out = np.zeros(len(self.counts), dtype=np.int64)
        np.maximum.at(out, self.of_row, packed)
        return out


def domains(columns: Columns, compiled: CompiledShape, over: SpreadOver) -> Domains:
    """The domains that the request allows."""
    if over is SpreadOver.NODES:
        of_row = np.arange(columns.size, dtype=np.int64)
        return Domains(of_row, eligible(columns, compiled))
    of_row = columns.center[: columns.size].astype(np.int64)
    count = len(columns.centers)
    if over is SpreadOver.REGIONS:
        numbers = {name: n for n, name in enumerate(sorted(set(columns.center_regions)))}
        count = len(numbers)
        of_center = np.array([numbers[name] for name in columns.center_regions], dtype=np.int64)
        of_row = of_center[of_row] if len(of_center) else of_row
    allowed = of_row[eligible(columns, compiled)]
    return Domains(of_row, np.bincount(allowed, minlength=count) > 0)


def most_parts(room: NDArray[np.int64], counts: NDArray[np.bool_], max_skew: int) -> int:
    """The most parts that can be spread over the domains that count."""
    here = room[counts]
    return int(np.minimum(here, here.min() + max_skew).sum()) if len(here) else 0


def least_skew(room: NDArray[np.int64], counts: NDArray[np.bool_], parts: int) -> int | None:
    """The least skew with which so many parts fit, or None when none does."""
    here = room[counts]
    if int(here.sum()) < parts:
        return None
    low, high = 1, parts  # with a skew of all parts every domain may be filled up
    while low < high:
        middle = (low + high) // 2
        if most_parts(room, counts, middle) >= parts:
            high = middle
        else:
            low = middle + 1
    return low


def fill(
    room: NDArray[np.int64],
    counts: NDArray[np.bool_],
    best: NDArray[np.int64],
    parts: int,
    max_skew: int,
) -> NDArray[np.int64] | None:
    """Parts of each domain, or None when they cannot be spread.

    Args:
        room: Parts that each domain could take.
        counts: Whether it counts.
        best: Its best node's key: of equal domains the one with the greater goes first.
        parts: How many parts.
        max_skew: The allowed skew.
    """
    if most_parts(room, counts, max_skew) < parts:
        return None
    most = np.where(counts, np.minimum(room, room[counts].min() + max_skew), 0)
    low, high = 1, parts
    while low < high:  # the least level at which there is room for all
        level = (low + high) // 2
        if int(np.minimum(most, level).sum()) >= parts:
            high = level
        else:
            low = level + 1
    out: NDArray[np.int64] = np.minimum(most, low - 1)
    highest = np.flatnonzero(most >= low)
    last = parts - int(out.sum())
    out[highest[np.argsort(best[highest])[::-1][:last]]] += 1
    return out


def allowed_again(
    found: Domains, others: Sequence[int], former: int, spread: Spread
) -> NDArray[np.bool_]:
    """Domains that may take a part which has to leave its place.

    The parts then lie as evenly as was asked for; or, where domains that came since have made that
    impossible, at least no less evenly than before.

    Args:
        found: The domains now.
        others: Domains of the other parts; those that no longer count are left out.
        former: Domain of the part's former place, -1 when it does not count any more.
        spread: What was asked for.
    """
    at = np.bincount(np.array(others, dtype=np.int64), minlength=len(found.counts))
    before = at.copy()
    if former >= 0:
        before[former] += 1
    limit = max(spread.max_skew, _skew(before, found.counts))
    out = np.zeros(len(found.counts), dtype=np.bool_)
    ranked = np.sort(at[found.counts])
    if not len(ranked):
        return out
    least, highest = int(ranked[0]), int(ranked[-1])
    # Alone at the bottom, a domain raises the bottom by taking the part.
    alone = len(ranked) == 1 or int(ranked[1]) > least
    raised = np.where((at == least) & alone, least + 1, least)
    top = np.maximum(at + 1, highest)
    out[found.counts] = (top - raised)[found.counts] <= limit
    return out


def _skew(at: NDArray[np.int64], counts: NDArray[np.bool_]) -> int:
    here = at[counts]
    return int(here.max() - here.min()) if len(here) else 0
