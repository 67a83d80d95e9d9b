"""Agents that were held up, robbed of their name or believed for too long, and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from computepool.v1 import agent_pb2 as wire
from computepool.v1 import types_pb2 as types
from computepool_broker.errors import AgentNameTakenError, NodeOwnedError
from computepool_broker.ledger.reconcile import Held, HeldState
from computepool_broker.model.records import AgentState, AllocationState, EndReason
from computepool_broker.rpc.sizes import MAX_MESSAGE_BYTES
from computepool_broker.services.grants import Create
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_agent, make_node, make_spec
from support.memory_store import MemoryStore

if TYPE_CHECKING:
    from computepool_broker.model.records import Allocation

LONG_LABELS = tuple((f"{'k' * 120}-{at:02}", "v" * 256) for at in range(64))
NO_CALL: Any = None


def refused(allocation: Allocation, position: int) -> Held:
    lease_id = allocation.parts[position].lease_id(allocation.id)
    return Held(lease_id, HeldState.REFUSED, "UNSCHEDULABLE")


async def test_many_grants_with_long_records_reach_their_agent_in_several_answers() -> None:
    async with running_broker(make_node(gpus=0, cpu=1000)) as kit:
        spec = make_spec(cpu=1, count=300)
        made, _ = await kit.allocations.create(Create("default", "", spec, "", LONG_LABELS), 0)
        held: dict[str, wire.HeldLease] = {}
        for sequence in range(2, 20):
            answer = await kit.wire.Sync(
                wire.SyncRequest(
                    agent="a1",
                    session=1,
                    sequence=sequence,
                    leases=held.values(),
                    nodes_unchanged=True,
                ),
                NO_CALL,
            )
            assert answer.ByteSize() < MAX_MESSAGE_BYTES
            if len(held) == len(made.parts):
                break
            whole = len(held) + len(answer.commands) == len(made.parts)
            assert whole or answer.next_sync_ms == answer.least_gap_ms
            for command in answer.commands:
                held[command.lease_id] = wire.HeldLease(
                    lease_id=command.lease_id, state=types.LEASE_STATE_ADMITTED
                )
        allocation = await kit.allocations.get(made.id)
        assert allocation.state is AllocationState.ACTIVE


async def test_an_agent_whose_reports_cannot_be_used_is_silent() -> None:
    async with running_broker(make_node("n1"), make_node("n2", agent="a2", center="c2")) as kit:
        for _ in range(2):
            await kit.report(agent="a2")
            with pytest.raises(NodeOwnedError):
                await kit.report([make_node("n1"), make_node("n2")])
            await kit.tick()
        assert kit.pool.state.agents["a1"].state is AgentState.DISCONNECTED
        assert kit.pool.state.nodes["n1"].blockers


async def test_a_broker_restart_does_not_give_a_name_to_whoever_comes_first() -> None:
    store = MemoryStore()
    async with running_broker(make_node(), store=store):
        pass
    again = BrokerKit(MemoryStore(store.disk))
    await again.start()
    stranger = make_agent()._replace(journal_id="another", session=1)
    with pytest.raises(AgentNameTakenError):
        await again.open(stranger)
    await again.tick(times=3)  # the warm-up is over, and the agent has not come back
    await again.open(stranger)
    await again.stop()


async def test_a_gang_survives_that_a_whole_node_of_it_is_refused() -> None:
    nodes = (make_node("n1", gpus=0, cpu=8), make_node("n2", gpus=0, cpu=9))
    async with running_broker(*nodes) as kit:
        made = await kit.create(make_spec(cpu=1, count=8))
        assert {p.node for p in made.parts} == {"n1"}
        await kit.report(held=[refused(made, at) for at in range(8)])
        moved = await kit.allocations.get(made.id)
        assert moved.state is AllocationState.RESERVED
        assert {(p.node, p.place_revision) for p in moved.parts} == {("n2", 1)}


async def test_a_part_that_is_refused_everywhere_fails_after_three_more_places() -> None:
    nodes = tuple(make_node(f"n{at}", gpus=0) for at in range(9))
    async with running_broker(*nodes) as kit:
        made = await kit.create(make_spec(cpu=1))
        for want in (1, 2, 3):
            await kit.report(held=[refused(made, 0)])
            made = await kit.allocations.get(made.id)
            assert made.parts[0].place_revision == want
        await kit.report(held=[refused(made, 0)])
        made = await kit.allocations.get(made.id)
        assert made.end_reason is EndReason.FAILED


async def test_work_on_an_agent_that_was_stopped_for_good_ends_by_its_contact_term() -> None:
    async with running_broker(make_node()) as kit:
        made = await kit.create(make_spec(gpus=1, stop_after_s=400))
        lease_id = made.parts[0].lease_id(made.id)
        await kit.report(held=[Held(lease_id, HeldState.STARTED)])
        await kit.agents.close_session("a1", 1)
        await kit.tick(times=16)
        assert (await kit.allocations.get(made.id)).end_reason is EndReason.NONE
        await kit.tick(times=6)
        assert (await kit.allocations.get(made.id)).end_reason is EndReason.LOST
