"""Settling a report with the ledger: admissions, refusals, stops, teardowns, adoptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from computepool_broker.ledger import adoption, lifecycle, reconcile
from computepool_broker.ledger.reconcile import Held, HeldState
from computepool_broker.ledger.transaction import (
    Blocker,
    Committed,
    SetBlockers,
    Transaction,
)
from computepool_broker.model.records import (
    LIVE_STATES,
    WANTED_STATES,
    AllocationState,
    EndReason,
    PartState,
)
from computepool_broker.services.life_log import named

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from computepool_broker.ledger.state import AgentBook, LeaseRef
    from computepool_broker.ledger.transaction import Outcome
    from computepool_broker.services.pool import Pool

    Stage = Callable[[Transaction], Outcome]

log = structlog.get_logger()

REACHED = {HeldState.ADMITTED: PartState.ADMITTED, HeldState.STARTED: PartState.STARTED}


class Settler:
    """Applies what a complete report says of leases."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def tear_down(
        self,
        stage: Stage,
        book: AgentBook,
        held: Container[str],
        applied_revision: int,
        among: Iterable[str],
    ) -> None:
        """Take back the amounts of leases, of those looked at, that the agent has let go of."""
        state = self._pool.state
        for allocation_id, positions in reconcile.torn_down(
            state, book, held, applied_revision, among
        ).items():
            stage(lifecycle.gone(state, state.allocations[allocation_id], positions))

    def settle(self, stage: Stage, book: AgentBook, lease: Held, *, fresh: bool) -> None:
        """Bring the ledger up to what the agent says of a lease.

        Args:
            stage: Stages transactions.
            book: The agent's.
            lease: As the agent holds it.
            fresh: The report before did not have it.
        """
        ref = book.leases.get(lease.lease_id)
        if ref is None:
            self._adopt(stage, book.record.name, lease)
        else:
            self._known(stage, ref, lease, fresh=fresh)

    def forget_emptied(self, stage: Stage, book: AgentBook) -> None:
        """Nodes that had vanished leave with their last lease."""
        emptied = reconcile.emptied_nodes(self._pool.state, book)
        if emptied:
            stage(Transaction(self._pool.state.epoch, nodes=emptied))

    def clear_suspects(self, stage: Stage, nodes: Iterable[str]) -> None:
        """A complete report clears the nodes that were suspect before it, and are not anew.

        Also one that says that the nodes are unchanged: their numbers were looked at anew. Last,
        so that a part refused in it does not go back to a node that refused it just before.
        """
        cleared = tuple(SetBlockers(node, 0, Blocker.SUSPECT) for node in nodes)
        if cleared:
            stage(Transaction(self._pool.state.epoch, blockers=cleared))

    def _adopt(self, stage: Stage, agent: str, lease: Held) -> None:
        if lease.record is None:
            # First reports carry records; a lease that turned up since is answered by REVOKE.
            return
        tx = adoption.adopt(self._pool.state, agent, lease, self._pool.wall_ms())
        if tx is None:
            return
        outcome = stage(tx)
        adopted = isinstance(outcome, Committed)
        if adopted:
            self._pool.start_clocks(self._pool.state.allocations[lease.record.allocation_id])
        log.info(
            "lease_adopted",
            agent=agent,
            lease=lease.lease_id,
            adopted=adopted,
            allocation=lease.record.allocation_id,
            tenant=lease.record.tenant,
            request_id=lease.record.request_id,
        )

    def _known(self, stage: Stage, ref: LeaseRef, lease: Held, *, fresh: bool) -> None:
        state = self._pool.state
        allocation, part = state.part(ref)
        if part.state not in WANTED_STATES:
            return
        reached = REACHED.get(lease.state)
        if reached is not None:
            if reached > part.state:
                tx = lifecycle.progress(state, allocation, ref.position, reached)
                if tx is not None:
                    stage(tx)
            elif (
                reached is PartState.ADMITTED
                and allocation.state is AllocationState.ACTIVE
                and fresh
            ):
                stage(lifecycle.start_again(state, allocation, ref.position))
        elif lease.state is HeldState.REFUSED:
            self._refused(stage, ref, lease)
        elif lease.state is HeldState.STOPPED and allocation.state in LIVE_STATES:
            contact_lost = lease.reason == "CONTACT_LOST"
            tx = lifecycle.end(
                state,
                allocation,
                EndReason.LOST if contact_lost else EndReason.FAILED,
                f"{part.node}: {lease.reason} {lease.message}".strip(),
            )
            if tx is not None:
                stage(tx)

    def _refused(self, stage: Stage, ref: LeaseRef, lease: Held) -> None:
        pool = self._pool
        state = pool.state
        allocation, part = state.part(ref)
        why = f"{part.node} refused: {lease.reason} {lease.message}".strip()
        agent = state.nodes[part.node].record.agent
        life = pool.life(agent)
        life.refusals += 1
        life.last_refusal = lease.reason
        life.suspects.add(part.node)
        pool.tally.lease_refusals.add(lease.reason)
        log.info(
            "lease_refused",
            agent=agent,
            lease=lease.lease_id,
            reason=lease.reason,
            **named(allocation),
        )
        stage(Transaction(state.epoch, blockers=(SetBlockers(part.node, Blocker.SUSPECT),)))
        again = (
            allocation.state is AllocationState.RESERVED
            and part.place_revision < lifecycle.MAX_PLACEMENTS
        )
        if again:
            place = pool.planner.place_again(allocation, ref.position)
            if place is not None:
                tx = lifecycle.place_anew(state, allocation, ref.position, place)
                if isinstance(stage(tx), Committed):
                    return
            why += "; no other place has room"
        stage(lifecycle.end_and_gone(state, allocation, (ref.position,), EndReason.FAILED, why))
