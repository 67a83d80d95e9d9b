"""The end of a pool's run: everybody is well and speaks until nothing changes any more.

Then ledger and agents must agree exactly, the view be what was measured, and, when all is
released, no unit of capacity be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_agents.model import ADMITTED, STARTED
from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model.records import LIVE_STATES, AllocationState, PartState

if TYPE_CHECKING:
    from support.pool_world import World
    from support.sim_agent import SimAgent

MOST_ROUNDS = 40


def come_to_rest(world: World) -> None:
    """Everybody is well and speaks until nothing changes; then nothing may be missing."""
    world.let_go()
    for agent in world.agents.values():
        agent.engine.refusal = None
        world.hang_teardowns(agent.name, hangs=False)
        if not agent.up:
            world.start_agent(agent.name)
    speak_until_quiet(world)
    ledger_and_agents_agree(world)
    for key, allocation in list(world.kit.pool.state.allocations.items()):
        if allocation.state in LIVE_STATES:
            release(world, key)
    speak_until_quiet(world)
    ledger_and_agents_agree(world)
    for name, book in world.kit.pool.state.nodes.items():
        assert book.used == {}, f"{name} still has {book.used}"
        assert not book.blockers & Blocker.SUSPECT, f"{name} stays suspect"
    assert all(not agent.book.held for agent in world.agents.values())


def speak_until_quiet(world: World) -> None:
    quiet = 0
    for _ in range(MOST_ROUNDS):
        before = picture(world)
        for name in world.agents:
            world.report(name)
        quiet = quiet + 1 if picture(world) == before else 0
        if quiet == 2:
            return
    raise AssertionError("ledger and agents do not come to rest")


def picture(world: World) -> object:
    state = world.kit.pool.state
    held = {name: agent.states() for name, agent in world.agents.items()}
    blockers = {name: book.blockers for name, book in state.nodes.items()}
    return state.revision, state.epoch, held, blockers


def ledger_and_agents_agree(world: World) -> None:
    state = world.kit.pool.state
    for name, agent in world.agents.items():
        view_is_what_was_measured(world, name, agent)
        want = {}
        for lease_id, ref in state.agents[name].leases.items():
            allocation, part = state.part(ref)
            assert part.state is not PartState.RELEASING, f"{lease_id} never comes back"
            active = allocation.state is AllocationState.ACTIVE
            want[lease_id] = STARTED if active else ADMITTED
        assert agent.states() == want, name


def view_is_what_was_measured(world: World, name: str, agent: SimAgent) -> None:
    books = world.kit.pool.state.nodes
    measured = {node.name: node for node in agent.engine.measured}
    there = {n for n in world.kit.pool.state.agents[name].nodes if not books[n].record.gone}
    assert there == measured.keys()
    for node in measured.values():
        record = books[node.name].record
        assert record.total.cpu_milli == node.total.cpu_milli, node.name
        assert record.foreign.cpu_milli == node.foreign.cpu_milli, node.name
        want = {(d.id, d.healthy, d.foreign_milli) for d in node.devices}
        shown = {(d.id, d.healthy, d.foreign_milli) for d in record.devices}
        ghosts = {d for d in shown - want if not d[1]}
        assert shown - ghosts == want, node.name


def release(world: World, key: str) -> None:
    """Release an allocation that is there."""

    async def work() -> None:
        await world.kit.allocations.release(key, "", "")

    world.run(work())
