"""Reports that name only what changed: what they mean, and what they may not say."""

from __future__ import annotations

import pytest

from computepool_broker.errors import (
    InvalidArgumentError,
    NodeOwnedError,
    ReportOutOfOrderError,
    SessionStaleError,
)
from computepool_broker.ledger.reconcile import Action, HeldState
from computepool_broker.model.records import AllocationState, PartState
from support.broker_kit import BrokerKit, running_broker
from support.builders import (
    make_agent,
    make_held,
    make_held_record,
    make_node,
    make_resources,
    make_spec,
)
from support.state_text import everything

N1, N2, N3 = (make_node(f"n{number}") for number in (1, 2, 3))


async def granted(kit: BrokerKit, state: HeldState = HeldState.STARTED) -> str:
    """A lease of agent a1 that report 2 shows; gives its name."""
    made = await kit.create(make_spec(gpus=1, centers=["c1"]))
    lease_id = made.parts[0].lease_id(made.id)
    await kit.report(held=[make_held(lease_id, state)])
    return lease_id


def part_of(kit: BrokerKit, lease_id: str) -> PartState:
    return kit.pool.state.allocations[lease_id.partition(".")[0]].parts[0].state


# -- what they mean --------------------------------------------------------------------------


async def test_what_a_difference_does_not_name_is_as_before() -> None:
    async with running_broker(N1, N2) as kit:
        lease_id = await granted(kit)
        answer = await kit.report(base=2)
        assert (answer.want_full, answer.commands) == (False, [])
        assert set(kit.pool.state.nodes) == {"n1", "n2"}
        assert part_of(kit, lease_id) is PartState.STARTED
        assert set(kit.pool.life("a1").held) == {lease_id}


async def test_nodes_that_are_not_named_were_looked_at_anew() -> None:
    async with running_broker(N1, N2) as kit:
        await kit.tick()
        assert kit.pool.center_ages_ms() == {"c1": 20_000}
        await kit.report(base=1)
        assert kit.pool.center_ages_ms() == {"c1": 0}


async def test_nodes_come_change_and_go() -> None:
    async with running_broker(N1, N2) as kit:
        busy = make_node("n1", foreign=make_resources(cpu=9))
        await kit.report([busy, N3], base=1, nodes_gone=["n2"])
        assert {n: b.record for n, b in kit.pool.state.nodes.items()} == {"n1": busy, "n3": N3}


async def test_a_lease_moves_on_when_it_is_named() -> None:
    async with running_broker(N1) as kit:
        made = await kit.create(make_spec(gpus=1))
        lease_id = made.parts[0].lease_id(made.id)
        (line,) = (await kit.report(base=1)).commands
        assert (line.lease_id, line.action) == (lease_id, Action.ADMIT)
        answer = await kit.report(held=[make_held(lease_id, HeldState.ADMITTED)], base=2)
        assert [c.action for c in answer.commands] == [Action.START]
        assert [c.action for c in (await kit.report(base=3)).commands] == [Action.START]
        answer = await kit.report(held=[make_held(lease_id, HeldState.STARTED)], base=4)
        assert answer.commands == []
        assert part_of(kit, lease_id) is PartState.STARTED


async def test_devices_come_back_when_the_lease_is_gone_and_the_end_was_applied() -> None:
    async with running_broker(N1) as kit:
        lease_id = await granted(kit)
        allocation_id = lease_id.partition(".")[0]
        before = kit.pool.state.revision
        await kit.allocations.release(allocation_id, "", "")
        (line,) = (await kit.report(base=2)).commands
        assert (line.lease_id, line.action) == (lease_id, Action.REVOKE)
        await kit.report(base=3, leases_gone=[lease_id], applied=before)
        assert part_of(kit, lease_id) is PartState.RELEASING
        assert kit.pool.state.nodes["n1"].used
        await kit.report(base=4)
        assert kit.pool.state.allocations[allocation_id].state is AllocationState.ENDED
        assert kit.pool.state.nodes["n1"].used == {}


async def test_a_wanted_lease_that_is_gone_is_commanded_again() -> None:
    async with running_broker(N1) as kit:
        lease_id = await granted(kit)
        (line,) = (await kit.report(base=2, leases_gone=[lease_id])).commands
        assert (line.lease_id, line.action) == (lease_id, Action.ADMIT)
        before = kit.pool.state.revision
        answer = await kit.report(held=[make_held(lease_id, HeldState.ADMITTED)], base=3)
        assert [c.action for c in answer.commands] == [Action.START]
        assert answer.mark.revision > before


async def test_a_difference_that_says_nothing_may_be_repeated() -> None:
    async with running_broker(N1) as kit:
        for _ in range(3):
            assert not (await kit.report(base=1)).want_full
        assert not (await kit.report(base=3)).want_full


async def test_an_unknown_lease_is_revoked_until_it_is_gone() -> None:
    async with running_broker(N1) as kit:
        stray = make_held("stray.0.0", HeldState.STARTED)
        for base, held in ((1, [stray]), (2, [])):
            (line,) = (await kit.report(held=held, base=base)).commands
            assert (line.lease_id, line.reason) == ("stray.0.0", "UNKNOWN_LEASE")
        assert kit.pool.life("a1").strays == {"stray.0.0"}
        assert (await kit.report(base=3, leases_gone=["stray.0.0"])).commands == []
        assert kit.pool.life("a1").strays == frozenset()


# -- gaps ------------------------------------------------------------------------------------


async def test_over_a_gap_nothing_counts_but_the_contact() -> None:
    async with running_broker(N1, N2) as kit:
        await kit.report([make_node("n1", cpu=1), N2], base=1)
        before = everything(kit.pool.state)
        await kit.tick(ms=5_000)
        answer = await kit.report([N3], base=1, nodes_gone=["n2"])
        assert answer.want_full
        assert answer.commands == []
        assert everything(kit.pool.state) == before
        life = kit.pool.life("a1")
        assert (life.heard_ms, life.observed_ms) == (5_000, 0)
        assert (await kit.report(base=3)).want_full, "what did not count is no base"
        assert not (await kit.report(base=2)).want_full


@pytest.mark.parametrize("base", [2, 9, 2**62])
async def test_a_base_that_never_was_is_a_gap(base: int) -> None:
    async with running_broker(N1) as kit:
        assert (await kit.report(base=base)).want_full


async def test_the_first_report_of_a_session_must_be_whole() -> None:
    async with running_broker(N1) as kit:
        await kit.report(base=1)
        await kit.open(make_agent("a1", session=2))
        answer = await kit.report([N1], base=1, session=2)
        assert answer.want_full
        assert not kit.pool.life("a1").reconciled


async def test_an_older_sessions_difference_is_refused() -> None:
    async with running_broker(N1) as kit:
        await kit.open(make_agent("a1", session=2))
        with pytest.raises(SessionStaleError):
            await kit.report(base=1, session=1)


async def test_a_difference_that_was_overtaken_is_refused() -> None:
    async with running_broker(N1) as kit:
        await kit.report(base=1)
        kit._sequences["a1"] = 0
        with pytest.raises(ReportOutOfOrderError):
            await kit.report([make_node("n1", cpu=1)], base=1)
        assert kit.pool.state.nodes["n1"].record == N1


# -- what they may not say -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"nodes": [N1, N1]}, "nodes"),
        ({"nodes": [N1], "nodes_gone": ["n1"]}, "nodes_gone"),
        ({"nodes_gone": ["n1", "n1"]}, "nodes_gone"),
        ({"nodes_gone": ["n1", "n9"]}, "nodes_gone[1]"),
        ({"nodes_gone": ["other"]}, "nodes_gone[0]"),
        ({"held": [make_held("x.0.0"), make_held("x.0.0")]}, "leases"),
        ({"held": [make_held("x.0.0")], "leases_gone": ["x.0.0"]}, "leases_gone"),
        ({"leases_gone": ["x.0.0"]}, "leases_gone[0]"),
    ],
)
async def test_a_contradiction_changes_nothing(said: dict[str, object], field: str) -> None:
    async with running_broker(N1, N2, make_node("other", agent="a2")) as kit:
        before = everything(kit.pool.state)
        with pytest.raises(InvalidArgumentError) as refused:
            await kit.report(**{"base": 1} | said)  # type: ignore[arg-type]
        assert refused.value.field == field
        assert everything(kit.pool.state) == before
        assert kit.pool.life("a1").held == {}
        assert not (await kit.report(base=1)).want_full, "the base is still there"


async def test_a_gone_node_cannot_go_again() -> None:
    async with running_broker(N1) as kit:
        await granted(kit)
        await kit.report(base=2, nodes_gone=["n1"])
        assert kit.pool.state.nodes["n1"].record.gone
        with pytest.raises(InvalidArgumentError, match="was not there"):
            await kit.report(base=3, nodes_gone=["n1"])
        await kit.report([N1], base=3)
        assert not kit.pool.state.nodes["n1"].record.gone


async def test_another_agents_lease_is_not_ours_to_let_go_or_to_hold() -> None:
    async with running_broker(N1, make_node("m1", agent="a2", center="c2")) as kit:
        lease_id = await granted(kit)
        with pytest.raises(InvalidArgumentError, match="leases_gone"):
            await kit.report(base=1, leases_gone=[lease_id], agent="a2")
        answer = await kit.report(held=[make_held(lease_id)], base=1, agent="a2")
        assert [(c.lease_id, c.reason) for c in answer.commands] == [(lease_id, "UNKNOWN_LEASE")]
        assert part_of(kit, lease_id) is PartState.STARTED
        assert (await kit.report(base=2)).commands == []


async def test_another_agents_node_is_refused_whole() -> None:
    async with running_broker(N1, make_node("m1", agent="a2", center="c2")) as kit:
        before = everything(kit.pool.state)
        with pytest.raises(NodeOwnedError):
            await kit.report([N3, make_node("m1")], base=1)
        assert everything(kit.pool.state) == before


# -- two agents with one configuration -------------------------------------------------------


async def test_two_agents_with_one_journal_take_turns_and_neither_does_harm() -> None:
    """Copied state folders: each OpenSession ends the other's session; the ledger stays right."""
    async with running_broker(N1) as kit:
        lease_id = await granted(kit)
        record = make_held_record().record
        held = make_held(lease_id, HeldState.STARTED)._replace(record=record)
        for session in range(2, 8):
            await kit.open(make_agent("a1", session=session))
            assert (await kit.report([N1], [held], session=session)).commands == []
            with pytest.raises(SessionStaleError):
                await kit.report(base=1, session=session - 1)
        with pytest.raises(SessionStaleError):
            await kit.open(make_agent("a1", session=3))
        assert len(kit.pool.lives) == len(kit.pool.state.agents) == 1
        assert part_of(kit, lease_id) is PartState.STARTED
