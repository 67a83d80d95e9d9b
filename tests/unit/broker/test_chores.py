"""What the broker does as time passes: expiry, silence, lost agents, warm-up, forgetting."""

from __future__ import annotations

import pytest

from computepool_broker.errors import LeaseEndedError, NoRoomError, NotFoundError, WarmingUpError
from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.model.records import AgentState, AllocationState, EndReason
from computepool_broker.services import chores
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_config, make_held, make_node, make_spec
from support.memory_store import MemoryDisk, MemoryStore

ACTIVE, DISCONNECTED, LOST = AgentState.ACTIVE, AgentState.DISCONNECTED, AgentState.LOST
NO_SILENCE = {"disconnected_after_s": 86_400.0, "lost_after_s": 86_400.0}
"""For tests of other clocks: nobody is taken for silent."""


def agent_states(kit: BrokerKit) -> dict[str, AgentState]:
    return {name: book.state for name, book in kit.pool.state.agents.items()}


async def admitted(kit: BrokerKit, held: HeldState = HeldState.STARTED, ttl_s: int = 3600) -> str:
    """An active allocation of one device on agent a1's node; gives its id."""
    made = await kit.create(make_spec(gpus=1, ttl_s=ttl_s))
    await kit.report(held=[make_held(f"{made.id}.0.0", held)])
    return made.id


# -- expiry ----------------------------------------------------------------------------------


async def test_an_allocation_expires_when_its_time_is_over_and_not_before() -> None:
    async with running_broker(make_node(), config=make_config(**NO_SILENCE)) as kit:
        key = await admitted(kit, ttl_s=60)
        await kit.tick(19_999, 3)
        assert (await kit.allocations.get(key)).state is AllocationState.ACTIVE
        await kit.tick(3)
        ended = await kit.allocations.get(key)
        assert (ended.state, ended.end_reason) == (AllocationState.RELEASING, EndReason.EXPIRED)
        with pytest.raises(LeaseEndedError, match="EXPIRED"):
            await kit.allocations.renew(key, "", 0)


async def test_a_renewal_starts_the_time_anew() -> None:
    async with running_broker(make_node(), config=make_config(**NO_SILENCE)) as kit:
        key = await admitted(kit, ttl_s=60)
        await kit.tick(times=2)
        await kit.allocations.renew(key, "", 0)
        await kit.tick(times=2)
        assert (await kit.allocations.get(key)).state is AllocationState.ACTIVE
        await kit.allocations.renew(key, "", 100)
        await kit.tick(times=4)
        assert (await kit.allocations.get(key)).state is AllocationState.ACTIVE
        await kit.tick()
        assert (await kit.allocations.get(key)).state is AllocationState.RELEASING


async def test_a_broker_that_was_stopped_for_an_hour_expires_nothing_for_it() -> None:
    async with running_broker(make_node()) as kit:
        key = await admitted(kit, ttl_s=60)
        await kit.tick(3_600_000)
        assert kit.pool.clock.now_ms == 20_000
        assert (await kit.allocations.get(key)).state is AllocationState.ACTIVE
        assert agent_states(kit) == {"a1": ACTIVE}


async def test_a_restarted_broker_gives_every_lease_its_full_time() -> None:
    disk = MemoryDisk()
    config = make_config(**NO_SILENCE)
    async with running_broker(make_node(), store=MemoryStore(disk), config=config) as kit:
        key = await admitted(kit, ttl_s=60)
        await kit.tick(times=2)
    async with running_broker(store=MemoryStore(disk), config=config) as kit:
        await kit.tick(times=2)
        assert (await kit.allocations.get(key)).state is AllocationState.ACTIVE
        await kit.tick()
        assert (await kit.allocations.get(key)).end_reason is EndReason.EXPIRED


async def test_more_expiries_than_a_tick_takes_are_ended_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chores, "MOST_PER_TICK", 2)
    config = make_config(**NO_SILENCE, admit_timeout_s=3600.0)
    async with running_broker(make_node(), config=config) as kit:
        made = [await kit.create(make_spec(cpu=1, ttl_s=20)) for _ in range(5)]
        left = []
        for _ in range(3):
            await kit.tick()
            alive = [(await kit.allocations.get(a.id)).end_reason is EndReason.NONE for a in made]
            left.append(sum(alive))
        assert left == [3, 1, 0]


# -- admission -------------------------------------------------------------------------------


async def test_what_no_agent_admits_in_time_has_failed_and_says_where() -> None:
    async with running_broker(make_node(), config=make_config(**NO_SILENCE)) as kit:
        made = await kit.create(make_spec(gpus=1))
        await kit.tick()
        assert (await kit.allocations.get(made.id)).state is AllocationState.RESERVED
        await kit.tick()
        failed = await kit.allocations.get(made.id)
        assert failed.end_reason is EndReason.FAILED
        assert failed.end_message == "not admitted within 30.0 s by the agents of n1"


async def test_what_was_admitted_in_time_does_not_fail_later() -> None:
    async with running_broker(make_node(), config=make_config(**NO_SILENCE)) as kit:
        key = await admitted(kit, HeldState.ADMITTED)
        await kit.tick(times=5)
        assert (await kit.allocations.get(key)).state is AllocationState.ACTIVE


# -- ended allocations -----------------------------------------------------------------------


async def test_an_ended_allocation_is_remembered_for_a_while_and_then_forgotten() -> None:
    config = make_config(**NO_SILENCE, retention_s=40.0)
    async with running_broker(make_node(), config=config) as kit:
        made = await kit.create(make_spec(gpus=1), request_id="r")
        await kit.allocations.release(made.id, "", "")
        await kit.report()
        await kit.tick()
        assert (await kit.allocations.get(made.id)).state is AllocationState.ENDED
        assert (await kit.create(make_spec(gpus=1), request_id="r")).id == made.id
        await kit.tick()
        with pytest.raises(NotFoundError):
            await kit.allocations.get(made.id)
        assert (await kit.create(make_spec(gpus=1), request_id="r")).id != made.id


async def test_what_is_still_being_torn_down_is_not_forgotten() -> None:
    config = make_config(**NO_SILENCE, retention_s=1.0)
    async with running_broker(make_node(), config=config) as kit:
        key = await admitted(kit)
        await kit.allocations.release(key, "", "")
        await kit.tick(times=3)
        assert (await kit.allocations.get(key)).state is AllocationState.RELEASING


# -- silence ---------------------------------------------------------------------------------


async def test_a_silent_agent_is_first_disconnected_and_then_lost() -> None:
    async with running_broker(make_node()) as kit:
        seen = []
        for _ in range(4):
            await kit.tick()
            seen.append(agent_states(kit)["a1"])
        assert seen == [ACTIVE, DISCONNECTED, LOST, LOST]


async def test_a_disconnected_agents_nodes_take_nothing_new_and_keep_what_they_have() -> None:
    async with running_broker(make_node()) as kit:
        key = await admitted(kit)
        await kit.tick(times=2)
        assert (await kit.allocations.get(key)).state is AllocationState.ACTIVE
        with pytest.raises(NoRoomError, match="NOT_SCHEDULABLE"):
            await kit.create(make_spec(cpu=1))
        await kit.report(held=[make_held(f"{key}.0.0", HeldState.STARTED)])
        assert agent_states(kit) == {"a1": ACTIVE}
        await kit.create(make_spec(cpu=1))


async def test_an_agent_that_reports_stays_active() -> None:
    async with running_broker(make_node()) as kit:
        for _ in range(5):
            await kit.tick()
            await kit.report()
        assert agent_states(kit) == {"a1": ACTIVE}


async def test_a_closed_agent_is_not_taken_for_silent() -> None:
    async with running_broker(make_node()) as kit:
        await kit.agents.close_session("a1", 1)
        await kit.tick(times=5)
        assert agent_states(kit) == {"a1": AgentState.CLOSED}


async def test_a_lost_agents_leases_end_by_their_contact_term_and_only_then() -> None:
    async with running_broker(make_node()) as kit:
        keeps = await admitted(kit)
        stops = await kit.create(make_spec(gpus=1, stop_after_s=70))
        held = [make_held(f"{key}.0.0", HeldState.STARTED) for key in (keeps, stops.id)]
        await kit.report(held=held)
        await kit.tick(20_000, 3)
        await kit.tick(14_999)  # lost for long; the term and the skew of clocks end in 1 ms
        assert (await kit.allocations.get(stops.id)).state is AllocationState.ACTIVE
        await kit.tick(1)
        lost = await kit.allocations.get(stops.id)
        assert (lost.state, lost.end_reason) == (AllocationState.RELEASING, EndReason.LOST)
        assert lost.end_message == "agent a1 has been silent for 75 s"
        assert (await kit.allocations.get(keeps)).state is AllocationState.ACTIVE


async def test_capacity_on_a_lost_agents_node_is_never_given_to_another() -> None:
    async with running_broker(make_node(gpus=1)) as kit:
        made = await kit.create(make_spec(gpus=1, stop_after_s=60))
        await kit.report(held=[make_held(f"{made.id}.0.0", HeldState.STARTED)])
        await kit.tick(times=6)
        assert (await kit.allocations.get(made.id)).end_reason is EndReason.LOST
        assert kit.pool.state.nodes["n1"].used == {"d/n1-d0": 1000}


# -- many silent at once ---------------------------------------------------------------------

CENTERS = [make_node(f"n{at}", center=f"c{at}", agent=f"a{at}") for at in range(4)]


async def silent_together(kit: BrokerKit, speaking: set[str], ticks: int) -> set[str]:
    """Time passes while only these agents report; names the lost ones."""
    for _ in range(ticks):
        for agent in sorted(speaking):
            await kit.report(agent=agent)
        await kit.tick()
    return {name for name, state in agent_states(kit).items() if state is LOST}


async def test_when_most_centers_fall_silent_nobody_is_lost_for_a_while() -> None:
    config = make_config(mass_silence_hold_s=100.0)
    async with running_broker(*CENTERS, config=config) as kit:
        assert await silent_together(kit, {"a0"}, 6) == set()
        assert kit.pool.mass_silence
        assert await silent_together(kit, {"a0"}, 1) == {"a1", "a2", "a3"}
        assert not kit.pool.mass_silence


async def test_when_half_of_the_centers_fall_silent_they_are_lost() -> None:
    async with running_broker(*CENTERS) as kit:
        assert await silent_together(kit, {"a0", "a1"}, 4) == {"a2", "a3"}


async def test_one_agent_that_speaks_makes_its_center_speak() -> None:
    more = make_node("n9", center="c1", agent="a9")
    async with running_broker(*CENTERS, more) as kit:
        assert await silent_together(kit, {"a0", "a9"}, 4) == {"a1", "a2", "a3"}


async def test_of_two_centers_both_can_be_lost() -> None:
    async with running_broker(*CENTERS[:2]) as kit:
        assert await silent_together(kit, set(), 4) == {"a0", "a1"}


async def test_centers_that_were_closed_in_good_order_do_not_count() -> None:
    async with running_broker(*CENTERS) as kit:
        await kit.agents.close_session("a1", 1)
        await kit.agents.close_session("a2", 1)
        assert await silent_together(kit, {"a0"}, 4) == {"a3"}


async def test_a_silence_that_ends_is_forgotten() -> None:
    config = make_config(mass_silence_hold_s=100.0)
    async with running_broker(*CENTERS, config=config) as kit:
        await silent_together(kit, {"a0"}, 5)
        await silent_together(kit, {"a0", "a1", "a2", "a3"}, 2)
        assert not kit.pool.mass_silence
        assert await silent_together(kit, {"a0"}, 5) == set()


# -- warm-up ---------------------------------------------------------------------------------


async def test_until_known_agents_are_back_no_room_is_no_answer() -> None:
    disk = MemoryDisk()
    async with running_broker(make_node(), store=MemoryStore(disk)):
        pass
    async with running_broker(store=MemoryStore(disk)) as kit:
        with pytest.raises(WarmingUpError, match="1 agent has yet to report"):
            await kit.create(make_spec(gpus=1))
        await kit.open()
        with pytest.raises(WarmingUpError):
            await kit.create(make_spec(gpus=1))
        await kit.report([make_node()])
        assert (await kit.create(make_spec(gpus=1))).state is AllocationState.RESERVED


async def test_what_fits_on_agents_that_are_back_is_granted_during_the_warm_up() -> None:
    disk = MemoryDisk()
    nodes = [make_node(), make_node("n2", agent="a2")]
    async with running_broker(*nodes, store=MemoryStore(disk)):
        pass
    async with running_broker(nodes[1], store=MemoryStore(disk)) as kit:
        assert kit.pool.warming_up
        assert (await kit.create(make_spec(gpus=1))).parts[0].node == "n2"


async def test_the_warm_up_ends_without_those_that_do_not_come_back() -> None:
    disk = MemoryDisk()
    async with running_broker(make_node(), store=MemoryStore(disk)):
        pass
    async with running_broker(store=MemoryStore(disk)) as kit:
        await kit.tick()
        assert kit.pool.warming_up
        await kit.tick()
        assert agent_states(kit) == {"a1": DISCONNECTED}
        with pytest.raises(NoRoomError, match="NOT_SCHEDULABLE"):
            await kit.create(make_spec(gpus=1))


async def test_a_broker_that_knows_nobody_has_nothing_to_wait_for() -> None:
    async with running_broker() as kit:
        with pytest.raises(NoRoomError, match="no agent has reported a node yet"):
            await kit.create(make_spec(gpus=1))


# -- the audit -------------------------------------------------------------------------------


async def test_the_audit_runs_at_its_interval() -> None:
    config = make_config(audit_interval_s=50.0)
    async with running_broker(make_node(), config=config) as kit:
        await kit.tick(times=2)
        assert kit.pool.audit_findings == -1
        await kit.tick()
        assert kit.pool.audit_findings == 0
        kit.pool.audit_findings = -1
        await kit.tick(times=2)
        assert kit.pool.audit_findings == -1
        await kit.tick()
        assert kit.pool.audit_findings == 0
