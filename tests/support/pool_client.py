"""A client of a small world's broker, who remembers what was promised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.errors import (
    NoRoomError,
    OutcomeUnknownError,
    RequestIdReusedError,
    WarmingUpError,
)
from computepool_broker.services.grants import Create

if TYPE_CHECKING:
    from computepool_broker.model.request import Spec
    from support.pool_world import World


async def create(world: World, spec: Spec, request_id: str, known: list[str]) -> None:
    """Ask for an allocation, judge the answer, and add its name to those that are known."""
    kit, oracle = world.kit, world.oracle
    asked_ms = kit.pool.clock.now_ms
    try:
        made, duplicate = await kit.allocations.create(Create("default", request_id, spec), 0)
    except (NoRoomError, WarmingUpError):
        return
    except OutcomeUnknownError:
        assert world.store.fail, "only a disk that fails leaves an outcome unknown"
        return
    except RequestIdReusedError as error:
        holder = kit.pool.state.allocations.get(error.metadata["allocation_id"])
        assert holder is None or holder.spec.shape != spec.shape or holder.spec != spec
        return
    assert made.request_id == request_id
    assert made.spec.shape == spec.shape
    assert not (duplicate and not request_id)
    known.append(made.id)
    if made.id in oracle.acked or made.state not in (1, 2):
        return
    oracle.acknowledged(made, asked_ms)
