"""Why there is no room, and where a request would go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.placement.explain import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.model.refusal import Refusal
    from computepool_broker.model.request import Spec
    from computepool_broker.placement.places import Place
    from computepool_broker.services.pool import Pool

    Stage = Callable[[Transaction], Outcome]


class Explanations:
    """Answers from the view as it is; changes nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def refusal(self, spec: Spec, placeable: int) -> Refusal:
        """Why there is no room, as of now; to be called in a job."""
        pool = self._pool
        ages = pool.center_ages_ms()
        return explain(pool.columns, spec, placeable, lambda center: ages.get(center, 0))

    async def preview(self, spec: Spec) -> tuple[list[Place], Refusal | None, int]:
        """Places, or the refusal; and the view's revision. Changes nothing."""

        def job(_: Stage) -> tuple[list[Place], Refusal | None, int]:
            places, placeable = self._pool.planner.plan(spec)
            refusal = None if places else self.refusal(spec, placeable)
            return places, refusal, self._pool.columns.version

        return await self._pool.committer.submit(job)
