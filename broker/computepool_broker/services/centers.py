"""What there is to say of each center, as values that can be compared and shown later.

Read in a job of the committer, so that nothing is told before it is durable. Ages are kept as
the moments that they count from: a number that only grows older has not changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.model.records import AgentState
from computepool_broker.services.pool import NEVER

if TYPE_CHECKING:
    from computepool_broker.ledger.state import AgentBook
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.view import CenterSums


class CenterFacts(NamedTuple):
    """One center.

    Attributes:
        sums: None without nodes.
        agents: Its agents; `agents_active` of them report in time.
        cordoned: By order of an operator; `cordon_message` says why.
        observed_ms: Service clock at the oldest of its agents' last looks at their nodes; NEVER
            when one has not reported since the broker's start, or there are no nodes.
    """

    name: str
    region: str
    role: str
    sums: CenterSums | None
    agents: int
    agents_active: int
    cordoned: bool
    cordon_message: str
    observed_ms: int


def facts_of(pool: Pool, sums: dict[str, CenterSums]) -> list[CenterFacts]:
    """Every center that has an agent or a node, by name."""
    columns, state = pool.columns, pool.state
    places = {name: (columns.center_regions[columns.centers[name]], "") for name in sums}
    agents: dict[str, list[AgentBook]] = {}
    for book in state.agents.values():
        record = book.record
        places[record.center] = (record.region, record.role)
        agents.setdefault(record.center, []).append(book)
    out = []
    for name in sorted(places):
        cordon, theirs = state.centers.get(name), agents.get(name, [])
        cordoned = cordon is not None and cordon.cordoned
        out.append(
            CenterFacts(
                name,
                *places[name],
                sums.get(name),
                len(theirs),
                sum(a.state is AgentState.ACTIVE for a in theirs),
                cordoned,
                cordon.message if cordon is not None and cordoned else "",
                _oldest(pool, theirs),
            )
        )
    return out


def _oldest(pool: Pool, agents: list[AgentBook]) -> int:
    """Service clock at the oldest of the agents' last reports of nodes."""
    oldest: int | None = None
    for book in agents:
        if book.nodes:
            life = pool.lives.get(book.record.name)
            if life is None or life.observed_ms == NEVER:
                return NEVER
            oldest = life.observed_ms if oldest is None else min(oldest, life.observed_ms)
    return NEVER if oldest is None else oldest
