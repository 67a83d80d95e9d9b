"""At which levels of acknowledgement the writer is asked for its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from computepool_broker.services.levels import Level

if TYPE_CHECKING:
    import asyncio

    import pytest

    from support.broker_kit import BrokerKit


def asked_of_the_writer(kit: BrokerKit, monkeypatch: pytest.MonkeyPatch) -> list[Level]:
    """Levels of the jobs from now on, as they come; the jobs themselves are run as ever."""
    seen: list[Level] = []
    submit = kit.pool.committer.submit

    def noted(job: Any, weight: int = 1, level: Level = Level.COMMITTED) -> asyncio.Future[Any]:
        seen.append(level)
        return submit(job, weight, level)

    monkeypatch.setattr(kit.pool.committer, "submit", noted)
    return seen
