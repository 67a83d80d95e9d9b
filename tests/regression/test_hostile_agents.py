"""One agent, hostile or with a slip in its settings, that spoiled the pool for all others."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict

from computepool.v1 import agent_pb2, inventory_pb2
from computepool_broker.errors import InvalidArgumentError
from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.reconcile import Held, HeldState
from computepool_broker.model.amounts import MAX_AMOUNT
from computepool_broker.model.records import Device
from computepool_broker.model.refusal import Refusal
from computepool_broker.placement import columns as columns_module
from computepool_broker.rpc.inventory import InventoryServicer
from computepool_broker.rpc.sizes import MAX_MESSAGE_BYTES
from computepool_broker.services.intake import MOST_COMMANDS
from support.agent_wire import read_whole
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_agent, make_node, make_spec

TIB = 1024


async def view_of(kit: BrokerKit) -> inventory_pb2.GetViewResponse:
    wire = InventoryServicer(
        kit.inventory, kit.agents, kit.auditor, kit.pool, kit.lists, kit.watches
    )
    return await wire.GetView(inventory_pb2.GetViewRequest(), None)  # type: ignore[arg-type]


async def test_nodes_of_absurd_size_do_not_break_the_view() -> None:
    most = MAX_AMOUNT // TIB
    nodes = [make_node(f"n{at}", memory=most) for at in range(9_000)]
    async with running_broker(*nodes) as kit:
        seen = await view_of(kit)
        assert seen.regions[0].centers[0].memory_mib.total == 2**63 - 1
        assert seen.regions[0].centers[0].nodes == len(nodes)


async def test_kinds_of_devices_that_are_gone_leave_room_for_others() -> None:
    async with running_broker(make_node("n1"), make_node("n2", agent="a2")) as kit:
        many = [
            make_node(
                f"m{n}",
                extras={f"e{n}-{at}": 1 for at in range(30)},
                devices=tuple(Device(f"d{at}", f"X{n}-{at}", 1) for at in range(63)),
            )
            for n in range(8)
        ]
        await kit.report(many)
        await kit.report([make_node("n1")])
        new = make_node(
            "n2",
            agent="a2",
            devices=tuple(Device(f"d{at}", f"Q{at}", 1) for at in range(8)),
            extras={f"q{at}": 3 for at in range(32)},
        )
        await kit.report([new], agent="a2")
        made = await kit.create(make_spec(gpus=1, models=["Q1"], extras={"q1": 2}))
        assert made.parts[0].node == "n2"
        other = await kit.create(make_spec(gpus=8, models=["H800"]))
        assert other.parts[0].node == "n1"
        kit.pool.columns.settle()
        assert not check_invariants(kit.pool.state, kit.pool.columns)


async def test_labels_that_change_with_each_report_do_not_pile_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(columns_module, "SPARE_NAMES", 10)
    still = make_node("n2", agent="a2", labels={"disk": "fast"})
    async with running_broker(make_node("n1"), still) as kit:
        for at in range(100):
            await kit.report([make_node("n1", labels={"seen": str(at)})])
            made = await kit.create(make_spec(gpus=1, labels={"disk": "fast"}, ttl_s=10))
            assert made.parts[0].node == "n2"
            await kit.allocations.release(made.id, "", "")
            await kit.report(agent="a2")
            await kit.report(agent="a2")
        now = await kit.create(make_spec(gpus=1, labels={"seen": "99"}))
        assert now.parts[0].node == "n1"
        assert len(kit.pool.columns.label_sets) < 20
        assert not check_invariants(kit.pool.state, kit.pool.columns)


async def test_an_agent_cannot_move_the_center_of_others_to_another_region() -> None:
    async with running_broker(make_node("n1")) as kit:
        astray = make_agent("a2")._replace(region="r2")
        with pytest.raises(InvalidArgumentError, match="region"):
            await kit.open(astray)
        assert [region.region for region in (await view_of(kit)).regions] == ["r1"]


async def test_a_center_moves_to_another_region_with_its_only_agent() -> None:
    async with running_broker(make_node("n1")) as kit:
        await kit.create(make_spec(gpus=1, regions=["r1"]))
        await kit.open(make_agent("a1", session=2)._replace(region="r2"))
        await kit.report([make_node("n1", region="r2")], session=2)
        places, refusal, _ = await kit.explanations.preview(make_spec(gpus=1, regions=["r2"]), list)
        assert refusal is None
        assert places[0].node == "n1"
        _, refusal, _ = await kit.explanations.preview(make_spec(gpus=1, regions=["r1"]), list)
        assert isinstance(refusal, Refusal)


def test_a_lease_is_not_named_in_control_characters() -> None:
    for name in ("\x1b[31mred", "\u202egnp", "two\nlines"):
        lease = {"leaseId": name, "state": "LEASE_STATE_REFUSED"}
        usual = {"agent": "a1", "session": 1, "sequence": 1, "leases": [lease]}
        message = ParseDict(usual, agent_pb2.SyncRequest())
        with pytest.raises(InvalidArgumentError, match=r"leases\[0\].lease_id"):
            read_whole(message)


async def test_an_answer_with_very_many_commands_stays_a_message_that_can_be_sent() -> None:
    async with running_broker(make_node()) as kit:
        strays = [Held(f"{'x' * 110}.{at}.0", HeldState.ADMITTED) for at in range(40_000)]
        told: set[str] = set()
        answers = 0
        while len(told) < len(strays):
            left = [h for h in strays if h.lease_id not in told]
            answer = await kit.report([make_node()], left)
            message = kit.wire._answer(answer)
            assert message.ByteSize() < MAX_MESSAGE_BYTES
            told.update(command.lease_id for command in message.commands)
            whole = len(told) == len(strays)
            assert whole or message.next_sync_ms == answer.least_gap_ms
            answers += 1
        assert answers == len(strays) / MOST_COMMANDS
