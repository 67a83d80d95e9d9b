"""Looking at the pool, and the few things that an operator does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import structlog

from computepool_broker.errors import AgentAliveError, NotFoundError
from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.transaction import (
    Blocker,
    PutAgent,
    PutCenter,
    PutNode,
    SetBlockers,
    Transaction,
)
from computepool_broker.model.records import LIVE_STATES, AgentState, EndReason
from computepool_broker.services.view import CenterSums, sums_by_center

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.ledger.transaction import Outcome
    from computepool_broker.services.pool import Pool

    Stage = Callable[[Transaction], Outcome]

T = TypeVar("T")
MOVING_A_GRANT = 8
"""Adding up so many leases that move costs as much as a grant of one part."""
log = structlog.get_logger()


class Forgotten(NamedTuple):
    """What striking off an agent cost."""

    allocations: int
    nodes: int


class InventoryService:
    """What people and dashboards ask.

    Books change with every grant. So whoever asks says how to show them, and that is done where
    they are read: later they would hold what is not durable yet.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def view(self, show: Callable[[dict[str, CenterSums]], T]) -> T:
        """Sums over the whole pool, by center, as `show` shows them."""
        pool = self._pool
        weight = pool.look_weight + len(pool.state.moving) // MOVING_A_GRANT
        return await pool.committer.submit(
            lambda _: show(sums_by_center(pool.columns, pool.state)), weight
        )

    async def forget(self, agent: str) -> Forgotten:
        """Strike off an agent that will never return.

        Raises:
            NotFoundError: There is none.
            AgentAliveError: It is not silent.
        """
        return await self._pool.committer.submit(lambda stage: self._forget(stage, agent))

    def _forget(self, stage: Stage, agent: str) -> Forgotten:
        state = self._pool.state
        book = state.agents.get(agent)
        if book is None:
            raise NotFoundError(f"no agent {agent!r}", metadata={"agent": agent})
        if book.state in (AgentState.ACTIVE, AgentState.RECONCILING):
            raise AgentAliveError(
                f"agent {agent!r} is alive; stop it first", metadata={"agent": agent}
            )
        by_allocation: dict[str, list[int]] = {}
        for ref in book.leases.values():
            by_allocation.setdefault(ref.allocation_id, []).append(ref.position)
        lost = 0
        for allocation_id, positions in by_allocation.items():
            allocation = state.allocations[allocation_id]
            lost += allocation.state in LIVE_STATES  # others had ended, and wait for teardown
            why = f"agent {agent} was forgotten"
            stage(lifecycle.end_and_gone(state, allocation, positions, EndReason.LOST, why))
        nodes = sorted(book.nodes)
        # Its doorbells end, too: the session is no longer there.
        self._pool.life(agent).bell.set()
        stage(Transaction(state.epoch, nodes=tuple(PutNode(n, None) for n in nodes)))
        stage(Transaction(state.epoch, agents=(PutAgent(agent, None),)))
        self._pool.lives.pop(agent, None)
        self._pool.expected_agents.discard(agent)
        log.warning("agent_forgotten", agent=agent, allocations=lost)
        return Forgotten(lost, len(nodes))

    async def cordon_node(self, node: str, message: str, *, on: bool) -> int:
        """Cordon or uncordon a node; returns the leases on it.

        Raises:
            NotFoundError: There is none.
        """

        def job(stage: Stage) -> int:
            state = self._pool.state
            book = state.nodes.get(node)
            if book is None:
                raise NotFoundError(f"no node {node!r}", metadata={"node": node})
            bit = Blocker.CORDONED
            if bool(book.blockers & bit) != on or (on and book.message != message):
                change = SetBlockers(node, bit if on else 0, 0 if on else bit, message)
                stage(Transaction(state.epoch, blockers=(change,)))
            return book.leases

        return await self._pool.committer.submit(job)

    async def cordon_center(self, center: str, message: str, *, on: bool) -> int:
        """Cordon or uncordon a center; returns the leases in it.

        Raises:
            NotFoundError: No agent or node has named it.
        """

        def job(stage: Stage) -> int:
            state = self._pool.state
            known = center in state.centers or any(
                a.record.center == center for a in state.agents.values()
            )
            if not known:
                raise NotFoundError(f"no center {center!r}", metadata={"center": center})
            stage(Transaction(state.epoch, centers=(PutCenter(center, on, message),)))
            return sum(b.leases for b in state.nodes.values() if b.record.center == center)

        return await self._pool.committer.submit(job)
