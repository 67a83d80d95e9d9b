"""Draining a node or a center: cordon it, then say who is still there until nobody is.

Nobody is evicted. The leases are counted once a second; who holds them, which looks at every
lease of the agents, is looked up when their number has changed, and otherwise now and then.
"""

from __future__ import annotations

import asyncio
import heapq
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.errors import UncordonedError
from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model.records import PartState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from computepool_broker.ledger.state import LeaseRef
    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.services.inventory import InventoryService
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.watches import Watches

    Stage = Callable[[Transaction], Outcome]

LOOK_EVERY_S = 1.0
HOLDERS_EVERY = 5
"""Looks after which the holders are looked up anew although their number is the same."""
MOST_HOLDERS = 100
SLICE_LEASES = 2_000
SLICE_WEIGHT = 64
"""Leases looked at in one job: about two milliseconds."""


class Holder(NamedTuple):
    """A lease that is still there; those that last longest come first."""

    remaining_ttl_ms: int
    allocation_id: str
    tenant: str
    node: str
    releasing: bool


class Progress(NamedTuple):
    """Who is still there."""

    leases: int
    leases_at_start: int
    holders: list[Holder]

    @property
    def what(self) -> object:
        """What of it is worth telling anew: not that time passes."""
        return self.leases, {(h.allocation_id, h.node, h.releasing) for h in self.holders}


class Drains:
    """Drains of this broker."""

    def __init__(self, pool: Pool, inventory: InventoryService, watches: Watches) -> None:
        self._pool = pool
        self._inventory = inventory
        self._watches = watches

    async def node(self, node: str, message: str) -> AsyncGenerator[Progress]:
        """Drain a node.

        Raises:
            NotFoundError: There is none.
            OverloadedError: Too many drains are open.
            UncordonedError: Somebody took the cordon back.
            StoppingError: The broker is going down.
        """
        with self._watches.one():
            await self._inventory.cordon_node(node, message, on=True)
            async for progress in self._follow(partial(self._count_node, node), node=node):
                yield progress

    async def center(self, center: str, message: str) -> AsyncGenerator[Progress]:
        """Drain a center; see `node`."""
        with self._watches.one():
            await self._inventory.cordon_center(center, message, on=True)
            count = partial(self._count_center, center)
            async for progress in self._follow(count, center=center):
                yield progress

    async def _follow(
        self, count: Callable[[Stage], int], *, node: str = "", center: str = ""
    ) -> AsyncIterator[Progress]:
        loop = asyncio.get_running_loop()
        start, told, looks = None, None, 0
        holders: list[Holder] = []
        while True:
            began_s = loop.time()
            leases = await self._pool.committer.submit(count, SLICE_WEIGHT)
            if start is None:
                start = leases
            if told is None or leases != told.leases or looks >= HOLDERS_EVERY:
                holders = await self._holders(node, center) if leases else []
                looks = 0
            looks += 1
            progress = Progress(leases, start, holders)
            if told is None or progress.what != told.what:
                yield progress
                told = progress
            if not leases:
                return
            await self._watches.nap(max(0.0, began_s + LOOK_EVERY_S - loop.time()))

    # -- in jobs ---------------------------------------------------------------------------

    def _count_node(self, node: str, _: Stage) -> int:
        book = self._pool.state.nodes.get(node)
        if book is None:
            return 0  # its agent has left it out, or was forgotten, and nothing held it
        if not book.blockers & Blocker.CORDONED:
            raise _uncordoned("node", node)
        return book.leases

    def _count_center(self, center: str, _: Stage) -> int:
        state = self._pool.state
        book = state.centers.get(center)
        if book is None or not book.cordoned:
            raise _uncordoned("center", center)
        return sum(b.leases for b in state.nodes.values() if b.record.center == center)

    def _agents(self, node: str, center: str, _: Stage) -> list[str]:
        """Agents that have such nodes."""
        state = self._pool.state
        if node:
            return [state.nodes[node].record.agent] if node in state.nodes else []
        return sorted({b.record.agent for b in state.nodes.values() if b.record.center == center})

    def _leases(self, agent: str, _: Stage) -> list[LeaseRef]:
        book = self._pool.state.agents.get(agent)
        return list(book.leases.values()) if book is not None else []

    def _look(self, refs: list[LeaseRef], node: str, center: str, _: Stage) -> list[Holder]:
        """Those of the leases that are still there, the hundred that last longest."""
        pool = self._pool
        state, now = pool.state, pool.clock.now_ms
        found = []
        for ref in refs:
            allocation = state.allocations.get(ref.allocation_id)
            if allocation is None or ref.position >= len(allocation.parts):
                continue
            part = allocation.parts[ref.position]
            there = state.nodes.get(part.node)
            if part.state is PartState.GONE or there is None:
                continue
            if part.node == node or (center and there.record.center == center):
                left_ms = pool.ttl.left_ms(allocation.id, now)
                releasing = part.state is PartState.RELEASING
                found.append(
                    Holder(left_ms, allocation.id, allocation.tenant, part.node, releasing)
                )
        return heapq.nlargest(MOST_HOLDERS, found)

    async def _holders(self, node: str, center: str) -> list[Holder]:
        submit = self._pool.committer.submit
        best: list[Holder] = []
        for agent in await submit(partial(self._agents, node, center), SLICE_WEIGHT):
            refs = await submit(partial(self._leases, agent))
            for at in range(0, len(refs), SLICE_LEASES):
                part = refs[at : at + SLICE_LEASES]
                found = await submit(partial(self._look, part, node, center), SLICE_WEIGHT)
                best = heapq.nlargest(MOST_HOLDERS, [*best, *found])
        return best


def _uncordoned(what: str, name: str) -> UncordonedError:
    return UncordonedError(f"the cordon of {what} {name!r} was taken back", metadata={what: name})
