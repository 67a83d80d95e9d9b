"""What the broker does at intervals: expiry, liveness of agents, forgetting, audit.

Each chore finds its candidates outside the writer and decides again inside a job, so that a
renewal or a report that came first wins. Two brokers doing this at once do no harm: every step
is conditional on the record that it saw.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from computepool_broker.errors import PoolError
from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.transaction import PutAgent, Transaction
from computepool_broker.model.records import (
    LIVE_STATES,
    AgentState,
    AllocationState,
    EndReason,
    PartState,
)
from computepool_broker.model.request import ContactPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.control.ttl import Deadlines
    from computepool_broker.ledger.transaction import Outcome
    from computepool_broker.services.audit import Auditor
    from computepool_broker.services.pool import Pool

    Stage = Callable[[Transaction], Outcome]

MOST_PER_TICK = 500
"""Allocations ended in one tick, so that a burst of expiries does not stall the calls."""
CONTACT_SKEW_MS = 5_000
"""Between an agent's sending of a Sync and our receiving it, plus drift of clocks."""
AGENTS_PER_MS = 10
"""Looking at all agents takes 3 ms for a thousand: with ten thousand it is done each second."""
LEAST_CENTERS = 3
"""From here on, silence of more than half of the centers is our own fault."""

log = structlog.get_logger()


class Chores:
    """Runs every tick, on the service clock."""

    def __init__(self, pool: Pool, auditor: Auditor, monotonic_ms: Callable[[], int]) -> None:
        self._pool = pool
        self._auditor = auditor
        self._monotonic_ms = monotonic_ms
        self._silence_since_ms: int | None = None
        self._next_liveness_ms = 0
        self._next_audit_ms = pool.config.audit_interval_s * 1000
        self._was_warming_up = True

    async def run(self) -> None:
        """Tick until cancelled."""
        tick_s = self._pool.config.tick_ms / 1000
        while True:
            await asyncio.sleep(tick_s)
            self._pool.clock.tick(self._monotonic_ms())
            try:
                await self._tick()
            except PoolError as error:
                log.warning("chore_failed", reason=error.reason, error=str(error))

    async def _tick(self) -> None:
        pool, now = self._pool, self._pool.clock.now_ms
        if now >= self._next_liveness_ms:
            self._next_liveness_ms = now + len(pool.state.agents) // AGENTS_PER_MS
            await pool.committer.submit(self._liveness)
        await self._end_due(pool.ttl, self._expire)
        await self._end_due(pool.admission, self._give_up)
        await self._end_due(pool.retention, self._forget)
        if self._was_warming_up and not pool.warming_up:
            self._was_warming_up = False
            log.info("warm_up_over", agents_active=pool.active_agents())
        if now >= self._next_audit_ms:
            self._next_audit_ms = now + pool.config.audit_interval_s * 1000
            await self._auditor.run()

    async def _end_due(self, deadlines: Deadlines, job: Callable[[Stage, list[str]], None]) -> None:
        ids = deadlines.due(self._pool.clock.now_ms, MOST_PER_TICK)
        if ids:
            await self._pool.committer.submit(lambda stage: job(stage, ids))

    # -- allocations -----------------------------------------------------------------------

    def _expire(self, stage: Stage, ids: list[str]) -> None:
        pool = self._pool
        for key in ids:
            allocation = pool.state.allocations.get(key)
            if allocation is None or allocation.state not in LIVE_STATES:
                pool.ttl.drop(key)
            elif pool.ttl.left_ms(key, pool.clock.now_ms) == 0:
                tx = lifecycle.end(pool.state, allocation, EndReason.EXPIRED)
                if tx is not None:
                    stage(tx)
                pool.ttl.drop(key)

    def _give_up(self, stage: Stage, ids: list[str]) -> None:
        pool = self._pool
        for key in ids:
            pool.admission.drop(key)
            allocation = pool.state.allocations.get(key)
            if allocation is None or allocation.state is not AllocationState.RESERVED:
                continue
            waiting = [p.node for p in allocation.parts if p.state is PartState.PENDING]
            tx = lifecycle.end(
                pool.state,
                allocation,
                EndReason.FAILED,
                f"not admitted within {pool.config.admit_timeout_s} s by the agents of "
                f"{', '.join(waiting[:8]) or 'parts that never came back'}",
            )
            if tx is not None:
                stage(tx)

    def _forget(self, stage: Stage, ids: list[str]) -> None:
        pool = self._pool
        for key in ids:
            pool.retention.drop(key)
            allocation = pool.state.allocations.get(key)
            if allocation is not None and allocation.state is AllocationState.ENDED:
                stage(lifecycle.forget_ended(pool.state, allocation))

    # -- agents ----------------------------------------------------------------------------

    def _liveness(self, stage: Stage) -> None:
        pool, now = self._pool, self._pool.clock.now_ms
        config = pool.config
        self._judge_mass_silence(now)
        for name, book in list(pool.state.agents.items()):
            silent = now - pool.life(name).heard_ms
            long_silent = silent >= config.lost_after_s * 1000
            closed = book.state is AgentState.CLOSED
            if book.state is AgentState.LOST or (closed and long_silent):
                # One that was stopped in good order keeps no contact terms either.
                self._end_lost(stage, name, now)
            elif long_silent:
                if not pool.mass_silence:
                    self._to_state(stage, name, AgentState.LOST, silent)
            elif silent >= config.disconnected_after_s * 1000 and book.state in (
                AgentState.ACTIVE,
                AgentState.RECONCILING,
            ):
                self._to_state(stage, name, AgentState.DISCONNECTED, silent)

    def _to_state(self, stage: Stage, name: str, state: AgentState, silent_ms: int) -> None:
        book = self._pool.state.agents[name]
        stage(Transaction(self._pool.state.epoch, agents=(PutAgent(name, book.record, state),)))
        log.warning("agent_silent", agent=name, state=state.name, silent_s=silent_ms // 1000)

    def _judge_mass_silence(self, now: int) -> None:
        """Freeze LOST while more than half of the centers are silent, for a bounded time."""
        pool = self._pool
        silent_after = pool.config.disconnected_after_s * 1000
        heard: dict[str, bool] = {}
        for name, book in pool.state.agents.items():
            if book.state is AgentState.CLOSED:
                continue
            speaks = now - pool.life(name).heard_ms < silent_after
            heard[book.record.center] = heard.get(book.record.center, False) or speaks
        silent = sum(not speaks for speaks in heard.values())
        if len(heard) < LEAST_CENTERS or 2 * silent <= len(heard):
            self._silence_since_ms = None
            pool.mass_silence = False
            return
        if self._silence_since_ms is None:
            self._silence_since_ms = now
            log.error("mass_silence", centers=len(heard), silent=silent)
        held_ms = pool.config.mass_silence_hold_s * 1000
        pool.mass_silence = now - self._silence_since_ms < held_ms

    def _end_lost(self, stage: Stage, agent: str, now: int) -> None:
        """End allocations whose agent, by their contact term, has stopped them by now."""
        pool = self._pool
        silent = now - pool.life(agent).heard_ms
        for ref in list(pool.state.agents[agent].leases.values()):
            allocation = pool.state.allocations[ref.allocation_id]
            spec = allocation.spec
            if (
                allocation.state in LIVE_STATES
                and spec.contact is ContactPolicy.STOP_AFTER
                and silent >= spec.contact_after_s * 1000 + CONTACT_SKEW_MS
            ):
                tx = lifecycle.end(
                    pool.state,
                    allocation,
                    EndReason.LOST,
                    f"agent {agent} has been silent for {silent // 1000} s",
                )
                if tx is not None:
                    stage(tx)
