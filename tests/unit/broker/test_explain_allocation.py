"""Explanations of requests and of allocations, through the services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.errors import InvalidArgumentError, NoRoomError, NotFoundError
from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.ledger.transaction import Blocker, NodeAmounts, SetBlockers
from computepool_broker.model.records import AllocationState, PartState
from computepool_broker.model.request import Power, Spread, SpreadOver
from computepool_broker.placement import reasons
from computepool_broker.placement.planner import Planner
from computepool_broker.rpc.explain import ExplainCalls
from computepool_broker.rpc.from_wire import SpecReader
from computepool_broker.rpc.to_wire import spec_message
from support.broker_kit import THREE, BrokerKit, activate, running_broker
from support.builders import (
    commit,
    make_allocation,
    make_columns,
    make_config,
    make_held,
    make_node,
    make_part,
    make_spec,
)

if TYPE_CHECKING:
    from computepool_broker.model.request import Spec
    from computepool_broker.placement.columns import Columns
    from computepool_broker.services.explanations import Explanation


GROWN_UP = make_config(warm_up_s=0.0)
"""Of a broker that waits for nobody any more."""


async def why(kit: BrokerKit, allocation_id: str) -> Explanation:
    told, _ = await kit.explanations.of_allocation(allocation_id, lambda a: a)
    return told


def calls(kit: BrokerKit) -> ExplainCalls:
    return ExplainCalls(kit.explanations, kit.pool, SpecReader(), kit.answers)


async def test_a_request_is_told_where_it_would_go_and_what_else_could_take_it() -> None:
    nodes = [make_node("n1", gpus=8), make_node("n2", gpus=2), make_node("n3", gpus=0)]
    async with running_broker(*nodes) as kit:
        told = await kit.explanations.of_request(make_spec(gpus=2, cpu=4))
        (part,) = told.parts
        assert (part.place.node, part.rank, part.candidates) == ("n2", 1, 2)
        assert (part.place.cpu_milli_left, part.place.device_milli_left) == (60_000, 0)
        assert [other.node for other in part.others] == ["n1"]
        assert part.others[0].device_milli_left == 6_000
        assert part.place.score > part.others[0].score
        assert told.summary == (
            "would go to n2 in c1: n2 is the best of 2 nodes that can take it; "
            "it leaves 60 cores and 0 devices free there"
        )
        got = {step.reason: step.nodes for step in told.filters}
        assert got == {"NOT_SCHEDULABLE": 3, "MODEL": 2, "DEVICES": 2, "CPU": 2}
        assert kit.pool.state.live == 0


async def test_a_refused_request_is_told_what_would_fit() -> None:
    async with running_broker(make_node(gpus=6), config=GROWN_UP) as kit:
        told = await kit.explanations.of_request(make_spec(gpus=7))
        assert told.refusal is not None
        assert told.refusal.beyond_pool
        assert [near.field for near in told.refusal.nearest] == ["part.devices"]
        assert told.summary == told.refusal.summary
        _, refusal, revision = await kit.explanations.preview(make_spec(gpus=7), list)
        assert refusal == told.refusal
        assert refusal.revision == revision == told.revision


async def test_a_gang_is_told_by_nodes() -> None:
    nodes = [make_node(f"n{at:02}", gpus=1) for at in range(12)]
    async with running_broker(*nodes) as kit:
        told = await kit.explanations.of_request(make_spec(gpus=1, count=10))
        assert [part.part for part in told.parts] == list(range(8))
        assert told.omitted == 2
        assert told.summary.startswith("10 parts would go to n00 in c1, n01 in c1")


async def test_a_reserved_allocation_names_the_agents_that_are_awaited() -> None:
    async with running_broker(*THREE) as kit:
        made = await kit.create(make_spec(gpus=8, count=2))
        await kit.report(held=[make_held(made.parts[0].lease_id(made.id))])
        told = await why(kit, made.id)
        assert told.summary.startswith("reserved on n1, n2; waits for a2 (heard ")
        assert told.summary.endswith("to admit 1 of 2 parts")
        assert [part.state for part in told.parts] == [PartState.ADMITTED, PartState.PENDING]
        assert told.parts[1].summary.startswith("waits for agent a2 to admit it; n2 is ")


async def test_an_active_allocation_is_ranked_as_if_its_own_amounts_were_free() -> None:
    nodes = [make_node("n1", gpus=2), make_node("n2", gpus=4)]
    async with running_broker(*nodes) as kit:
        made = await activate(kit, gpus=2, cpu=1)
        told = await why(kit, made)
        (part,) = told.parts
        assert told.summary == "active on n1"
        assert (part.rank, part.candidates, part.place.node) == (1, 2, "n1")
        assert (part.place.device_milli_left, part.place.cpu_milli_left) == (0, 63_000)
        assert dict(told.filters)["DEVICES"] == 2
        # It is full now, and was only thought to be free: another goes elsewhere.
        assert (await kit.create(make_spec(gpus=2))).parts[0].node == "n2"


async def test_a_place_that_could_not_be_taken_now_has_no_rank() -> None:
    async with running_broker(make_node("n1"), make_node("n2", gpus=9)) as kit:
        made = await activate(kit, gpus=8)
        await kit.inventory.cordon_node("n1", "", on=True)
        (part,) = (await why(kit, made)).parts
        assert (part.rank, part.candidates, part.place.score) == (0, 1, 0)
        assert part.summary == "n1 could not take it now; 1 other node could"


async def test_an_ended_allocation_says_how_and_who_still_has_to_let_go() -> None:
    async with running_broker(make_node()) as kit:
        made = await activate(kit, gpus=1)
        await kit.allocations.release(made, "", "done with it")
        told = await why(kit, made)
        assert told.summary.startswith("ended: RELEASED (done with it); waits for a1 (heard ")
        assert told.parts[0].summary.startswith("waits for agent a1 to let go of it")
        await kit.report(held=[])
        told = await why(kit, made)
        assert told.summary == "ended: RELEASED (done with it)"
        assert told.parts[0].summary.startswith("is over; ")


async def test_what_there_is_not_is_not_explained() -> None:
    async with running_broker(make_node()) as kit:
        with pytest.raises(NotFoundError):
            await why(kit, "never")
        with pytest.raises(InvalidArgumentError) as refused:
            await calls(kit).explain(wire.ExplainAllocationRequest())
        assert refused.value.field == "subject"


async def test_it_is_told_on_the_wire_with_the_allocation_and_the_specs_that_fit() -> None:
    async with running_broker(make_node(gpus=4)) as kit:
        made = await activate(kit, gpus=3)
        told = await calls(kit).explain(wire.ExplainAllocationRequest(id=made))
        assert told.allocation.id == made
        assert told.allocation.leases[0].node == "n1"
        assert told.parts[0].state == int(PartState.STARTED)
        assert told.view_revision == kit.pool.columns.version
        asked = spec_message(make_spec(gpus=3))
        told = await calls(kit).explain(wire.ExplainAllocationRequest(spec=asked))
        fits = told.refusal.nearest[0]
        assert (fits.field, fits.asked, fits.fits) == ("part.devices", "3 devices", "1 device")
        assert fits.spec == spec_message(make_spec(gpus=1))
        assert fits.center == "c1"
        preview = await calls(kit).preview(wire.PreviewAllocationRequest(spec=fits.spec))
        assert [lease.center for lease in preview.leases] == ["c1"]
        assert not preview.HasField("refusal")


async def test_nothing_is_beyond_a_pool_whose_agents_may_still_come() -> None:
    async with running_broker(make_node(gpus=4)) as kit:
        with pytest.raises(NoRoomError) as refused:
            await kit.create(make_spec(gpus=5))
        assert not refused.value.refusal.beyond_pool
        assert refused.value.retry_after_ms is not None


async def test_what_is_beyond_the_pool_gets_no_hint_to_try_again() -> None:
    async with running_broker(make_node(gpus=4), config=GROWN_UP) as kit:
        with pytest.raises(NoRoomError) as refused:
            await kit.create(make_spec(gpus=5))
        assert refused.value.refusal.beyond_pool
        assert refused.value.refusal.nearest == ()  # only for who asks for it
        assert refused.value.retry_after_ms is None
        await activate(kit, gpus=4)
        with pytest.raises(NoRoomError) as refused:
            await kit.create(make_spec(gpus=4))
        assert not refused.value.refusal.beyond_pool
        assert refused.value.retry_after_ms is not None


async def test_a_spread_stays_even_when_an_agent_refuses_a_part() -> None:
    nodes = [make_node(f"n{at}", agent=f"a{at}", center=f"c{at % 3}") for at in range(6)]
    async with running_broker(*nodes) as kit:
        wanted = make_spec(gpus=1, count=3, spread=Spread(SpreadOver.CENTERS))
        made = await kit.create(wanted)
        state = kit.pool.state
        assert sorted(state.nodes[p.node].record.center for p in made.parts) == ["c0", "c1", "c2"]
        part = made.parts[1]
        agent = state.nodes[part.node].record.agent
        lease = make_held(part.lease_id(made.id), HeldState.REFUSED, "NO_ROOM")
        await kit.report(held=[lease], agent=agent)
        now = state.allocations[made.id]
        assert now.parts[1].node != part.node
        assert sorted(state.nodes[p.node].record.center for p in now.parts) == ["c0", "c1", "c2"]


async def test_power_becomes_active_part_by_part_and_moves_as_it_is() -> None:
    nodes = [
        make_node("n1", gpus=2, agent="a1"),
        make_node("n2", gpus=2, agent="a2"),
        make_node("n3", gpus=2, agent="a3", model="A100"),
        make_node("n4", gpus=2, agent="a4"),
    ]
    async with running_broker(*nodes) as kit:
        wanted = make_spec(cpu=3, power=Power(3 * 989_400), models=["H800"])
        made = await kit.create(wanted, request_id="once")
        assert made.spec.parts == len(made.parts) == 2
        assert {part.node: part.amounts[0] for part in made.parts} == {
            "n1": ("cpu_milli", 6000),
            "n2": ("cpu_milli", 3000),
        }
        assert (await kit.create(wanted, request_id="once")).id == made.id
        part = made.parts[0]
        lease = make_held(part.lease_id(made.id), HeldState.REFUSED, "NO_ROOM")
        await kit.report(held=[lease], agent="a1")
        now = kit.pool.state.allocations[made.id]
        assert (now.parts[0].node, len(now.parts[0].amounts)) == ("n4", 3)
        for part, agent in zip(now.parts, ("a4", "a2"), strict=True):
            await kit.report(held=[make_held(part.lease_id(made.id))], agent=agent)
        assert kit.pool.state.allocations[made.id].state is AllocationState.ACTIVE
        told = await why(kit, made.id)
        assert [p.model for p in told.parts] == ["H800", "H800"]


SMALL = st.integers(0, 3)


@settings(max_examples=200, deadline=None)
@given(
    nodes=st.lists(st.tuples(SMALL, SMALL, st.booleans()), min_size=1, max_size=6),
    gpus=st.integers(1, 2),
    at=st.integers(0, 5),
)
def test_the_rank_is_that_in_a_pool_without_the_part(
    nodes: list[tuple[int, int, bool]], gpus: int, at: int
) -> None:
    made = [make_node(f"n{i}", gpus=g, cpu=c) for i, (g, c, _) in enumerate(nodes)]
    spec = make_spec(gpus=gpus, cpu=1)
    columns, state = make_columns(*made)
    for i, (_, _, cordoned) in enumerate(nodes):
        if cordoned:
            commit(state, blockers=(SetBlockers(f"n{i}", Blocker.CORDONED),))
    node = f"n{at % len(nodes)}"
    held = (("cpu_milli", 1000), *((f"d/{node}-d{i}", 1000) for i in range(gpus)))
    want, candidates, filters = expected(columns, spec, state.nodes[node].row)
    commit(state, reserve=(NodeAmounts(node, held, forced=True),))
    part = make_part(0, node, amounts=held)
    (told,) = reasons.of_parts(columns, spec, make_allocation("x", part, spec=spec).parts)
    assert (told.rank, told.candidates) == (want, candidates)
    assert reasons.funnel_of_part(columns, spec, [part])[-1].nodes == filters == candidates
    assert len(told.others) == min(5, candidates - bool(want))


def expected(columns: Columns, spec: Spec, row: int) -> tuple[int, int, int]:
    """Rank, candidates and the last filter's nodes while the part is not there yet."""
    _, packed = Planner(columns).judged(spec.shape)
    fitting = sorted((key for key in packed.tolist() if key), reverse=True)
    key = packed.item(row)
    rank = fitting.index(key) + 1 if key else 0
    return rank, len(fitting), reasons.funnel(columns, spec.shape)[-1].nodes
