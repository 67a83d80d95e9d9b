"""Silent agents, the start of a broker, and what operators do, on a broker without wire."""

from __future__ import annotations

import pytest

from computepool_broker.errors import (
    AgentAliveError,
    NoRoomError,
    NotFoundError,
    WarmingUpError,
)
from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model.records import AllocationState, EndReason
from support.broker_kit import THREE, activate, running_broker
from support.builders import (
    make_config,
    make_held,
    make_node,
    make_spec,
)
from support.memory_store import MemoryDisk, MemoryStore

RESERVED, ACTIVE = AllocationState.RESERVED, AllocationState.ACTIVE


# -- silence -----------------------------------------------------------------------------------


async def test_a_silent_agent_gets_nothing_new_and_loses_nothing() -> None:
    async with running_broker(make_node()) as kit:
        key = await activate(kit, gpus=1)
        await kit.tick(times=8)
        assert kit.pool.state.allocations[key].state is ACTIVE
        assert kit.pool.state.nodes["n1"].blockers == Blocker.AGENT_NOT_ACTIVE
        await kit.report(held=[make_held(f"{key}.0.0", HeldState.STARTED)])
        assert kit.pool.state.nodes["n1"].blockers == 0


async def test_a_lost_agents_stop_after_work_ends_later_than_its_agent_stopped_it() -> None:
    async with running_broker(make_node()) as kit:
        key = await activate(kit, gpus=1, stop_after_s=90)
        await kit.tick(times=4)
        assert kit.pool.state.allocations[key].state is ACTIVE
        await kit.tick()
        ended = kit.pool.state.allocations[key]
        assert (ended.state, ended.end_reason) == (AllocationState.RELEASING, EndReason.LOST)
        assert kit.pool.state.nodes["n1"].used, "a silent node's capacity is never free"


async def test_when_most_centers_fall_silent_together_nothing_is_lost_for_a_while() -> None:
    config = make_config(mass_silence_hold_s=100)
    async with running_broker(*THREE, config=config) as kit:
        key = await activate(kit, gpus=1, stop_after_s=1, centers=["c1"])
        await kit.tick(times=4)
        assert kit.pool.mass_silence
        assert kit.pool.state.allocations[key].state is ACTIVE
        await kit.tick(times=6)
        assert not kit.pool.mass_silence
        assert kit.pool.state.allocations[key].end_reason is EndReason.LOST


async def test_one_silent_center_of_three_is_no_mass_silence() -> None:
    async with running_broker(*THREE) as kit:
        key = await activate(kit, gpus=1, stop_after_s=1, centers=["c1"])
        for _ in range(5):
            await kit.tick()
            await kit.report(None, agent="a2")
            await kit.report(None, agent="a3")
        assert not kit.pool.mass_silence
        assert kit.pool.state.allocations[key].end_reason is EndReason.LOST


# -- the start of a broker ---------------------------------------------------------------------


async def test_while_warming_up_no_room_is_not_the_answer() -> None:
    disk = MemoryDisk()
    async with running_broker(make_node(), store=MemoryStore(disk)):
        pass
    async with running_broker(store=MemoryStore(disk)) as kit:
        with pytest.raises(WarmingUpError) as refused:
            await kit.create(make_spec(gpus=1))
        assert refused.value.retry_after_ms
        await kit.join(make_node("n2", agent="a2", gpus=1))
        assert (await kit.create(make_spec(gpus=1))).parts[0].node == "n2"
        await kit.tick(times=2)
        with pytest.raises(NoRoomError):
            await kit.create(make_spec(gpus=1))


async def test_after_a_restart_every_lease_has_its_whole_time_again() -> None:
    disk = MemoryDisk()
    async with running_broker(make_node(), store=MemoryStore(disk)) as kit:
        key = await activate(kit, gpus=1, ttl_s=50)
        await kit.tick(times=2)
    async with running_broker(store=MemoryStore(disk)) as kit:
        await kit.tick(times=2)
        assert kit.pool.state.allocations[key].state is ACTIVE
        await kit.tick()
        assert kit.pool.state.allocations[key].end_reason is EndReason.EXPIRED


# -- operators ---------------------------------------------------------------------------------


async def test_only_a_silent_agent_is_forgotten_and_then_its_capacity_is_struck_off() -> None:
    async with running_broker(make_node("n1"), make_node("n2", agent="a2", center="c2")) as kit:
        with pytest.raises(NotFoundError):
            await kit.inventory.forget("nobody")
        with pytest.raises(AgentAliveError):
            await kit.inventory.forget("a1")
        gang = await kit.create(make_spec(gpus=8, count=2))
        await kit.tick(times=2)
        # It had failed already, for want of admission: that is not lost now.
        assert tuple(await kit.inventory.forget("a1")) == (0, 1)
        left = kit.pool.state.allocations[gang.id]
        assert (left.state, left.end_reason.name) == (AllocationState.RELEASING, "FAILED")
        assert list(kit.pool.state.nodes) == ["n2"]
        assert "a1" not in kit.pool.state.agents


async def test_a_forgotten_agents_work_is_lost() -> None:
    async with running_broker(make_node()) as kit:
        key = await activate(kit, gpus=1)
        await kit.tick(times=2)
        await kit.inventory.forget("a1")
        lost = kit.pool.state.allocations[key]
        assert (lost.state, lost.end_reason) == (AllocationState.ENDED, EndReason.LOST)


async def test_a_cordoned_node_or_center_gets_nothing_new_also_after_a_restart() -> None:
    disk = MemoryDisk()
    async with running_broker(*THREE[:2], store=MemoryStore(disk)) as kit:
        await kit.create(make_spec(gpus=1, centers=["c1"]))
        assert await kit.inventory.cordon_node("n1", "why", on=True) == 1
        assert await kit.inventory.cordon_center("c2", "why", on=True) == 0
        for unknown in (kit.inventory.cordon_node, kit.inventory.cordon_center):
            with pytest.raises(NotFoundError):
                await unknown("nobody", "", on=True)
    async with running_broker(*THREE[:2], store=MemoryStore(disk)) as kit:
        blockers = {name: book.blockers for name, book in kit.pool.state.nodes.items()}
        assert blockers == {"n1": Blocker.CORDONED, "n2": Blocker.CENTER_CORDONED}
        assert kit.pool.state.nodes["n1"].message == "why"
        await kit.inventory.cordon_node("n1", "", on=False)
        await kit.inventory.cordon_center("c2", "", on=False)
        assert not any(book.blockers for book in kit.pool.state.nodes.values())
