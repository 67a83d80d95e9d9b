"""Why there is no room, where a request would go, and why an allocation is where it is.

All of it is read in jobs of the writer: what an answer says is durable before it is given, and
true for one revision of the view.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from computepool_broker.errors import NotFoundError
from computepool_broker.model.records import AgentState, Allocation, AllocationState, PartState
from computepool_broker.placement import power, reasons
from computepool_broker.placement.explain import explain
from computepool_broker.placement.nearest import nearest_fits
from computepool_broker.placement.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.model.records import Part
    from computepool_broker.model.refusal import Refusal
    from computepool_broker.model.request import Spec
    from computepool_broker.placement.places import Place
    from computepool_broker.placement.reasons import PartReasons, Step
    from computepool_broker.services.pool import Pool

    Stage = Callable[[Transaction], Outcome]

T = TypeVar("T")

MOST_NAMED = 5
"""Agents or nodes named in a sentence."""


class Explanation(NamedTuple):
    """The reasons; see ExplainAllocationResponse.

    Attributes:
        revision: The view's, that all of it is true for.
        omitted: Parts that are not listed.
    """

    summary: str
    revision: int
    parts: list[PartReasons]
    omitted: int
    filters: list[Step]
    refusal: Refusal | None = None


class Explanations:
    """Answers from the view as it is; changes nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def refusal(self, spec: Spec, placeable: int) -> Refusal:
        """Why there is no room, as of now, without what would fit; to be called in a job."""
        pool = self._pool
        ages = pool.center_ages_ms()
        told = explain(pool.columns, spec, placeable, lambda center: ages.get(center, 0))
        # So soon after the start agents are still to come, those never seen before too: they may
        # bring what the pool seems to lack.
        young = pool.clock.now_ms < pool.config.warm_up_s * 1000
        return told._replace(beyond_pool=False) if young else told

    async def preview(
        self, spec: Spec, show: Callable[[list[Place]], T]
    ) -> tuple[T, Refusal | None, int]:
        """Places as `show` shows them, or the whole refusal; and the view's revision."""

        def job(_: Stage) -> tuple[T, Refusal | None, int]:
            places, refusal = self._would(spec)
            return show(places), refusal, self._pool.columns.version

        return await self._pool.committer.submit(job, self._pool.look_weight)

    async def of_request(self, spec: Spec) -> Explanation:
        """Where a request would go now and why, or why nowhere and what would help."""

        def job(_: Stage) -> Explanation:
            columns = self._pool.columns
            places, refusal = self._would(spec)
            parts = reasons.of_places(columns, spec, places)
            shape = spec.shape if spec.power is None else power.one_device(spec.shape)
            filters = reasons.funnel(columns, shape)
            summary = _where(parts, len(places)) if refusal is None else refusal.summary
            omitted = len(places) - len(parts)
            return Explanation(summary, columns.version, parts, omitted, filters, refusal)

        return await self._pool.committer.submit(job, self._pool.look_weight)

    async def of_allocation(
        self, allocation_id: str, show: Callable[[Allocation], T]
    ) -> tuple[Explanation, T]:
        """Why an allocation is where it is, or what it waits for; and itself, as shown.

        Raises:
            NotFoundError: There is none, or it ended more than an hour ago.
        """

        def job(_: Stage) -> tuple[Explanation, T]:
            allocation = self._pool.state.allocations.get(allocation_id)
            if allocation is None:
                raise NotFoundError(
                    f"no allocation {allocation_id!r}", metadata={"allocation_id": allocation_id}
                )
            return self._of(allocation), show(allocation)

        return await self._pool.committer.submit(job, self._pool.look_weight)

    def _would(self, spec: Spec) -> tuple[list[Place], Refusal | None]:
        planner = self._pool.planner
        places, placeable = planner.plan(spec)
        if places:
            return places, None
        refusal = self.refusal(spec, placeable)
        return places, refusal._replace(nearest=nearest_fits(planner, spec))

    def _of(self, allocation: Allocation) -> Explanation:
        columns, spec = self._pool.columns, allocation.spec
        parts = reasons.of_parts(columns, spec, allocation.parts)
        told = [part._replace(summary=self._with_state(allocation, part)) for part in parts]
        filters = reasons.funnel_of_part(columns, spec, allocation.parts)
        omitted = len(allocation.parts) - len(told)
        return Explanation(self._summary(allocation), columns.version, told, omitted, filters)

    def _summary(self, allocation: Allocation) -> str:
        ended = f"ended: {allocation.end_reason.name}"
        if allocation.end_message:
            ended += f" ({allocation.end_message})"
        if allocation.state is AllocationState.ENDED:
            return ended
        if allocation.state is AllocationState.RELEASING:
            return f"{ended}; {self._awaited(allocation, PartState.RELEASING, 'let go of')}"
        nodes = list(dict.fromkeys(part.node for part in allocation.parts))
        where = f"on {_listed(nodes)}"
        if allocation.state is AllocationState.RESERVED:
            missing = allocation.spec.parts - len(allocation.parts)
            lacking = f"; {counted(missing, 'part')} not back yet" if missing else ""
            awaited = self._awaited(allocation, PartState.PENDING, "admit")
            return f"reserved {where}; {awaited}{lacking}"
        return f"active {where}"

    def _awaited(self, allocation: Allocation, state: PartState, what: str) -> str:
        waiting = [part for part in allocation.parts if part.state is state]
        if not waiting:
            return "no agent is awaited"
        by_agent = Counter(self._agent(part) for part in waiting)
        told = [f"{name} ({self._doing(name)})" for name in by_agent]
        of = f"{len(waiting)} of {counted(len(allocation.parts), 'part')}"
        return f"waits for {_listed(told)} to {what} {of}"

    def _agent(self, part: Part) -> str:
        book = self._pool.state.nodes.get(part.node)
        return book.record.agent if book is not None else "an agent that has left"

    def _doing(self, agent: str) -> str:
        book, life = self._pool.state.agents.get(agent), self._pool.lives.get(agent)
        if book is None or life is None:
            return "unknown"
        heard_s = max(0, self._pool.clock.now_ms - life.heard_ms) / 1000
        state = "" if book.state is AgentState.ACTIVE else f"{book.state.name}, "
        return f"{state}heard {heard_s:.1f} s ago"

    def _with_state(self, allocation: Allocation, told: PartReasons) -> str:
        part = next(p for p in allocation.parts if p.index == told.part)
        if part.state is PartState.PENDING:
            return f"waits for agent {self._agent(part)} to admit it; {told.summary}"
        if part.state is PartState.RELEASING:
            return f"waits for agent {self._agent(part)} to let go of it; {told.summary}"
        if part.state is PartState.GONE:
            return f"is over; {told.summary}"
        return told.summary


def _where(parts: list[PartReasons], count: int) -> str:
    nodes = [f"{part.place.node} in {part.place.center}" for part in parts]
    if count == 1:
        return f"would go to {nodes[0]}: {parts[0].summary}"
    return f"{counted(count, 'part')} would go to {_listed(nodes)}"


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    listed = ", ".join(names[:MOST_NAMED])
    return f"{listed} and {more} more" if more > 0 else listed
