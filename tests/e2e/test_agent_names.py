"""Two agents under one name, and an agent that is struck off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from support.caller import ACTIVE, ENDED, reason_of, spec
from support.load import all_comes_back
from support.local_pool import DEVICES
from support.processes import eventually

if TYPE_CHECKING:
    from support.caller import Caller
    from support.local_pool import LocalPool

pytestmark = pytest.mark.timeout(90)

ALIVE = inventory_pb2.AGENT_STATE_ACTIVE
SILENT = inventory_pb2.AGENT_STATE_LOST


async def test_second_agent_under_a_live_name_is_refused(pool: LocalPool, caller: Caller) -> None:
    broker, first = pool.broker(), pool.region("core-a", name="first")
    broker.start()
    await broker.ready()
    first.start()
    await first.ready()
    held = await caller.active(spec(4))
    second = pool.region("core-a", name="second")
    second.start()
    assert await second.ended() == 1
    assert "AGENT_NAME_TAKEN" in second.log
    assert "choose another --name" in second.log
    assert "Traceback" not in second.log
    assert not second.ready_path.exists()
    assert (await caller.agents())["core-a"].session == 1
    assert (await caller.get(held.id)).state == ACTIVE
    assert await caller.findings() == []
    await all_comes_back(caller, 32)


async def test_second_agent_on_the_same_folder_is_refused(pool: LocalPool) -> None:
    broker, first = pool.broker(), pool.region("core-a")
    broker.start()
    await broker.ready()
    first.start()
    await first.ready()
    folder = pool.folder / "region.state"
    second = pool.region("core-a", name="second", state_dir=str(folder))
    second.start()
    assert await second.ended() != 0
    assert str(folder) in second.log
    assert "Traceback" not in second.log
    assert first.running


async def test_live_agent_cannot_be_forgotten(pool: LocalPool, caller: Caller) -> None:
    broker, region = pool.broker(), pool.region("core-a")
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await caller.forget("core-a")
    assert reason_of(refused.value) == "AGENT_ALIVE"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await caller.forget("nobody")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


async def test_forgotten_agent_takes_its_capacity_along_and_brings_it_back_whole(
    pool: LocalPool, caller: Caller
) -> None:
    broker = pool.broker()
    dead = pool.region("core-a", name="dead")
    others = pool.region("support-a", "receiver-a", name="others")
    broker.start()
    await broker.ready()
    for agent in (dead, others):
        agent.start()
    for agent in (dead, others):
        await agent.ready()
    only_there = await caller.active(spec(8, centers=["core-a"]))
    gang = await caller.active(spec(8, count=12 - 1))  # on every center: one node is taken
    dead.kill()
    await caller.agents_are(SILENT, "core-a")
    answer = await caller.forget("core-a")
    assert (answer.allocations_lost, answer.nodes_removed) == (2, 4)
    for lost in (only_there, gang):
        ended = await caller.becomes(lost.id, ENDED)
        assert ended.end_reason == allocation_pb2.END_REASON_LOST
    assert set(await caller.agents()) == {"support-a", "receiver-a"}
    assert all(node.center != "core-a" for node in (await caller.nodes()).values())

    async def rest_is_free() -> bool:
        nodes = (await caller.nodes()).values()
        return len(nodes) == 8 and all(
            node.granted.cpu_milli == 0 and not any(d.granted_milli for d in node.devices)
            for node in nodes
        )

    await eventually(rest_is_free, "the other centers' parts of the lost gang are back")
    assert await caller.findings() == []
    # It comes back after all, with what it holds in its journal: that has ended.
    dead.start()
    await caller.agents_are(ALIVE, "core-a")

    async def revoked() -> bool:
        return "lease revoked" in dead.log_of_this_life

    await eventually(revoked, "the returned agent is told to tear down what it held")
    assert {a.state for a in await caller.all()} == {ENDED}
    assert await caller.findings() == []
    whole = await caller.active(spec(8, count=12))
    assert len({lease.node for lease in whole.leases}) == 12
    await all_comes_back(caller, DEVICES)


async def test_forgotten_agent_brings_no_lease_back_when_its_end_is_long_forgotten_too(
    pool: LocalPool, caller: Caller
) -> None:
    """The broker no longer has the record of the lost allocation, but it did know the lease."""
    broker, region = pool.broker(retention_s="1"), pool.region("core-a")
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    lost = await caller.active(spec(8, ttl_s=3_600), "lost")
    region.kill()
    await caller.agents_are(SILENT, "core-a")
    await caller.forget("core-a")

    async def no_trace_is_left() -> bool:
        return not await caller.all()

    await eventually(no_trace_is_left, "the record of the lost allocation is dropped")
    region.start()
    await caller.agents_are(ALIVE, "core-a")
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await caller.get(lost.id)
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
    await caller.active(spec(8, count=4))
    assert await caller.findings() == []
    await all_comes_back(caller, 32)
