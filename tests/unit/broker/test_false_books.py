"""Every table is falsified by hand, and the audit must name it rather than fall over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.ledger.state import LeaseRef
from computepool_broker.model.records import AllocationState, PartState
from computepool_broker.services.audit import Finding, FindingKind
from support.broker_kit import BrokerKit, running_broker
from support.builders import (
    make_columns,
    make_devices,
    make_held,
    make_held_record,
    make_node,
    make_spec,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.placement.columns import Columns


async def one_active(kit: BrokerKit) -> str:
    """Make an allocation of one whole device of n1 active and started; gives its lease."""
    made = await kit.create(make_spec(gpus=1), request_id="r")
    lease = f"{made.id}.0.0"
    await kit.report(held=[make_held(lease)])
    await kit.report(held=[make_held(lease, HeldState.STARTED)])
    return lease


def allocation_of(lease: str) -> str:
    return lease.partition(".")[0]


async def findings(kit: BrokerKit) -> list[Finding]:
    return (await kit.auditor.run()).findings


async def test_a_sound_pool_has_no_findings_and_the_audit_says_how_much_it_looked_at() -> None:
    async with running_broker(make_node("n1"), make_node("n2", agent="a2")) as kit:
        await one_active(kit)
        audited = await kit.auditor.run()
        assert audited == ([], 2, 1)
        assert kit.pool.audit_findings == 0
        assert check_invariants(kit.pool.state, kit.pool.columns) == []


# -- books -----------------------------------------------------------------------------------


def _used(kit: BrokerKit, _: str) -> None:
    kit.pool.state.nodes["n1"].used["d/n1-d0"] = 500


def _counted(kit: BrokerKit, _: str) -> None:
    kit.pool.state.nodes["n1"].leases = 2


def _index_lost(kit: BrokerKit, lease: str) -> None:
    del kit.pool.state.agents["a1"].leases[lease]


def _index_astray(kit: BrokerKit, lease: str) -> None:
    kit.pool.state.agents["a1"].leases[lease] = LeaseRef("nobody", 0)


def _index_of_another_part(kit: BrokerKit, lease: str) -> None:
    leases = kit.pool.state.agents["a1"].leases
    leases["other.0.0"] = leases.pop(lease)


def _gone_part(kit: BrokerKit, lease: str) -> None:
    allocation = kit.pool.state.allocations[allocation_of(lease)]
    allocation.parts[0].state = PartState.GONE


def _node_lost(kit: BrokerKit, _: str) -> None:
    del kit.pool.state.nodes["n1"]


def _agent_lost(kit: BrokerKit, _: str) -> None:
    del kit.pool.state.agents["a1"]


def _unknown_node(kit: BrokerKit, lease: str) -> None:
    kit.pool.state.allocations[allocation_of(lease)].parts[0].node = "n9"


def _request_id_lost(kit: BrokerKit, _: str) -> None:
    kit.pool.state.request_ids.clear()


FALSIFIED: list[tuple[Callable[[BrokerKit, str], None], str]] = [
    (_used, "used {'d/n1-d0': 500} but leases sum to {'d/n1-d0': 1000}"),
    (_counted, "2 leases counted, 1 are there"),
    (_index_lost, "part 0 is not in its agent's index"),
    (_index_astray, "leads nowhere"),
    (_index_of_another_part, "other.0.0 is not the part that it leads to"),
    (_gone_part, "is not the part that it leads to"),
    (_unknown_node, "is on a node of another agent"),
    (_unknown_node, "part 0 is on unknown node n9"),
    (_node_lost, "listed as the agent's, and no such node is there"),
    (_agent_lost, "part 0 is not in its agent's index"),
    (_request_id_lost, "request_id 'r' leads nowhere"),
]


@pytest.mark.parametrize(
    ("falsify", "want"), FALSIFIED, ids=[f"{f.__name__}: {w}" for f, w in FALSIFIED]
)
async def test_a_false_book_is_named(falsify: Callable[[BrokerKit, str], None], want: str) -> None:
    async with running_broker(make_node("n1")) as kit:
        lease = await one_active(kit)
        falsify(kit, lease)
        books = [f.message for f in await findings(kit) if f.kind is FindingKind.BOOKS]
        assert any(want in message for message in books), books


@pytest.mark.parametrize(
    ("state", "part", "want"),
    [
        (AllocationState.ENDED, PartState.STARTED, "ended with parts"),
        (AllocationState.RELEASING, PartState.STARTED, "releasing with parts"),
        (AllocationState.RELEASING, PartState.GONE, "releasing with parts"),
        (AllocationState.ACTIVE, PartState.PENDING, "active with parts"),
        (AllocationState.ACTIVE, PartState.RELEASING, "active with parts"),
        (AllocationState.RESERVED, PartState.RELEASING, "reserved with parts"),
    ],
)
async def test_a_state_that_does_not_follow_from_the_parts_is_named(
    state: AllocationState, part: PartState, want: str
) -> None:
    async with running_broker(make_node("n1")) as kit:
        lease = await one_active(kit)
        allocation = kit.pool.state.allocations[allocation_of(lease)]
        allocation.state, allocation.parts[0].state = state, part
        assert any(want in f.message and f.lease_id == allocation.id for f in await findings(kit))


async def test_a_device_that_is_given_out_twice_is_named() -> None:
    async with running_broker(make_node("n1")) as kit:
        first = await kit.create(make_spec(gpus=1))
        second = await kit.create(make_spec(gpus=1))
        kit.pool.state.allocations[second.id].parts[0].amounts = first.parts[0].amounts
        messages = [f.message for f in await findings(kit)]
        assert "d/n1-d0 is granted 2000/1000" in messages


async def test_a_request_id_that_leads_to_anothers_allocation_is_wrong() -> None:
    async with running_broker(make_node("n1")) as kit:
        made = await kit.create(make_spec(gpus=1), request_id="r")
        kit.pool.state.request_ids["default", "other"] = made.id
        assert check_invariants(kit.pool.state) == [f"request_id 'other' leads to {made.id}"]


async def test_wrong_moving_leases_are_wrong() -> None:
    async with running_broker(make_node("n1")) as kit:
        await kit.create(make_spec(gpus=1))
        kit.pool.state.moving.clear()
        assert check_invariants(kit.pool.state) == [
            "the moving leases are not what the records say"
        ]


# -- ledger and agents -----------------------------------------------------------------------


async def test_a_lease_that_only_the_ledger_has_is_a_phantom() -> None:
    async with running_broker(make_node("n1")) as kit:
        lease = await one_active(kit)
        kit.pool.life("a1").held.clear()
        want = Finding(FindingKind.PHANTOM, "n1", lease, "agent a1 does not hold it")
        assert await findings(kit) == [want]


async def test_a_lease_that_the_agent_has_not_yet_heard_of_is_no_phantom() -> None:
    async with running_broker(make_node("n1")) as kit:
        await one_active(kit)
        life = kit.pool.life("a1")
        life.held.clear()
        life.applied_revision = 0
        assert await findings(kit) == []


async def test_a_lease_that_only_the_agent_has_is_an_orphan_at_its_second_report() -> None:
    async with running_broker(make_node("n1")) as kit:
        stray = make_held("stray.0.0", HeldState.STARTED)
        await kit.report(held=[stray])
        assert await findings(kit) == []  # it has only now been told to end it
        await kit.report(held=[stray])
        want = Finding(FindingKind.ORPHAN, "", "stray.0.0", "agent a1 holds it against the ledger")
        assert await findings(kit) == [want]
        await kit.report(held=[make_held("stray.0.0", HeldState.RELEASING)])
        assert await findings(kit) == []


async def test_a_silent_agent_is_not_asked_to_agree() -> None:
    async with running_broker(make_node("n1")) as kit:
        await one_active(kit)
        await kit.tick(times=2)
        kit.pool.life("a1").held.clear()
        assert await findings(kit) == []


# -- the world and the view ------------------------------------------------------------------


async def test_a_node_that_shrinks_under_its_leases_is_overcommitted() -> None:
    async with running_broker(make_node("n1")) as kit:
        lease = await one_active(kit)
        devices = make_devices("n1", 8, foreign=400)
        held = [make_held(lease, HeldState.STARTED)]
        await kit.report([make_node("n1", devices=devices)], held)
        want = Finding(FindingKind.OVERCOMMIT, "n1", "", "d/n1-d0: 400 more than there is")
        assert await findings(kit) == [want]


async def test_an_adopted_lease_that_contradicts_another_is_a_conflict() -> None:
    async with running_broker(make_node("n1")) as kit:
        lease = await one_active(kit)
        await kit.open()
        mine = make_held_record(allocation_of(lease), amounts=whole("n1", 0))
        other = make_held_record("y", amounts=whole("n1", 0))
        await kit.report([make_node("n1")], [mine, other])
        kinds = {(f.kind, f.node) for f in await findings(kit)}
        assert (FindingKind.CONFLICT, "n1") in kinds
        assert FindingKind.BOOKS not in {kind for kind, _ in kinds}


def _no_row(columns: Columns) -> None:
    columns.books[0] = None


def _schedulable(columns: Columns) -> None:
    columns.ok[0] = False


def _free(columns: Columns) -> None:
    columns.free_memory[0] += 1


def _devices(columns: Columns) -> None:
    columns.free_milli[0] = 0


def _whole(columns: Columns) -> None:
    columns.free_whole[:, 0] = 0


@pytest.mark.parametrize(
    ("falsify", "want"),
    [
        (_no_row, "the view has no row for it"),
        (_schedulable, "schedulable in the view and not in the ledger, or the other way round"),
        (_free, "memory_mib: free 524289 in the view, 524288 in the ledger"),
        (_devices, "free devices differ between view and ledger"),
        (_whole, "0 whole free devices in the view, not so in the ledger"),
    ],
)
async def test_a_false_row_of_the_view_is_named(
    falsify: Callable[[Columns], None], want: str
) -> None:
    async with running_broker(make_node("n1")) as kit:
        kit.pool.columns.settle()
        falsify(kit.pool.columns)
        assert await findings(kit) == [Finding(FindingKind.VIEW, "n1", "", want)]


def test_rows_of_nodes_that_left_hold_nothing() -> None:
    columns, state = make_columns(make_node("n1", extras={"slot": 1}), make_node("n2"))
    book = state.nodes["n1"]
    columns.settle()
    row = book.row
    columns.remove(book)
    assert book.row == -1
    for array in (columns.free, columns.total, columns.free_whole, columns.best_share):
        assert not np.any(array[:, row])
    assert not columns.ok[row]
    assert columns.extras["slot"][row] == 0
