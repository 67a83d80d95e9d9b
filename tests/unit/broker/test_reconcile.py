"""What a report confirms, and what its agent is told: the difference of two states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_broker.ledger import lifecycle, reconcile
from computepool_broker.ledger.reconcile import Action, Held, HeldState
from computepool_broker.ledger.transaction import PutNode
from computepool_broker.model.records import AllocationState, Device, Devices, EndReason, PartState
from support.builders import (
    GIB,
    apply,
    commit,
    make_allocation,
    make_devices,
    make_node,
    make_part,
    make_resources,
    make_state,
    whole,
)

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.records import NodeRecord

RESERVED, ACTIVE = AllocationState.RESERVED, AllocationState.ACTIVE
RELEASING = AllocationState.RELEASING


def tables_with(part: PartState, state: AllocationState) -> LedgerState:
    made = make_allocation("x", make_part(state=part, amounts=whole("n1", 0)), state=state)
    return make_state(make_node(), make_node("n2", agent="a2"), allocations=[made])


def told(tables: LedgerState, *held: Held) -> list[tuple[str, Action, str]]:
    """What agent a1 is told when it holds these leases."""
    agent, has = tables.agents["a1"], {h.lease_id: h for h in held}
    todo = reconcile.commands(tables, agent, has, [*agent.leases, *(has.keys() - agent.leases)])
    return [(line.lease_id, line.action, line.reason) for line in todo]


# -- commands --------------------------------------------------------------------------------


def test_a_lease_that_the_agent_lacks_is_to_be_admitted_with_its_record() -> None:
    tables = tables_with(PartState.PENDING, RESERVED)
    (line,) = reconcile.commands(tables, tables.agents["a1"], {}, ["x.0.0"])
    x = tables.allocations["x"]
    assert line == ("x.0.0", Action.ADMIT, (x, x.parts[0]), "")


@pytest.mark.parametrize("part", [PartState.ADMITTED, PartState.STARTED])
def test_a_lease_that_the_agent_has_lost_is_to_be_admitted_again(part: PartState) -> None:
    assert told(tables_with(part, ACTIVE)) == [("x.0.0", Action.ADMIT, "")]


def test_nothing_starts_before_every_part_is_admitted() -> None:
    held = Held("x.0.0", HeldState.ADMITTED)
    assert told(tables_with(PartState.ADMITTED, RESERVED), held) == []
    assert told(tables_with(PartState.ADMITTED, ACTIVE), held) == [("x.0.0", Action.START, "")]


def test_a_started_lease_needs_nothing() -> None:
    held = Held("x.0.0", HeldState.STARTED)
    assert told(tables_with(PartState.STARTED, ACTIVE), held) == []


@pytest.mark.parametrize("state", [HeldState.ADMITTED, HeldState.STARTED, HeldState.STOPPED])
def test_an_ended_lease_is_revoked_and_how_it_ended_is_said(state: HeldState) -> None:
    tables = tables_with(PartState.STARTED, ACTIVE)
    apply(tables, lifecycle.end(tables, tables.allocations["x"], EndReason.EXPIRED))
    assert told(tables, Held("x.0.0", state)) == [("x.0.0", Action.REVOKE, "EXPIRED")]


def test_an_ended_lease_is_revoked_also_from_an_agent_that_does_not_show_it() -> None:
    # Only a report that was made after this answer proves that it will not turn up.
    tables = tables_with(PartState.PENDING, RESERVED)
    apply(tables, lifecycle.end(tables, tables.allocations["x"], EndReason.RELEASED))
    assert told(tables) == [("x.0.0", Action.REVOKE, "RELEASED")]


def test_a_lease_that_is_being_torn_down_is_left_in_peace() -> None:
    tables = tables_with(PartState.STARTED, ACTIVE)
    apply(tables, lifecycle.end(tables, tables.allocations["x"], EndReason.RELEASED))
    held = (Held("x.0.0", HeldState.RELEASING), Held("old.0.0", HeldState.RELEASING))
    assert told(tables, *held) == []


def test_a_lease_that_the_ledger_does_not_know_is_revoked() -> None:
    tables = make_state(make_node())
    want = [("y.0.0", Action.REVOKE, "UNKNOWN_LEASE")]
    assert told(tables, Held("y.0.0", HeldState.STARTED)) == want


def test_a_lease_of_another_agents_node_is_unknown_here() -> None:
    made = make_allocation("x", make_part(node="n2"))
    tables = make_state(make_node(), make_node("n2", agent="a2"), allocations=[made])
    want = [("x.0.0", Action.REVOKE, "UNKNOWN_LEASE")]
    assert told(tables, Held("x.0.0", HeldState.ADMITTED)) == want


# -- teardown --------------------------------------------------------------------------------


def torn_down(tables: LedgerState, applied: int, *held: str) -> dict[str, list[int]]:
    shown = {name: Held(name, HeldState.RELEASING) for name in held}
    agent = tables.agents["a1"]
    return reconcile.torn_down(tables, agent, shown, applied, agent.leases)


def test_absence_counts_only_from_an_agent_that_has_applied_the_end() -> None:
    tables = tables_with(PartState.STARTED, ACTIVE)
    ended = apply(tables, lifecycle.end(tables, tables.allocations["x"], EndReason.RELEASED))
    assert torn_down(tables, ended - 1) == {}
    assert torn_down(tables, ended) == {"x": [0]}
    assert torn_down(tables, ended + 9) == {"x": [0]}


def test_what_the_agent_still_shows_is_not_torn_down() -> None:
    tables = tables_with(PartState.STARTED, ACTIVE)
    ended = apply(tables, lifecycle.end(tables, tables.allocations["x"], EndReason.RELEASED))
    assert torn_down(tables, ended, "x.0.0") == {}


@pytest.mark.parametrize(
    ("part", "state"), [(PartState.PENDING, RESERVED), (PartState.STARTED, ACTIVE)]
)
def test_absence_of_a_lease_that_is_wanted_frees_nothing(
    part: PartState, state: AllocationState
) -> None:
    assert torn_down(tables_with(part, state), 10**9) == {}


# -- nodes -----------------------------------------------------------------------------------


def changes(tables: LedgerState, *reports: NodeRecord) -> tuple[PutNode, ...]:
    """What a whole report of agent a1 changes."""
    left = sorted(tables.agents["a1"].nodes - {report.name for report in reports})
    return reconcile.node_changes(tables, reports) + reconcile.vanished(tables, left)


def test_a_report_that_says_the_same_changes_nothing() -> None:
    assert changes(make_state(make_node()), make_node()) == ()


def test_new_and_different_nodes_are_written() -> None:
    tables = make_state(make_node())
    smaller, new = make_node(cpu=1), make_node("n9")
    assert changes(tables, smaller, new) == (PutNode("n1", smaller), PutNode("n9", new))


def test_a_node_that_vanished_leaves_unless_leases_are_on_it() -> None:
    made = make_allocation("x", make_part(node="n2"))
    tables = make_state(make_node(), make_node("n2"), allocations=[made])
    want = (PutNode("n1", None), PutNode("n2", make_node("n2", gone=True)))
    assert changes(tables) == want


def test_a_gone_node_stays_until_its_last_lease_is_gone_then_leaves() -> None:
    tables = tables_with(PartState.STARTED, ACTIVE)
    commit(tables, nodes=changes(tables))
    assert tables.nodes["n1"].capacity == {}
    assert changes(tables) == ()
    assert reconcile.emptied_nodes(tables, tables.agents["a1"]) == ()
    x = tables.allocations["x"]
    apply(tables, lifecycle.end_and_gone(tables, x, [0], EndReason.FAILED, ""))
    assert reconcile.emptied_nodes(tables, tables.agents["a1"]) == (PutNode("n1", None),)


def test_a_gone_node_that_is_reported_again_is_back() -> None:
    tables = tables_with(PartState.STARTED, ACTIVE)
    commit(tables, nodes=changes(tables))
    assert changes(tables, make_node()) == (PutNode("n1", make_node()),)


def test_a_device_that_vanished_under_a_lease_stays_as_a_sick_one() -> None:
    tables = tables_with(PartState.STARTED, ACTIVE)
    report = make_node(devices=make_devices("n1", 8)[2:])
    ghost = Device("n1-d0", "H800", 80 * GIB, healthy=False)
    want = report._replace(devices=Devices.of((*report.devices, ghost)))
    assert changes(tables, report) == (PutNode("n1", want),)
    commit(tables, nodes=changes(tables, report))
    assert changes(tables, report) == ()


def test_the_ghost_of_a_device_goes_with_its_lease() -> None:
    tables = tables_with(PartState.STARTED, ACTIVE)
    report = make_node(devices=make_devices("n1", 8)[2:])
    commit(tables, nodes=changes(tables, report))
    x = tables.allocations["x"]
    apply(tables, lifecycle.end_and_gone(tables, x, [0], EndReason.FAILED, ""))
    assert changes(tables, report) == (PutNode("n1", report),)


def test_use_by_others_alone_changes_the_node_too() -> None:
    busy = make_node(foreign=make_resources(cpu=1))
    assert changes(make_state(make_node()), busy) == (PutNode("n1", busy),)
