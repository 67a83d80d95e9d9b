"""Interleavings of a whole pool that once failed, each under the name of what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_agents.admission import Refusal
from computepool_agents.model import STARTED
from computepool_broker.ledger.transaction import Blocker
from computepool_broker.services.grants import Create
from support.builders import make_spec
from support.pool_world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from computepool_broker.model.request import Spec


@pytest.fixture
def world() -> Iterator[World]:
    with World(agents=2) as made:
        yield made


def ask(world: World, spec: Spec) -> None:
    async def work() -> None:
        made, _ = await world.kit.allocations.create(Create("default", "", spec), 0)
        world.oracle.acknowledged(made)

    world.run(work())


def test_a_restored_backup_is_noticed_although_it_has_outgrown_what_the_agent_saw(
    world: World,
) -> None:
    world.report("a1")
    world.take_backup()
    ask(world, make_spec(gpus=1))
    world.report("a1")
    seen = world.agents["a1"].book.seen
    assert seen is not None
    world.restore_backup()
    world.report("a2")  # it is new, and the backup grows by that
    ask(world, make_spec(cpu=1))
    ask(world, make_spec(cpu=1))
    assert world.kit.pool.state.revision > seen.revision
    epoch = world.kit.pool.state.epoch
    world.report("a1")  # its session is over too
    world.report("a1")
    assert world.kit.pool.state.epoch > epoch
    assert set(world.agents["a1"].states()) <= set(world.kit.pool.state.agents["a1"].leases)


def test_a_node_does_not_stay_suspect_while_its_numbers_do_not_change(world: World) -> None:
    world.report("a1")
    world.agents["a1"].engine.refusal = Refusal("ENGINE", "not now")
    ask(world, make_spec(gpus=1))
    node = next(iter(world.kit.pool.state.allocations.values())).parts[0].node
    world.report("a1")
    world.report("a1")
    assert world.kit.pool.state.nodes[node].blockers & Blocker.SUSPECT
    world.agents["a1"].engine.refusal = None
    for _ in range(3):
        world.report("a1")
    assert not any(b.blockers for b in world.kit.pool.state.nodes.values())


def test_a_report_that_was_overtaken_does_not_bring_back_old_numbers(world: World) -> None:
    world.report("a1")
    world.reshape("a1", 0, "smaller")
    world.report("a1", "late")
    world.reshape("a1", 0, "whole")
    world.report("a1")
    while world.late_requests:
        world.deliver_late_request(0)
    world.report("a1")
    assert world.kit.pool.state.nodes["a1-n1"].record.total.cpu_milli == 4000


def test_a_forgotten_agent_does_not_bring_back_what_was_given_up(world: World) -> None:
    world.report("a1")
    ask(world, make_spec(gpus=1))
    for _ in range(3):
        world.report("a1")
    assert world.agents["a1"].states()
    world.kill_agent("a1")
    for _ in range(3):
        world.tick()
    world.run(forget(world, "a1"))
    for _ in range(5):  # longer than ended allocations are remembered
        world.tick()
    assert not world.kit.pool.state.allocations
    world.start_agent("a1")
    for _ in range(3):
        world.report("a1")
    assert not world.kit.pool.state.allocations
    assert not world.agents["a1"].states()


def test_work_that_its_agent_has_lost_runs_again_also_in_a_quiet_pool(world: World) -> None:
    world.report("a1")
    ask(world, make_spec(gpus=1))
    for _ in range(3):
        world.report("a1")
    world.take_backup()
    (key,) = world.kit.pool.state.allocations
    world.run(release(world, key))
    for _ in range(3):
        world.report("a1")
    assert not world.agents["a1"].states()
    world.restore_backup()  # where it is started, by the agent's own word
    for _ in range(5):
        world.report("a1")
    assert set(world.agents["a1"].states().values()) == {STARTED}


async def release(world: World, key: str) -> None:
    await world.kit.allocations.release(key, "", "")


async def forget(world: World, name: str) -> None:
    world.oracle.forgotten(world.agents[name])
    await world.kit.inventory.forget(name)
