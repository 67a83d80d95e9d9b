"""Spread, power and reasons with real daemons; also when the store is lost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import types_pb2 as types
from support.caller import ACTIVE, CALL_S, Caller, reason_of, spec
from support.processes import eventually

if TYPE_CHECKING:
    from support.local_pool import LocalPool
    from support.processes import Daemon

pytestmark = pytest.mark.timeout(90)
H100_GFLOPS = 989_400


async def started(pool: LocalPool, **settings: str) -> Daemon:
    broker, region = pool.broker(**settings), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    return broker


def spread_over_centers(count: int, max_skew: int = 1) -> types.AllocationSpec:
    out = spec(8, count=count)
    out.spread.over, out.spread.max_skew = types.SPREAD_OVER_CENTERS, max_skew
    return out


def power(devices: int) -> types.AllocationSpec:
    part = types.PartSpec(resources=types.Resources(cpu_milli=1_000))
    wanted = types.Power(gflops=devices * H100_GFLOPS - 5)
    return types.AllocationSpec(part=part, power=wanted, ttl_s=600)


def shown(allocation: wire.Allocation) -> list[tuple[str, str, int]]:
    return [(x.node, x.model, len(x.devices)) for x in allocation.leases]


async def test_spread_and_power_are_granted_kept_by_agents_and_brought_back(
    pool: LocalPool, caller: Caller
) -> None:
    broker = await started(pool)
    even = await caller.active(spread_over_centers(7), "even")
    by_center = Counter(lease.center for lease in even.leases)
    assert sorted(by_center.values()) == [2, 2, 3]
    strong = await caller.active(power(11), "strong")
    assert strong.power_gflops == 11 * H100_GFLOPS
    assert sorted(n for _, _, n in shown(strong)) == [3, 8]
    assert {x.resources.cpu_milli for x in strong.leases} == {3_000, 8_000}

    async def journalled() -> bool:
        now = [await caller.get(a.id) for a in (even, strong)]
        return all(x.state == types.LEASE_STATE_STARTED for a in now for x in a.leases)

    await eventually(journalled, "all is started")
    await broker.stop()
    pool.lose_store()
    broker = pool.broker()
    broker.start()
    await broker.ready()

    async def all_back() -> bool:
        found = {a.id: shown(a) for a in await caller.all()}
        return all(found.get(a.id) == shown(a) for a in (even, strong))

    await eventually(all_back, "all parts are back")
    for old, what in ((even, spread_over_centers(7)), (strong, power(11))):
        new = await caller.becomes(old.id, ACTIVE)
        assert new.adopted
        assert (shown(new), new.spec, new.power_gflops) == (shown(old), old.spec, old.power_gflops)
        again = await caller.create(what, old.request_id)
        assert again.duplicate
        assert again.allocation.id == old.id
    assert await caller.findings() == []


async def test_the_nearest_fit_is_granted_as_it_was_told(pool: LocalPool, caller: Caller) -> None:
    await started(pool)
    await caller.active(spec(8, count=11))
    refused = spread_over_centers(2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.create(refused)
    assert reason_of(caught.value) == "NO_ROOM"
    told = await caller.allocations.ExplainAllocation(
        wire.ExplainAllocationRequest(spec=refused), timeout=CALL_S
    )
    assert not told.refusal.beyond_pool
    fits = told.refusal.nearest[0]
    granted = await caller.active(fits.spec)
    assert granted.leases[0].center == fits.center
    told = await caller.allocations.ExplainAllocation(
        wire.ExplainAllocationRequest(id=granted.id), timeout=CALL_S
    )
    assert told.allocation.id == granted.id
    assert [part.place.node for part in told.parts] == [granted.leases[0].node]
    assert (told.parts[0].rank, told.parts[0].candidates) == (1, 1)
    assert told.summary == f"active on {granted.leases[0].node}"
    assert told.filters[-1].nodes == 1


async def test_what_no_node_could_ever_hold_has_no_hint_to_try_again(
    pool: LocalPool, caller: Caller
) -> None:
    await started(pool, warm_up_s="0")
    request = wire.PreviewAllocationRequest(spec=spec(64))
    refusal = (await caller.allocations.PreviewAllocation(request, timeout=CALL_S)).refusal
    assert refusal.beyond_pool
    assert refusal.nearest[0].summary == "with 8 devices instead of 64"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.create(spec(64))
    status = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    assert b"google.rpc.RetryInfo" not in status
