"""Pages of allocations, nodes, agents and centers: filtered, ordered, durable, in slices."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from computepool_broker.services.listed import agent_fields, allocation_fields, node_fields
from computepool_broker.services.walks import Page, Query, Rows, Table, Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from computepool_broker.ledger.state import AgentBook
    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.records import Allocation
    from computepool_broker.services.pool import Pool

    Stage = Callable[[Transaction], Outcome]

R = TypeVar("R")
W = TypeVar("W")
SLICE_S = 0.005
"""Of one job: a page that needs longer goes on in the next batch, after those who wait."""
SLICE_WEIGHT = 50
"""What a slice costs, in grants of one part (services/committer.py)."""


class Allocations:
    """All allocations, by id."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def after(self, name: str) -> Iterator[tuple[str, Allocation]]:
        """Allocations with an id above `name`, by id."""
        state = self._pool.state
        for key in state.allocation_ids.after(name):
            allocation = state.allocations.get(key)
            if allocation is not None:
                yield key, allocation

    def get(self, name: str) -> Allocation | None:
        """The allocation, if it is still there."""
        return self._pool.state.allocations.get(name)


class ListService:
    """What lists can be asked for.

    Attributes:
        allocation_fields: What allocations are filtered and ordered by.
        node_fields: The same of nodes.
        agent_fields: The same of agents.
    """

    def __init__(self, pool: Pool, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock_s = clock_s
        self._names: list[str] = []
        self._names_at = -1
        self.allocation_fields = allocation_fields(pool)
        self.node_fields = node_fields(pool)
        self.agent_fields = agent_fields(pool)

    async def allocations(
        self, query: Query[Allocation], show: Callable[[Allocation], tuple[W, int]]
    ) -> Page[W]:
        """A page of allocations; `show` runs where they are read, and tells a row's bytes."""
        return await self._durably(Allocations(self._pool), query, show)

    async def nodes(
        self, query: Query[NodeBook], show: Callable[[NodeBook], tuple[W, int]]
    ) -> Page[W]:
        """A page of nodes."""
        return await self._durably(Table(self._pool.state.nodes, self._node_names), query, show)

    async def agents(
        self, query: Query[AgentBook], show: Callable[[AgentBook], tuple[W, int]]
    ) -> Page[W]:
        """A page of agents."""
        return await self._durably(Table(self._pool.state.agents), query, show)

    async def values(
        self, rows: Rows[R], query: Query[R], show: Callable[[R], tuple[W, int]]
    ) -> Page[W]:
        """A page of rows that are durable and nobody changes."""
        walk = Walk(rows, query, show, self._clock_s)
        while not walk.step(SLICE_S):  # noqa: ASYNC110 - waits for nobody: lets others run
            await asyncio.sleep(0)
        return walk.page

    async def _durably(
        self, rows: Rows[R], query: Query[R], show: Callable[[R], tuple[W, int]]
    ) -> Page[W]:
        walk = Walk(rows, query, show, self._clock_s)
        submit = self._pool.committer.submit
        while not await submit(lambda _: walk.step(SLICE_S), SLICE_WEIGHT):
            pass
        return walk.page

    def _node_names(self) -> list[str]:
        """Names of all nodes, sorted anew only when some have come or gone."""
        layout = self._pool.columns.layout
        if layout != self._names_at:
            self._names, self._names_at = sorted(self._pool.state.nodes), layout
        return self._names
