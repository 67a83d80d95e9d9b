"""A backup was restored that knows less than the agents do."""

from __future__ import annotations

from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.reconcile import Held, HeldState
from computepool_broker.model.records import AllocationState, PartState
from computepool_broker.services.messages import Mark
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_agent, make_held_record, make_node, make_spec
from support.memory_store import MemoryStore

NODES = (make_node("n1"), make_node("n2", agent="a2", center="c2"))


async def test_a_part_that_was_placed_anew_since_the_backup_keeps_its_place() -> None:
    store = MemoryStore()
    async with running_broker(*NODES, store=store) as kit:
        made = await kit.create(make_spec(gpus=1, count=2, centers=("c1", "c2")))
        assert {p.node for p in made.parts} == {"n1"}
        backup = store.disk.backup()
        await kit.report(held=[Held(made.parts[0].lease_id(made.id), HeldState.REFUSED)])
        moved = (await kit.allocations.get(made.id)).parts[0]
        assert (moved.node, moved.place_revision) == ("n2", 1)
        revision = kit.pool.state.revision
    again = BrokerKit(MemoryStore(backup))
    await again.start()
    there = make_held_record(
        made.id,
        count=2,
        node="n2",
        amounts=moved.amounts,
        identity="store-1",
        revision=revision,
        spec=made.spec,
    )
    assert there.record is not None
    record = there.record._replace(
        lease_id=moved.lease_id(made.id), place_revision=1, digest=made.digest
    )
    await again.open(make_agent("a2", center="c2", session=2), Mark("store-1", 1, revision))
    held = there._replace(lease_id=record.lease_id, record=record)
    answer = await again.report([NODES[1]], [held], agent="a2", session=2)
    assert answer.commands == []
    back = await again.allocations.get(made.id)
    assert back.state is AllocationState.RESERVED
    assert [(p.node, p.state) for p in back.parts] == [
        ("n2", PartState.STARTED),
        ("n1", PartState.PENDING),
    ]
    await again.open(make_agent("a1", session=2))
    other = Held(made.parts[1].lease_id(made.id), HeldState.STARTED)
    record = there.record._replace(
        lease_id=other.lease_id, part_index=1, node="n1", digest=made.digest
    )
    await again.report([NODES[0]], [other._replace(record=record)], session=2)
    assert (await again.allocations.get(made.id)).state is AllocationState.ACTIVE
    assert not check_invariants(again.pool.state, again.pool.columns)
    await again.stop()
